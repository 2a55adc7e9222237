/* The daemon's ends of the pairs with the keeper: messages go out in order, and wait here when the
 * keeper is slow; what it says is handed up. */
#pragma once

#include "keeper/message.h"

struct keeper_client;
struct loop;

/* More than these wait for a keeper that reads nothing: they are dropped. */
#define KEEPER_CLIENT_WAITING_MAX 65536

/* Takes the descriptors. */
struct keeper_client *keeper_client_new(struct loop *loop, struct keeper_ends ends,
                                        void (*on_message)(void *owner,
                                                           const struct keeper_message *message),
                                        void *owner);
void keeper_client_free(struct keeper_client *client);
void keeper_client_send(struct keeper_client *client, const struct keeper_message *message);
/* Read by the keeper when the lease that it knows of ends. One that does not fit is dropped: it has
 * not read for so long that it will be too late for any. */
void keeper_client_renew(struct keeper_client *client, uint64_t until_ms, uint64_t now_ms);
/* The keeper has taken all that was renewed: it is not frozen. */
bool keeper_client_is_read(const struct keeper_client *client);
/* With a duplicate of a descriptor; not sent, and false, when others wait or it does not fit. */
bool keeper_client_send_descriptor(struct keeper_client *client,
                                   const struct keeper_message *message, int fd);

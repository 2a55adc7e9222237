/* The daemon's end of the pair with the keeper: messages go out in order, and wait here when the
 * keeper is slow; what it says is handed up. */
#pragma once

#include "keeper/message.h"

struct keeper_client;
struct loop;

/* More than these wait for a keeper that reads nothing: they are dropped. */
#define KEEPER_CLIENT_WAITING_MAX 65536

/* Takes the descriptor. */
struct keeper_client *keeper_client_new(struct loop *loop, int fd,
                                        void (*on_message)(void *owner,
                                                           const struct keeper_message *message),
                                        void *owner);
void keeper_client_free(struct keeper_client *client);
void keeper_client_send(struct keeper_client *client, const struct keeper_message *message);
/* The keeper has taken all that was sent: it is not frozen. */
bool keeper_client_is_read(const struct keeper_client *client);
/* With a duplicate of a descriptor; not sent, and false, when others wait or it does not fit. */
bool keeper_client_send_descriptor(struct keeper_client *client,
                                   const struct keeper_message *message, int fd);

/* Nodes tell each other who is connected to them by a virtual IP, so that the next holder can
 * tickle them. MQTT, WebSocket and HTTP alike: an open page notices a failover at once, too.
 *
 * Frames: kind (1), then
 *   CLIENTS   clients.h, many
 *   FORGET    nothing: all clients are told anew */
#pragma once

#include "base/bytes.h"
#include <stdint.h>

enum client_exchange_kind { CLIENT_EXCHANGE_CLIENTS = 3, CLIENT_EXCHANGE_FORGET };

struct client_exchange;
struct ingress;
struct loop;

struct client_exchange_options {
    struct loop *loop; /* borrowed, as ingress */
    struct ingress *ingress;
    uint64_t own_id;
    /* To one node, or to all (0); lost when there is no link. */
    void (*send)(void *owner, uint64_t node_id, struct bytes frame);
    void *owner;
};

struct client_exchange *client_exchange_new(const struct client_exchange_options *options);
void client_exchange_free(struct client_exchange *exchange);

/* A connection to this node, by its descriptor: told to all when it came by an address held here.
 */
void client_exchange_accepted(struct client_exchange *exchange, int fd);
/* All of this node, told anew to one node, or to all (0). */
void client_exchange_tell(struct client_exchange *exchange, uint64_t node_id);
/* What another node says of its own; `body` is what follows the kind. */
void client_exchange_on_frame(struct client_exchange *exchange, uint64_t node_id, uint8_t kind,
                              struct bytes body);
/* This node has taken an address: those that others had by what it holds are tickled, several times
 * within a second. */
void client_exchange_held(struct client_exchange *exchange);

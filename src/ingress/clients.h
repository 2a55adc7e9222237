/* Who is connected by a virtual IP, at which node: what the next holder must tickle. Kept for each
 * node, the newest ones when there are too many; one that has left meanwhile is no harm. Also the
 * encoding in which nodes tell each other. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define CLIENTS_PER_NODE_MAX  20000
#define CLIENTS_PER_FRAME_MAX 1000
#define CLIENT_BYTES          37

struct ingress_client {
    uint8_t vip[16], peer[16]; /* network order; IPv4 in the first four */
    uint16_t port, peer_port;
    bool is_ipv6;
};

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients *clients);
void clients_add(struct clients *clients, uint64_t node_id, const struct ingress_client *client);
/* All of a node are told anew, or it is known that nobody is connected there any more. */
void clients_forget(struct clients *clients, uint64_t node_id);
/* Those of this virtual IP at other nodes than `except_id`. */
void clients_for_each(const struct clients *clients, const uint8_t *vip, bool is_ipv6,
                      uint64_t except_id,
                      void (*fn)(void *owner, const struct ingress_client *client), void *owner);
uint32_t clients_count(const struct clients *clients, uint64_t node_id);

void clients_encode(uint8_t *bytes, const struct ingress_client *client);
/* Fills it from CLIENT_BYTES. */
void clients_decode(const uint8_t *bytes, struct ingress_client *client);

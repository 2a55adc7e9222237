/* What a node says of itself on its LAN, by DNS service discovery (RFC 6763): PTR of
 * `_microcloud._tcp.local`, SRV and TXT of the instance, its addresses. Whoever hears it knows
 * where a cluster is; it grants nothing. Pure. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define SERVICE_TYPE "_microcloud._tcp.local"

struct service {
    char *name;    /* of the node */
    char *node_id; /* 16 hex digits */
    char *cluster; /* id */
    char *version;
    char *address; /* of the peer port, as text; NULL until heard */
    uint16_t port;
    bool is_gone; /* it said goodbye */
};
void service_free(struct service *service);

/* "Who is there?" To be answered by multicast, or to the asker alone when it asks from another port
 * than 5353. */
void service_write_question(GByteArray *out);
/* What `service` is, for the interface with these addresses (network order; `v4` may be 0, `v6`
 * NULL). `id` and the question are those of the asker for an answer to it alone (RFC 6762 6.7), 0
 * and false for one to all. `ttl_s` 0 says goodbye. */
struct service_place {
    in_addr_t v4;
    const struct in6_addr *v6;
    bool is_legacy; /* to the asker alone */
    uint16_t id;
    uint32_t ttl_s;
};
void service_write_answer(GByteArray *out, const struct service *service,
                          const struct service_place *place);
/* Whether a message asks for our services (or for the instance called `name`); its id. */
bool service_is_asked(struct bytes message, const char *name, uint16_t *id);
/* The instances that an answer tells of; caller unrefs (its elements are freed with it). Empty for
 * what is malformed or not ours. */
GPtrArray *service_read(struct bytes message);

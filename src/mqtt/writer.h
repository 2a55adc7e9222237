/* Writes PUBLISH packets into a connection's output. */
#pragma once

#include "mqtt/connection.h"
#include "mqtt/publication.h"

/* One word, made in a register: written as bytes and read as a whole it would wait for the store
 * before it to reach the cache, at each delivery. */
struct publish_flags {
    uint32_t packet_id : 16; /* 0 for QoS 0 */
    uint32_t qos : 2;
    uint32_t retain : 1, dup : 1;
    uint32_t
        is_begun : 1; /* sent before by this node: it does not expire any more (MQTT 5, 4.3.3-7) */
};

/* False when the client would not take it: larger than its maximum packet size (MQTT 5, 3.1.2-25),
 * or no longer valid. */
bool writer_publish(struct connection *to, struct publication *publication,
                    struct publish_flags flags, const uint32_t *ids);

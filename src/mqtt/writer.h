/* Writes PUBLISH packets into a connection's output. */
#pragma once

#include "mqtt/connection.h"
#include "mqtt/publication.h"

struct publish_flags {
    uint16_t packet_id; /* 0 for QoS 0 */
    uint8_t qos;
    bool retain, dup;
};

/* False when the client would not take it: larger than its maximum packet size (MQTT 5, 3.1.2-25), or no longer valid. */
bool writer_publish(struct connection *to, struct publication *publication, struct publish_flags flags, const uint32_t *ids);

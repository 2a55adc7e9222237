/* How many connections each remote address has, and one copy of its text for all of them. Loopback
 * and in-process clients are counted but not limited. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct stream_peer;

struct address {
    uint32_t connections;
    bool is_loopback;
    char text[];
};

/* NULL when mqtt.connections_per_address_max is reached. */
struct address *address_enter(struct broker *broker, const struct stream_peer *peer);
void address_leave(struct broker *broker, struct address *address); /* takes NULL */

/* One published application message: immutable, shared by reference count among every queue, the
 * retained table and the output of connections. One allocation; `body` holds topic, forwarded MQTT
 * 5 properties (raw, as encoded) and payload, in the order in which a PUBLISH packet holds them.
 * Single-threaded. */
#pragma once

#include "base/bytes.h"
#include "base/cleanup.h"
#include <stdbool.h>
#include <stdint.h>

/* A packet has at most 268,435,455 bytes (MQTT 5, 1.5.5), and so has each part of it. */
#define MESSAGE_PART_BYTES_MAX 0x0fffffffu
#define MESSAGE_EXPIRY_MAX     0xffffffffffffu /* the year 10889 */

/* Packed into 24 bytes, because a hundred thousand of them wait in a house's retained table. */
struct message {
    uint64_t expires_unix_ms : 48; /* 0 = never */
    uint64_t topic_bytes : 16;
    uint32_t references;
    uint32_t payload_bytes;
    uint32_t properties_bytes : 28;
    uint32_t qos : 2;    /* as published */
    uint32_t retain : 1; /* as published */
    uint32_t held;       /* by deliveries of the replicated store: there it counts once
                            (delivery_totals.once) */
    uint8_t body[];
};

/* The caller has checked the sizes against its limits. Returns a first reference. */
struct message *message_new(struct bytes topic, struct bytes properties, struct bytes payload,
                            uint8_t qos, bool retain, uint64_t expires_unix_ms);
struct message *message_ref(struct message *message);
void message_unref(struct message *message); /* takes NULL */

static inline struct bytes message_topic(const struct message *message)
{
    return (struct bytes){message->body, message->topic_bytes};
}

static inline struct bytes message_properties(const struct message *message)
{
    return (struct bytes){message->body + message->topic_bytes, message->properties_bytes};
}

static inline struct bytes message_payload(const struct message *message)
{
    return (struct bytes){message->body + message->topic_bytes + message->properties_bytes,
                          message->payload_bytes};
}

/* What it counts for against limits in bytes: its body and a fixed overhead. */
static inline uint64_t message_bytes(const struct message *message)
{
    return sizeof *message + message->topic_bytes + message->properties_bytes +
           message->payload_bytes;
}

static inline bool message_is_expired(const struct message *message, uint64_t now_unix_ms)
{
    return message->expires_unix_ms != 0 && message->expires_unix_ms <= now_unix_ms;
}

DEFINE_CLEANUP(struct message *, message_unref)

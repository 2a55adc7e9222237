/* A message on its way through the broker in this turn: views into the packet it came in (or into a
 * committed message), and what is made of it lazily: the shared message when it must be kept, and
 * the encoded QoS 0 packet when it goes to many. */
#pragma once

#include "base/bytes.h"
#include "session/message.h"
#include <stdbool.h>
#include <stdint.h>

struct broker;
struct connection;

struct publication {
    struct bytes topic, properties, payload;
    struct bytes publisher;  /* client id; empty for nobody */
    struct bytes encoded[2]; /* a QoS 0 packet without retain for [0] MQTT 3, [1] MQTT 5; length 0 =
                                not made yet */
    uint64_t expires_unix_ms;
    struct message *message;      /* owned reference; NULL until needed */
    struct connection *congested; /* a subscriber that holds its publishers back now */
    uint64_t full_links; /* those on its way that are full now, by slot: they hold its publisher */
    uint32_t matched;
    uint8_t qos;
    bool retain;
};

static inline void publication_from_message(struct publication *publication,
                                            struct message *message, struct bytes publisher)
{
    *publication = (struct publication){
        .topic = message_topic(message),
        .properties = message_properties(message),
        .payload = message_payload(message),
        .publisher = publisher,
        .expires_unix_ms = message->expires_unix_ms,
        .message = message_ref(message),
        .qos = message->qos,
        .retain = message->retain,
    };
}

/* Borrowed; made once. */
static inline struct message *publication_message(struct publication *publication)
{
    if (!publication->message) {
        publication->message =
            message_new(publication->topic, publication->properties, publication->payload,
                        publication->qos, publication->retain, publication->expires_unix_ms);
    }
    return publication->message;
}

static inline void publication_deinit(struct publication *publication)
{
    message_unref(TAKE(publication->message));
}

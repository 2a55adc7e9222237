/* What the tests of this folder share: short ways to make messages, sessions and filters. */
#pragma once

#include "session/store.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static inline struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

static inline struct message *message_of(const char *topic, const char *payload, uint8_t qos,
                                         uint64_t expires_unix_ms)
{
    return message_new(text(topic), text(""), text(payload), qos, false, expires_unix_ms);
}

static inline bool message_says(const struct message *message, const char *payload)
{
    return message && bytes_equal(message_payload(message), text(payload));
}

/* Puts a message of this payload into the session's queue. */
static inline int enqueue(struct session *session, const char *payload, uint8_t qos,
                          uint64_t expires_unix_ms, uint64_t now_unix_ms)
{
    _cleanup_(message_unrefp) struct message *message =
        message_of("t", payload, qos, expires_unix_ms);
    return session_enqueue(session, message, qos, false, NULL, 0, now_unix_ms);
}

/* The payloads that wait in the queue, oldest first, with R for a received and nothing for a done
 * one. */
static inline char *queue_of(const struct session *session)
{
    GString *line = g_string_new(NULL);
    const struct delivery_ring *ring = &session->deliveries;

    for (uint64_t i = ring->first; i < delivery_ring_end(ring); i++) {
        const struct delivery *delivery = delivery_ring_at(ring, i);
        if (delivery->state == DELIVERY_RECEIVED) {
            g_string_append_c(line, 'R');
        } else if (delivery->state == DELIVERY_WAITING) {
            struct bytes payload = message_payload(delivery->message);
            g_string_append_len(line, (const char *)payload.at, (gssize)payload.length);
        }
    }
    return g_string_free(line, FALSE);
}

#define assert_queue(session, expected)                                                            \
    do {                                                                                           \
        g_autofree char *queue_ = queue_of(session);                                               \
        assert_string_equal(queue_, expected);                                                     \
    } while (0)

static inline enum subscribe_result subscribe(struct session *session, const char *filter,
                                              uint8_t qos)
{
    return session_subscribe(session, text(filter), &(struct subscription_options){.qos = qos});
}

static inline struct session_store *store_with_limits(uint32_t messages, uint64_t bytes,
                                                      bool refuse)
{
    struct session_store *store = session_store_new();
    struct session_limits limits = *session_store_limits(store);

    limits.queue_messages_max = messages;
    limits.queue_bytes_max = bytes;
    limits.queue_refuse = refuse;
    session_store_set_limits(store, &limits);
    return store;
}

/* See message.h. One allocation a message: header, topic, properties and payload lie together, so
 * that a PUBLISH packet is written from it with one copy or one vector. Nothing here can fail but
 * by want of memory, at which GLib ends the program. */
#include "session/message.h"
#include <assert.h>
#include <glib.h>

static uint8_t *append(uint8_t *at, struct bytes bytes)
{
    if (bytes.length > 0) {
        memcpy(at, bytes.at, bytes.length);
    }
    return at + bytes.length;
}

struct message *message_new(struct bytes topic, struct bytes properties, struct bytes payload,
                            uint8_t qos, bool retain, uint64_t expires_unix_ms)
{
    assert(topic.length <= UINT16_MAX && properties.length <= MESSAGE_PART_BYTES_MAX &&
           payload.length <= MESSAGE_PART_BYTES_MAX && qos <= 2);
    struct message *message = g_malloc(offsetof(struct message, body) + topic.length +
                                       properties.length + payload.length);

    message->references = 1;
    message->held = 0;
    message->payload_bytes = (uint32_t)payload.length;
    message->expires_unix_ms = MIN(expires_unix_ms, MESSAGE_EXPIRY_MAX);
    message->topic_bytes = (uint16_t)topic.length;
    message->properties_bytes = (uint32_t)properties.length & MESSAGE_PART_BYTES_MAX;
    message->qos = qos & 3;
    message->retain = retain;
    append(append(append(message->body, topic), properties), payload);
    return message;
}

struct message *message_ref(struct message *message)
{
    assert(message->references > 0 && message->references < UINT32_MAX);
    message->references++;
    return message;
}

void message_unref(struct message *message)
{
    if (message) {
        assert(message->references > 0);
        if (--message->references == 0) {
            g_free(message);
        }
    }
}

/* One PUBLISH to one client. Three ways, the cheapest that fits: a QoS 0 packet that was encoded
 * before (often the very one that came in) is copied; a small one is encoded in place in the
 * output; a large one has its head encoded and its payload sent by reference. */
#include "mqtt/writer.h"
#include "loop/loop.h"
#include "mqtt/aliases.h"
#include "mqtt/broker_private.h"
#include "mqtt/trace.h"
#include "net/stream.h"

#define BY_REFERENCE_BYTES 4096

static void release_message(void *holder)
{
    message_unref(holder);
}

static void count(struct connection *to, const struct publication *publication,
                  uint32_t packet_bytes)
{
    struct broker_counters *counters = &to->broker->counters;

    to->sent++;
    counters->messages_sent++;
    counters->publish_sent++;
    counters->bytes_sent += packet_bytes;
    counters->publish_bytes_sent += publication->payload.length;
}

static void write_traced(struct connection *to, const struct packet_publish_head *head,
                         const struct publication *publication)
{
    GByteArray *packet = g_byte_array_sized_new(packet_publish_size(head));

    g_byte_array_set_size(packet, packet_publish_size(head));
    uint32_t head_bytes = packet_publish_encode(head, packet->data);
    if (publication->payload.length > 0) {
        memcpy(packet->data + head_bytes, publication->payload.at, publication->payload.length);
    }
    trace_packet(to, TRACE_TO_CLIENT, (struct bytes){packet->data, packet->len});
    g_byte_array_unref(packet);
}

static void write_large(struct connection *to, const struct packet_publish_head *head,
                        struct publication *publication, uint32_t size)
{
    uint32_t head_bytes = size - head->payload_bytes;
    GByteArray *scratch = to->broker->scratch;

    g_byte_array_set_size(scratch, head_bytes);
    packet_publish_encode(head, scratch->data);
    stream_write(to->stream, scratch->data, head_bytes);
    if (head->payload_bytes >= BY_REFERENCE_BYTES) {
        struct message *message = message_ref(publication_message(publication));
        stream_write_shared(to->stream, message_payload(message).at, head->payload_bytes,
                            release_message, message);
    } else {
        stream_write(to->stream, publication->payload.at, head->payload_bytes);
    }
}

static void write_small(struct connection *to, const struct packet_publish_head *head,
                        const struct publication *publication, uint32_t size)
{
    uint8_t *at = stream_reserve(to->stream, size);
    uint32_t head_bytes = packet_publish_encode(head, at);

    if (head->payload_bytes > 0) {
        memcpy(at + head_bytes, publication->payload.at, head->payload_bytes);
    }
}

/* Encodes once for all that take the same bytes. */
static void write_shared_encoding(struct connection *to, const struct packet_publish_head *head,
                                  struct publication *publication, uint32_t size)
{
    struct bytes *encoded = &publication->encoded[to->version == PACKET_MQTT_5];

    if (encoded->length == 0) {
        struct broker *broker = to->broker;
        if (2 * (size_t)STREAM_RESERVE_BYTES_MAX > broker->encoded_capacity) {
            broker->encoded_capacity = 2 * STREAM_RESERVE_BYTES_MAX;
            broker->encoded = g_realloc(broker->encoded, broker->encoded_capacity);
        }
        uint8_t *at =
            broker->encoded + (to->version == PACKET_MQTT_5 ? STREAM_RESERVE_BYTES_MAX : 0);
        uint32_t head_bytes = packet_publish_encode(head, at);
        if (head->payload_bytes > 0) {
            memcpy(at + head_bytes, publication->payload.at, head->payload_bytes);
        }
        *encoded = (struct bytes){at, size};
    }
    stream_write(to->stream, encoded->at, encoded->length);
}

/* MQTT 5, 3.3.2.3.3, to the nearest second: what was passed on at once has all of its time, and a
 * message of the log has no more than it came with, if the clocks of the nodes agree to half a
 * second. 0 would be no time at all. */
static uint32_t left_s(uint64_t left_ms)
{
    return (uint32_t)MAX((left_ms + 500) / 1000, 1);
}

static bool set_expiry(const struct connection *to, struct packet_publish_head *head,
                       const struct publication *publication, bool is_begun)
{
    if (publication->expires_unix_ms == 0) {
        return true;
    }
    uint64_t now = loop_unix_ms(to->broker->loop);
    bool is_expired = publication->expires_unix_ms <= now;
    if (is_expired && !is_begun) {
        return false;
    }
    head->has_expiry = true;
    head->expiry_s = is_expired ? 0 : left_s(publication->expires_unix_ms - now);
    return true;
}

/* A packet that is the same for everybody: nothing in it is this client's. */
static bool is_plain(const struct connection *to, const struct publication *publication,
                     struct publish_flags flags, const uint32_t *ids)
{
    return flags.qos == 0 && !flags.retain &&
           (to->version != PACKET_MQTT_5 ||
            (!ids && to->alias_maximum == 0 && publication->expires_unix_ms == 0));
}

static bool write_encoded(struct connection *to, const struct publication *publication)
{
    struct bytes encoded = publication->encoded[to->version == PACKET_MQTT_5];

    if (encoded.length == 0 || to->is_traced || encoded.length > to->packet_bytes_max) {
        return false;
    }
    stream_write(to->stream, encoded.at, encoded.length);
    count(to, publication, (uint32_t)encoded.length);
    return true;
}

static void set_properties(const struct connection *to, const struct publication *publication,
                           const uint32_t *ids, struct packet_publish_head *head)
{
    if (to->version != PACKET_MQTT_5) {
        head->has_expiry = false;
        return;
    }
    head->forwarded = publication->properties;
    head->subscription_ids = ids ? ids + 1 : NULL;
    head->subscription_id_count = ids ? ids[0] : 0;
}

/* An alias in place of the topic where the client takes them; the size changes then. */
static uint32_t set_alias(struct connection *to, const struct publication *publication,
                          struct packet_publish_head *head, uint32_t size)
{
    bool is_set = to->version == PACKET_MQTT_5 && to->alias_maximum > 0 &&
                  aliases_assign_outgoing(to, publication->topic, &head->topic_alias, &head->topic);

    return is_set ? packet_publish_size(head) : size;
}

bool writer_publish(struct connection *to, struct publication *publication,
                    struct publish_flags flags, const uint32_t *ids)
{
    bool is_shared = is_plain(to, publication, flags, ids);

    if (is_shared && write_encoded(to, publication)) {
        return true;
    }
    struct packet_publish_head head = {
        .topic = publication->topic,
        .payload_bytes = (uint32_t)publication->payload.length,
        .packet_id = flags.packet_id,
        .version = to->version,
        .qos = flags.qos,
        .retain = flags.retain,
        .dup = flags.dup,
    };
    if (!set_expiry(to, &head, publication, flags.is_begun)) {
        to->broker->counters.expired_messages++;
        return false;
    }
    set_properties(to, publication, ids, &head);
    uint32_t size = packet_publish_size(&head);
    if (size > to->packet_bytes_max) {
        to->broker->counters.publish_dropped++;
        return false;
    }
    size = set_alias(to, publication, &head, size);
    if (to->is_traced) {
        write_traced(to, &head, publication);
    }
    if (size > STREAM_RESERVE_BYTES_MAX) {
        write_large(to, &head, publication, size);
    } else if (is_shared) {
        write_shared_encoding(to, &head, publication, size);
    } else {
        write_small(to, &head, publication, size);
    }
    count(to, publication, size);
    return true;
}

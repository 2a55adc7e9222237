/* See record.h. */
#include "mqtt/remote/record.h"
#include "packet/packet.h"
#include "topic/name.h"
#include <errno.h>

/* ---- reading ---- */

struct cursor {
    struct bytes rest;
    bool is_bad; /* there was less than was asked for */
};

static uint64_t take_number(struct cursor *cursor, size_t bytes)
{
    uint64_t number = 0;

    if (cursor->rest.length < bytes) {
        cursor->is_bad = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) {
        number = number << 8 | cursor->rest.at[i];
    }
    cursor->rest.at += bytes;
    cursor->rest.length -= bytes;
    return number;
}

static struct bytes take_bytes(struct cursor *cursor, size_t length)
{
    struct bytes taken = {cursor->rest.at, length};

    if (cursor->rest.length < length) {
        cursor->is_bad = true;
        return (struct bytes){cursor->rest.at, 0};
    }
    cursor->rest.at += length;
    cursor->rest.length -= length;
    return taken;
}

static struct bytes take_rest(struct cursor *cursor)
{
    return take_bytes(cursor, cursor->rest.length);
}

static bool is_client_id(struct bytes text)
{
    return text.length > 0 && text.length <= UINT16_MAX && utf8_is_valid(text);
}

static bool is_filter(struct bytes text)
{
    return text.length <= TOPIC_BYTES_MAX && topic_filter_is_valid(text, TOPIC_BYTES_MAX);
}

static bool is_shared_filter(struct bytes text)
{
    struct bytes name, rest;

    return is_filter(text) && topic_filter_split_shared(text, &name, &rest);
}

bool remote_share_next(struct bytes shares, size_t *at, struct bytes *filter)
{
    struct cursor cursor = {{shares.at + *at, shares.length - *at}, false};

    if (*at == shares.length) {
        return false;
    }
    size_t length = (size_t)take_number(&cursor, 2);
    *filter = take_bytes(&cursor, length);
    *at = shares.length - cursor.rest.length;
    return !cursor.is_bad;
}

static bool are_shares(struct bytes shares)
{
    struct bytes filter;
    size_t at = 0;

    while (remote_share_next(shares, &at, &filter)) {
        if (!is_shared_filter(filter)) {
            return false;
        }
    }
    return at == shares.length;
}

/* The packet must be whole, and hold only what a broker passes on. */
static bool open_packet(struct remote_publish *publish)
{
    struct packet_frame frame;
    struct packet_publish decoded;

    if (packet_frame_find(publish->packet, UINT32_MAX, &frame) != 1 ||
        frame.total_bytes != publish->packet.length || frame.type != PACKET_PUBLISH ||
        packet_publish_decode(&frame, PACKET_MQTT_5, &decoded) != 0) {
        return false;
    }
    if ((decoded.properties.has != 0 && !properties_are_forwarded_only(&decoded.properties)) ||
        decoded.dup || !topic_name_is_valid(decoded.topic, TOPIC_BYTES_MAX)) {
        return false;
    }
    publish->topic = decoded.topic;
    publish->properties = decoded.properties.raw;
    publish->payload = decoded.payload;
    publish->qos = decoded.qos;
    publish->retain = decoded.retain;
    return true;
}

static bool read_publish(struct cursor *cursor, struct remote_publish *publish)
{
    publish->number = take_number(cursor, 8);
    publish->after_index = take_number(cursor, 8);
    publish->left_ms = take_number(cursor, 8);
    publish->publisher = take_bytes(cursor, (size_t)take_number(cursor, 2));
    publish->shares = take_bytes(cursor, (size_t)take_number(cursor, 4));
    publish->packet = take_rest(cursor);
    return !cursor->is_bad && publish->number != 0 &&
           (publish->publisher.length == 0 || is_client_id(publish->publisher)) &&
           are_shares(publish->shares) && open_packet(publish);
}

static void read_hello(struct cursor *cursor, struct remote_hello *hello)
{
    hello->epoch = take_number(cursor, 8);
    hello->known_epoch = take_number(cursor, 8);
    hello->received = take_number(cursor, 8);
    hello->stamp = take_number(cursor, 8);
}

static bool read_body(struct cursor *cursor, struct remote_record *record)
{
    switch (record->kind) {
    case REMOTE_HELLO:
        read_hello(cursor, &record->hello);
        return true;
    case REMOTE_INTEREST:
        record->index = take_number(cursor, 4);
        record->text = take_rest(cursor);
        return is_filter(record->text);
    case REMOTE_PUBLISH:
        return read_publish(cursor, &record->publish);
    case REMOTE_ACK:
    case REMOTE_SYNCED:
        record->number = take_number(cursor, 8);
        return true;
    case REMOTE_CLAIM:
        record->number = take_number(cursor, 8);
        record->index = take_number(cursor, 8);
        record->text = take_rest(cursor);
        return is_client_id(record->text);
    case REMOTE_SYNC:
        record->number = take_number(cursor, 8);
        record->index = take_number(cursor, 8);
        return true;
    case REMOTE_HOLD:
    case REMOTE_RELEASE:
        record->text = take_rest(cursor);
        return is_client_id(record->text);
    default: /* INTEREST_END has no body; a newer node's kind is passed over */
        take_rest(cursor);
        return true;
    }
}

int remote_record_next(struct bytes frame, size_t *at, struct remote_record *record)
{
    if (frame.length == 0) {
        return -EBADMSG;
    }
    if (frame.at[0] != REMOTE_VERSION) {
        return -ENOTSUP;
    }
    *at = *at == 0 ? 1 : *at;
    struct cursor cursor = {{frame.at + *at, frame.length - *at}, false};
    if (cursor.rest.length == 0) {
        return 0;
    }
    memset(record, 0, sizeof *record);
    record->kind = (uint8_t)take_number(&cursor, 1);
    size_t length = (size_t)take_number(&cursor, 4);
    struct cursor body = {take_bytes(&cursor, length), false};
    if (cursor.is_bad || !read_body(&body, record) || body.is_bad || body.rest.length != 0) {
        return -EBADMSG;
    }
    *at = frame.length - cursor.rest.length;
    return 1;
}

/* ---- writing ---- */

static void put_number(GByteArray *to, uint64_t number, unsigned bytes)
{
    uint8_t encoded[8];

    for (unsigned i = 0; i < bytes; i++) {
        encoded[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    }
    g_byte_array_append(to, encoded, bytes);
}

static void put_bytes(GByteArray *to, struct bytes bytes)
{
    if (bytes.length > 0) {
        g_byte_array_append(to, bytes.at, (guint)bytes.length);
    }
}

static void put_head(GByteArray *frame, uint8_t kind, size_t length)
{
    if (frame->len == 0) {
        put_number(frame, REMOTE_VERSION, 1);
    }
    put_number(frame, kind, 1);
    put_number(frame, length, 4);
}

void remote_put_hello(GByteArray *frame, const struct remote_hello *hello)
{
    put_head(frame, REMOTE_HELLO, 32);
    put_number(frame, hello->epoch, 8);
    put_number(frame, hello->known_epoch, 8);
    put_number(frame, hello->received, 8);
    put_number(frame, hello->stamp, 8);
}

void remote_put_interest(GByteArray *frame, struct bytes filter, uint32_t count)
{
    put_head(frame, REMOTE_INTEREST, 4 + filter.length);
    put_number(frame, count, 4);
    put_bytes(frame, filter);
}

void remote_put_number(GByteArray *frame, uint8_t kind, uint64_t number)
{
    bool has_number = kind != REMOTE_INTEREST_END;

    put_head(frame, kind, has_number ? 8 : 0);
    put_number(frame, number, has_number ? 8 : 0);
}

void remote_put_sync(GByteArray *frame, uint64_t token, uint64_t index)
{
    put_head(frame, REMOTE_SYNC, 16);
    put_number(frame, token, 8);
    put_number(frame, index, 8);
}

void remote_put_claim(GByteArray *frame, uint64_t stamp, uint64_t connection_number,
                      struct bytes client_id)
{
    put_head(frame, REMOTE_CLAIM, 16 + client_id.length);
    put_number(frame, stamp, 8);
    put_number(frame, connection_number, 8);
    put_bytes(frame, client_id);
}

void remote_put_client(GByteArray *frame, uint8_t kind, struct bytes client_id)
{
    put_head(frame, kind, client_id.length);
    put_bytes(frame, client_id);
}

bool remote_put_publish(GByteArray *frame, const struct remote_publish *publish)
{
    struct packet_publish_head head = {
        .topic = publish->topic,
        .forwarded = publish->properties,
        .payload_bytes = (uint32_t)publish->payload.length,
        .packet_id = publish->qos > 0 ? 1 : 0,
        .version = PACKET_MQTT_5,
        .qos = publish->qos,
        .retain = publish->retain,
    };
    uint32_t packet_bytes = packet_publish_size(&head);
    size_t length =
        3 * 8 + 2 + publish->publisher.length + 4 + publish->shares.length + packet_bytes;

    if (length > REMOTE_RECORD_BYTES_MAX) {
        return false;
    }
    put_head(frame, REMOTE_PUBLISH, length);
    put_number(frame, publish->number, 8);
    put_number(frame, publish->after_index, 8);
    put_number(frame, publish->left_ms, 8);
    put_number(frame, publish->publisher.length, 2);
    put_bytes(frame, publish->publisher);
    put_number(frame, publish->shares.length, 4);
    put_bytes(frame, publish->shares);
    guint at = frame->len;
    g_byte_array_set_size(frame, at + packet_bytes - head.payload_bytes);
    packet_publish_encode(&head, frame->data + at);
    put_bytes(frame, publish->payload);
    return true;
}

void remote_share_append(GByteArray *shares, struct bytes filter)
{
    put_number(shares, filter.length, 2);
    put_bytes(shares, filter);
}

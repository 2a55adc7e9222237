/* See record.h. */
#include "mqtt/remote/record.h"
#include "packet/packet.h"
#include "topic/name.h"
#include <errno.h>
#include <string.h>

#define HEAD_BYTES     5  /* kind, length */
#define RUN_HEAD_BYTES 19 /* number, after_index, version, length of the publisher */

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

/* The packet must be whole, and hold only what a broker passes on. Returns its length; 0 when it is
 * not so. */
static size_t open_packet(struct bytes bytes, struct remote_publish *publish)
{
    struct packet_frame frame;
    struct packet_publish decoded;

    if (packet_frame_find(bytes, UINT32_MAX, &frame) != 1 || frame.type != PACKET_PUBLISH ||
        packet_publish_decode(&frame, publish->version, &decoded) != 0) {
        return 0;
    }
    if ((decoded.properties.has != 0 && !properties_are_forwarded_only(&decoded.properties)) ||
        decoded.dup) {
        return 0;
    }
    publish->packet = (struct bytes){bytes.at, frame.total_bytes};
    publish->topic = decoded.topic;
    publish->properties = decoded.properties.raw;
    publish->payload = decoded.payload;
    publish->qos = decoded.qos;
    publish->retain = decoded.retain;
    return frame.total_bytes;
}

int remote_run_next(const struct remote_publish *run, size_t *at, struct remote_publish *publish)
{
    if (*at == run->packet.length) {
        return 0;
    }
    struct bytes rest = {run->packet.at + *at, run->packet.length - *at};
    size_t length = open_packet(rest, publish);
    if (length == 0 || publish->qos != 0 || publish->retain) {
        return -EBADMSG;
    }
    *at += length;
    return 1;
}

static bool read_publish(struct cursor *cursor, struct remote_publish *publish)
{
    publish->number = take_number(cursor, 8);
    publish->after_index = take_number(cursor, 8);
    publish->left_ms = take_number(cursor, 8);
    publish->publisher = take_bytes(cursor, (size_t)take_number(cursor, 2));
    publish->shares = take_bytes(cursor, (size_t)take_number(cursor, 4));
    publish->packet = take_rest(cursor);
    publish->version = PACKET_MQTT_5;
    return !cursor->is_bad && publish->number != 0 &&
           (publish->publisher.length == 0 || is_client_id(publish->publisher)) &&
           are_shares(publish->shares) &&
           open_packet(publish->packet, publish) == publish->packet.length &&
           topic_name_is_valid(publish->topic, TOPIC_BYTES_MAX);
}

/* Its packets are read one by one when it is delivered. */
static bool read_run(struct cursor *cursor, struct remote_publish *run)
{
    run->number = take_number(cursor, 8);
    run->after_index = take_number(cursor, 8);
    run->version = (uint8_t)take_number(cursor, 1);
    run->publisher = take_bytes(cursor, (size_t)take_number(cursor, 2));
    run->packet = take_rest(cursor);
    bool is_known = run->version == PACKET_MQTT_3_1_1 || run->version == PACKET_MQTT_5;
    return !cursor->is_bad && is_known && run->number != 0 && run->packet.length > 0 &&
           (run->publisher.length == 0 || is_client_id(run->publisher));
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
    case REMOTE_RUN:
        return read_run(cursor, &record->publish);
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
    case REMOTE_KICK:
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

bool remote_put_run(GByteArray *frame, const struct remote_publish *run)
{
    size_t length = RUN_HEAD_BYTES + run->publisher.length + run->packet.length;

    if (length > REMOTE_RECORD_BYTES_MAX) {
        return false;
    }
    put_head(frame, REMOTE_RUN, length);
    put_number(frame, run->number, 8);
    put_number(frame, run->after_index, 8);
    put_number(frame, run->version, 1);
    put_number(frame, run->publisher.length, 2);
    put_bytes(frame, run->publisher);
    put_bytes(frame, run->packet);
    return true;
}

static uint64_t get_number(const uint8_t *at)
{
    uint64_t number;

    memcpy(&number, at, sizeof number);
    return GUINT64_FROM_BE(number);
}

/* Of the same publisher, and after the same entry of the log. */
static bool is_same_run(const uint8_t *body, const struct remote_publish *run)
{
    size_t publisher_bytes = (size_t)body[17] << 8 | body[18];

    return get_number(body + 8) == run->after_index && body[16] == run->version &&
           bytes_equal((struct bytes){body + RUN_HEAD_BYTES, publisher_bytes}, run->publisher);
}

bool remote_extend_run(GByteArray *frame, size_t at, const struct remote_publish *run)
{
    uint64_t number = GUINT64_TO_BE(run->number);
    uint32_t length = GUINT32_TO_BE((uint32_t)(frame->len + run->packet.length - at - HEAD_BYTES));

    if (!is_same_run(frame->data + at + HEAD_BYTES, run)) {
        return false;
    }
    memcpy(frame->data + at + 1, &length, sizeof length);
    memcpy(frame->data + at + HEAD_BYTES, &number, sizeof number);
    g_byte_array_append(frame, run->packet.at, (guint)run->packet.length);
    return true;
}

void remote_share_append(GByteArray *shares, struct bytes filter)
{
    put_number(shares, filter.length, 2);
    put_bytes(shares, filter);
}

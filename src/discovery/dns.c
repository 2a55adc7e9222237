/* A message is a head of six 16-bit numbers (id, flags, four counts), questions, records. A name is
 * labels of a length and bytes, ended by a zero, or by two bytes that point at an earlier place
 * (RFC 1035 4.1.4): followed only backwards, so that no loop is possible. */
#include "discovery/dns.h"
#include <errno.h>

#define HEAD_BYTES   12
#define LABEL_MAX    63
#define POINTER_BITS 0xc0

static uint16_t get_u16(struct bytes message, size_t at)
{
    return (uint16_t)(message.at[at] << 8 | message.at[at + 1]);
}

static uint32_t get_u32(struct bytes message, size_t at)
{
    return (uint32_t)get_u16(message, at) << 16 | get_u16(message, at + 2);
}

/* ---- names ---- */

static size_t put_label(char *text, size_t used, struct bytes label)
{
    if (used > 0) {
        text[used++] = '.';
    }
    for (size_t i = 0; i < label.length; i++) {
        if (label.at[i] == '.' || label.at[i] == '\\') {
            text[used++] = '\\';
        }
        text[used++] = (char)(label.at[i] ? label.at[i] : '?');
    }
    return used;
}

/* Reads the name at `*at`, which moves behind it. */
static int read_name(struct bytes message, size_t *at, char text[DNS_NAME_TEXT_BYTES])
{
    size_t place = *at, limit = message.length, used = 0, bytes = 0;
    bool has_jumped = false;

    while (place < limit && message.at[place] != 0) {
        uint8_t length = message.at[place];
        if ((length & POINTER_BITS) == POINTER_BITS) {
            if (place + 2 > limit) {
                return -EBADMSG;
            }
            size_t target = get_u16(message, place) & 0x3fff;
            if (target >= place) {
                return -EBADMSG;
            }
            *at = has_jumped ? *at : place + 2;
            has_jumped = true;
            limit = place;
            place = target;
            continue;
        }
        bytes += length + 1u;
        if (length > LABEL_MAX || place + 1 + length > limit || bytes > DNS_NAME_BYTES_MAX) {
            return -EBADMSG;
        }
        used = put_label(text, used, (struct bytes){message.at + place + 1, length});
        place += 1u + length;
    }
    if (place >= limit) {
        return -EBADMSG;
    }
    text[used] = '\0';
    *at = has_jumped ? *at : place + 1;
    return 0;
}

bool dns_name_equal(const char *a, const char *b)
{
    return g_ascii_strcasecmp(a, b) == 0;
}

char *dns_label_escape(const char *label)
{
    GString *text = g_string_new(NULL);
    size_t length = strnlen(label, LABEL_MAX);

    while (length > 0 && label[length] != '\0' && ((uint8_t)label[length] & 0xc0) == 0x80) {
        length--; /* not in the middle of a character */
    }
    for (size_t i = 0; i < length; i++) {
        if (label[i] == '.' || label[i] == '\\') {
            g_string_append_c(text, '\\');
        }
        g_string_append_c(text, label[i]);
    }
    return g_string_free(text, FALSE);
}

char *dns_label_unescape(const char *label, size_t length)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < length; i++) {
        i += label[i] == '\\' && i + 1 < length;
        g_string_append_c(text, label[i]);
    }
    return g_string_free(text, FALSE);
}

/* ---- reading ---- */

int dns_reader_init(struct dns_reader *reader, struct bytes message)
{
    if (message.length < HEAD_BYTES) {
        return -EBADMSG;
    }
    *reader = (struct dns_reader){
        .message = message,
        .at = HEAD_BYTES,
        .id = get_u16(message, 0),
        .flags = get_u16(message, 2),
        .questions = get_u16(message, 4),
        .records = (uint32_t)get_u16(message, 6) + get_u16(message, 8) + get_u16(message, 10),
    };
    return 0;
}

int dns_reader_next(struct dns_reader *reader, struct dns_record *record)
{
    struct bytes message = reader->message;

    record->is_question = reader->questions > 0;
    if ((reader->questions == 0 && reader->records == 0) ||
        reader->looked_at++ >= DNS_RECORDS_MAX) {
        return 0;
    }
    size_t fixed = record->is_question ? 4 : 10;
    if (read_name(message, &reader->at, record->name) < 0 || reader->at + fixed > message.length) {
        return -EBADMSG;
    }
    record->type = get_u16(message, reader->at);
    record->class = get_u16(message, reader->at + 2) & ~DNS_CLASS_TOP_BIT;
    record->has_top_bit = get_u16(message, reader->at + 2) & DNS_CLASS_TOP_BIT;
    record->ttl_s = 0;
    record->data = (struct bytes){NULL, 0};
    if (!record->is_question) {
        record->ttl_s = get_u32(message, reader->at + 4);
        size_t length = get_u16(message, reader->at + 8);
        if (reader->at + fixed + length > message.length) {
            return -EBADMSG;
        }
        record->data_at = reader->at + fixed;
        record->data = (struct bytes){message.at + record->data_at, length};
        fixed += length;
        reader->records--;
    } else {
        reader->questions--;
    }
    reader->at += fixed;
    return 1;
}

int dns_record_target(struct bytes message, const struct dns_record *record,
                      char target[DNS_NAME_TEXT_BYTES], uint16_t *port)
{
    size_t at = record->data_at, end = record->data_at + record->data.length;

    if (record->type == DNS_SRV) {
        if (record->data.length < 7) {
            return -EBADMSG;
        }
        *port = get_u16(message, at + 4);
        at += 6;
    }
    int r = record->data.length == 0 ? -EBADMSG : read_name(message, &at, target);
    return r < 0 || at > end ? -EBADMSG : 0;
}

char *dns_txt_get(struct bytes data, const char *key)
{
    size_t key_length = strlen(key), at = 0;

    while (at < data.length && at + 1 + data.at[at] <= data.length) {
        const char *text = (const char *)data.at + at + 1;
        size_t length = data.at[at];
        if (length > key_length && text[key_length] == '=' &&
            g_ascii_strncasecmp(text, key, key_length) == 0) {
            return g_strndup(text + key_length + 1, length - key_length - 1);
        }
        at += 1 + length;
    }
    return NULL;
}

/* ---- writing ---- */

static void put_u16(GByteArray *out, uint16_t value)
{
    uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};
    g_byte_array_append(out, bytes, sizeof bytes);
}

static void count_one(GByteArray *out, size_t at)
{
    uint16_t count = (uint16_t)((out->data[at] << 8 | out->data[at + 1]) + 1);
    out->data[at] = (uint8_t)(count >> 8);
    out->data[at + 1] = (uint8_t)count;
}

static void put_name(GByteArray *out, const char *name)
{
    size_t total = 0;

    while (*name != '\0') {
        uint8_t label[1 + LABEL_MAX];
        uint8_t length = 0;
        for (; *name != '\0' && *name != '.'; name++) {
            name += *name == '\\' && name[1] != '\0';
            if (length < LABEL_MAX) {
                label[1 + length++] = (uint8_t)*name;
            }
        }
        label[0] = length;
        total += 1u + length;
        if (length > 0 && total < DNS_NAME_BYTES_MAX) {
            g_byte_array_append(out, label, 1u + length);
        }
        name += *name == '.';
    }
    g_byte_array_append(out, (const uint8_t *)"", 1);
}

void dns_write_head(GByteArray *out, uint16_t id, uint16_t flags)
{
    g_byte_array_set_size(out, 0);
    put_u16(out, id);
    put_u16(out, flags);
    for (int i = 0; i < 4; i++) {
        put_u16(out, 0);
    }
}

void dns_write_question(GByteArray *out, const char *name, uint16_t type, uint16_t class)
{
    count_one(out, 4);
    put_name(out, name);
    put_u16(out, type);
    put_u16(out, class);
}

void dns_write_record(GByteArray *out, const char *name, uint16_t type, uint16_t class,
                      uint32_t ttl_s, struct bytes data)
{
    count_one(out, 6);
    put_name(out, name);
    put_u16(out, type);
    put_u16(out, class);
    put_u16(out, (uint16_t)(ttl_s >> 16));
    put_u16(out, (uint16_t)ttl_s);
    put_u16(out, (uint16_t)data.length);
    g_byte_array_append(out, data.at, (guint)data.length);
}

GByteArray *dns_name_data(const char *name)
{
    GByteArray *data = g_byte_array_new();

    put_name(data, name);
    return data;
}

GByteArray *dns_srv_data(uint16_t port, const char *target)
{
    GByteArray *data = g_byte_array_new();

    put_u16(data, 0); /* priority */
    put_u16(data, 0); /* weight */
    put_u16(data, port);
    put_name(data, target);
    return data;
}

void dns_txt_add(GByteArray *data, const char *key, const char *value)
{
    g_autofree char *text = g_strdup_printf("%s=%s", key, value);
    uint8_t length = (uint8_t)MIN(strlen(text), 255);

    g_byte_array_append(data, &length, 1);
    g_byte_array_append(data, (const uint8_t *)text, length);
}

/* -F: %[-0][WIDTH][.PRECISION]X for the parts of a message, @X for strftime (@N: nanoseconds), \X
 * for characters that are hard to type. Parts that a message does not have are empty. %j and %J are
 * one JSON object. */
#include "cli/mqtt/format.h"

#include "base/cleanup.h"
#include "cli/error.h"
#include "text/value.h"
#include <stdio.h>
#include <string.h>

#define PARTS     "ACDEFIJPRSUXjlmpqrtx%"
#define WIDTH_MAX 10000

struct part {
    bool is_left, is_zero, has_precision;
    unsigned width, precision;
    char letter;
};

/* Reads what follows a '%'. Returns the character after it, NULL when it is no part. */
static const char *part_parse(const char *at, struct part *part)
{
    *part = (struct part){0};
    for (; *at == '-' || *at == '0'; at++) {
        part->is_left |= *at == '-';
        part->is_zero |= *at == '0';
    }
    for (; g_ascii_isdigit(*at); at++) {
        part->width = MIN(part->width * 10 + (unsigned)(*at - '0'), WIDTH_MAX);
    }
    if (*at == '.') {
        part->has_precision = true;
        for (at++; g_ascii_isdigit(*at); at++) {
            part->precision = MIN(part->precision * 10 + (unsigned)(*at - '0'), WIDTH_MAX);
        }
    }
    part->letter = *at;
    return *at && strchr(PARTS, *at) ? at + 1 : NULL;
}

int sub_format_check(const char *format, GError **error)
{
    for (const char *at = format; *at; at++) {
        struct part part;
        const char *end = *at == '%' ? part_parse(at + 1, &part) : at + 1;
        if (!end) {
            cli_fail_usage(error, "-F: '%%%c' is unknown: must be one of %s",
                           part.letter ? part.letter : ' ', PARTS);
            return -1;
        }
        if (*at == '\\' && (!at[1] || !strchr("\\0aenrtv", at[1]))) {
            cli_fail_usage(error,
                           "-F: '\\%c' is unknown: must be one of \\\\ \\0 \\a \\e \\n \\r \\t \\v",
                           at[1] ? at[1] : ' ');
            return -1;
        }
        if (*at == '@' && !at[1]) {
            cli_fail_usage(error, "-F: '@' at the end: write @@ for a literal one");
            return -1;
        }
        at = *at == '%' ? end - 1 : *at == '\\' || *at == '@' ? at + 1 : at;
    }
    return 0;
}

static void append_padded(GString *to, const struct part *part, const char *text, size_t length,
                          bool is_number)
{
    if (part->has_precision && !is_number && length > part->precision) {
        length = part->precision;
    }
    size_t padding = part->width > length ? part->width - length : 0;
    bool zeros = part->is_zero && is_number && !part->is_left;
    for (size_t i = 0; !part->is_left && i < padding; i++) {
        g_string_append_c(to, zeros ? '0' : ' ');
    }
    g_string_append_len(to, text, (gssize)length);
    for (size_t i = 0; part->is_left && i < padding; i++) {
        g_string_append_c(to, ' ');
    }
}

static void append_bytes(GString *to, const struct part *part, struct bytes bytes)
{
    append_padded(to, part, (const char *)bytes.at, bytes.length, false);
}

static void append_number(GString *to, const struct part *part, bool is_there, uint64_t number)
{
    char text[24] = "";
    if (is_there) {
        g_snprintf(text, sizeof(text), "%" G_GUINT64_FORMAT, number);
    }
    append_padded(to, part, text, strlen(text), is_there);
}

static void append_hex(GString *to, const struct part *part, struct bytes bytes)
{
    g_autoptr(GString) hex = g_string_sized_new(bytes.length * 2);
    for (size_t i = 0; i < bytes.length; i++) {
        g_string_append_printf(hex, part->letter == 'x' ? "%02x" : "%02X", bytes.at[i]);
    }
    append_padded(to, part, hex->str, hex->len, true);
}

static void append_users(GString *to, const struct properties *properties)
{
    struct bytes name, value;
    size_t at = 0;
    while (properties_next_user(properties, &at, &name, &value)) {
        g_string_append_printf(to, "%.*s:%.*s ", (int)name.length, (const char *)name.at,
                               (int)value.length, (const char *)value.at);
    }
    if (to->len > 0 && to->str[to->len - 1] == ' ') {
        g_string_truncate(to, to->len - 1);
    }
}

static void append_subscription_ids(GString *to, const struct part *part,
                                    const struct properties *properties)
{
    g_autoptr(GString) ids = g_string_new(NULL);
    uint32_t id;
    size_t at = 0;
    while (properties_next_subscription_id(properties, &at, &id)) {
        g_string_append_printf(ids, "%s%u", ids->len > 0 ? "," : "", id);
    }
    append_padded(to, part, ids->str, ids->len, true);
}

/* As strftime does, which says nothing of its length: a format of one letter stays below the
 * buffer. */
static void append_time(GString *to, const struct timespec *now, const char *format)
{
    char text[128];
    struct tm parts;
    localtime_r(&now->tv_sec, &parts);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t length = strftime(text, sizeof(text), format, &parts);
#pragma GCC diagnostic pop
    g_string_append_len(to, text, (gssize)length);
}

static void append_iso(GString *to, const struct timespec *now, bool with_microseconds)
{
    append_time(to, now, "%Y-%m-%dT%H:%M:%S");
    if (with_microseconds) {
        g_string_append_printf(to, ".%06ld", now->tv_nsec / 1000);
    }
    append_time(to, now, "%z");
}

static void set_bytes(struct text_value *object, const char *key, struct bytes bytes)
{
    g_autofree char *text = g_strndup((const char *)bytes.at, bytes.length);
    text_set_string(object, key, text);
}

static struct text_value *properties_to_json(const struct properties *properties)
{
    struct text_value *object = text_new_object();
    const struct {
        enum property_id id;
        const char *key;
        bool is_text;
        struct bytes text;
        uint64_t number;
    } rows[] = {
        {PROPERTY_PAYLOAD_FORMAT,
         "payload-format-indicator",
         false,
         {0},
         properties->payload_format},
        {PROPERTY_MESSAGE_EXPIRY,
         "message-expiry-interval",
         false,
         {0},
         properties->message_expiry_s},
        {PROPERTY_CONTENT_TYPE, "content-type", true, properties->content_type, 0},
        {PROPERTY_RESPONSE_TOPIC, "response-topic", true, properties->response_topic, 0},
        {PROPERTY_CORRELATION_DATA, "correlation-data", true, properties->correlation_data, 0},
        {PROPERTY_TOPIC_ALIAS, "topic-alias", false, {0}, properties->topic_alias},
        {PROPERTY_SUBSCRIPTION_ID,
         "subscription-identifier",
         false,
         {0},
         properties->subscription_id},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (properties_has(properties, rows[i].id) && rows[i].is_text) {
            set_bytes(object, rows[i].key, rows[i].text);
        } else if (properties_has(properties, rows[i].id)) {
            text_set_integer(object, rows[i].key, (int64_t)rows[i].number);
        }
    }
    struct text_value *list = NULL;
    struct bytes name, value;
    size_t at = 0;
    while (properties_next_user(properties, &at, &name, &value)) {
        struct text_value *pair = text_new_object();
        g_autofree char *key = g_strndup((const char *)name.at, name.length);
        set_bytes(pair, key, value);
        list = list ? list : text_new_list();
        text_append(list, pair);
    }
    if (list) {
        text_set(object, "user-properties", list);
    }
    return object;
}

static void append_json(GString *to, const struct sub_format *how,
                        const struct packet_publish *publish, const struct timespec *now,
                        bool is_payload_json)
{
    _cleanup_(text_freep) struct text_value *payload = NULL;
    if (is_payload_json) {
        payload = text_parse_json((const char *)publish->payload.at, publish->payload.length, NULL);
        if (!payload) {
            fprintf(stderr, "microcloud: sub: the payload is not valid JSON on topic %.*s\n",
                    (int)publish->topic.length, (const char *)publish->topic.at);
            return;
        }
    }
    _cleanup_(text_freep) struct text_value *object = text_new_object();
    g_autoptr(GString) stamp = g_string_new(NULL);
    append_iso(stamp, now, true);
    text_set_string(object, "tst", stamp->str);
    set_bytes(object, "topic", publish->topic);
    text_set_integer(object, "qos", publish->qos);
    text_set_integer(object, "retain", publish->retain);
    text_set_integer(object, "payloadlen", (int64_t)publish->payload.length);
    if (publish->qos > 0) {
        text_set_integer(object, "mid", publish->packet_id);
    }
    if (publish->properties.has) {
        text_set(object, "properties", properties_to_json(&publish->properties));
    }
    if (payload) {
        text_set(object, "payload", TAKE(payload));
    } else {
        set_bytes(object, "payload", publish->payload);
    }
    g_autofree char *json = text_to_json(object, how->is_pretty);
    g_string_append(to, json);
}

static void append_property(GString *to, const struct part *part,
                            const struct properties *properties)
{
    switch (part->letter) {
    case 'A':
        append_number(to, part, properties_has(properties, PROPERTY_TOPIC_ALIAS),
                      properties->topic_alias);
        break;
    case 'C':
        append_bytes(to, part, properties->content_type);
        break;
    case 'D':
        g_string_append_len(to, (const char *)properties->correlation_data.at,
                            (gssize)properties->correlation_data.length);
        break;
    case 'E':
        append_number(to, part, properties_has(properties, PROPERTY_MESSAGE_EXPIRY),
                      properties->message_expiry_s);
        break;
    case 'F':
        append_number(to, part, properties_has(properties, PROPERTY_PAYLOAD_FORMAT),
                      properties->payload_format);
        break;
    case 'P':
        append_users(to, properties);
        break;
    case 'R':
        append_bytes(to, part, properties->response_topic);
        break;
    default: /* 'S' */
        append_subscription_ids(to, part, properties);
        break;
    }
}

static void append_part(GString *to, const struct sub_format *how, const struct part *part,
                        const struct packet_publish *publish, const struct timespec *now)
{
    switch (part->letter) {
    case '%':
        g_string_append_c(to, '%');
        break;
    case 'I': {
        g_autoptr(GString) stamp = g_string_new(NULL);
        append_iso(stamp, now, false);
        append_padded(to, part, stamp->str, stamp->len, false);
        break;
    }
    case 'U':
        g_string_append_printf(to, "%" G_GINT64_FORMAT ".%09ld", (gint64)now->tv_sec, now->tv_nsec);
        break;
    case 'j':
    case 'J':
        append_json(to, how, publish, now, part->letter == 'J');
        break;
    case 'l':
        append_number(to, part, true, publish->payload.length);
        break;
    case 'm':
        append_number(to, part, true, publish->packet_id);
        break;
    case 'p':
        append_bytes(to, part, publish->payload);
        break;
    case 'q':
        append_number(to, part, true, publish->qos);
        break;
    case 'r':
        append_number(to, part, true, publish->retain);
        break;
    case 't':
        append_bytes(to, part, publish->topic);
        break;
    case 'x':
    case 'X':
        append_hex(to, part, publish->payload);
        break;
    default:
        append_property(to, part, &publish->properties);
        break;
    }
}

static void append_format(GString *to, const struct sub_format *how,
                          const struct packet_publish *publish, const struct timespec *now)
{
    static const char letters[] = "\\0aenrtv", meanings[] = "\\\0\a\033\n\r\t\v";
    for (const char *at = how->format; *at; at++) {
        struct part part;
        const char *end = *at == '%' ? part_parse(at + 1, &part) : NULL;
        const char *letter = *at == '\\' && at[1] ? strchr(letters, at[1]) : NULL;
        if (end) {
            append_part(to, how, &part, publish, now);
            at = end - 1;
        } else if (letter) {
            g_string_append_c(to, meanings[letter - letters]);
            at++;
        } else if (*at == '@' && at[1]) {
            at++;
            if (*at == '@') {
                g_string_append_c(to, '@');
            } else if (*at == 'N') {
                g_string_append_printf(to, "%09ld", now->tv_nsec);
            } else {
                append_time(to, now, (const char[3]){'%', *at, 0});
            }
        } else {
            g_string_append_c(to, *at);
        }
    }
}

void sub_format_message(const struct sub_format *how, const struct packet_publish *publish,
                        const struct timespec *now, GString *to)
{
    struct bytes payload = publish->payload;
    if (how->format) {
        append_format(to, how, publish, now);
    } else if (how->is_verbose) {
        g_string_append_len(to, (const char *)publish->topic.at, (gssize)publish->topic.length);
        g_string_append_c(to, ' ');
        g_string_append_len(to, payload.length > 0 ? (const char *)payload.at : "(null)",
                            payload.length > 0 ? (gssize)payload.length : 6);
    } else if (payload.length > 0) {
        g_string_append_len(to, (const char *)payload.at, (gssize)payload.length);
    } else {
        return; /* as mosquitto_sub: an empty payload prints nothing */
    }
    if (!how->no_newline) {
        g_string_append_c(to, '\n');
    }
}

/* See head.h. Lines end with CR LF; header folding, white space before a colon, several differing
 * lengths, and both length and chunks are errors (RFC 9112, 5 and 6: they are how requests are
 * smuggled). */
#include "http/head.h"
#include "base/cleanup.h"
#include <glib.h>

static bool is_token(struct bytes text)
{
    static const char allowed[] =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] == 0 || !strchr(allowed, text.at[i])) {
            return false;
        }
    }
    return text.length > 0;
}

static bool is_equal(struct bytes text, const char *other)
{
    return strlen(other) == text.length &&
           g_ascii_strncasecmp((const char *)text.at, other, text.length) == 0;
}

/* Does a comma-separated list hold this word? */
static bool has_word(struct bytes list, const char *word)
{
    while (list.length > 0) {
        const uint8_t *comma = memchr(list.at, ',', list.length);
        struct bytes item = {list.at, comma ? (size_t)(comma - list.at) : list.length};
        list = comma ? (struct bytes){comma + 1, list.length - item.length - 1}
                     : (struct bytes){NULL, 0};
        while (item.length > 0 && (item.at[0] == ' ' || item.at[0] == '\t')) {
            item = (struct bytes){item.at + 1, item.length - 1};
        }
        while (item.length > 0 &&
               (item.at[item.length - 1] == ' ' || item.at[item.length - 1] == '\t')) {
            item.length--;
        }
        if (is_equal(item, word)) {
            return true;
        }
    }
    return false;
}

struct bytes http_header_find(const struct http_head *head, const char *name)
{
    for (unsigned i = 0; i < head->header_count; i++) {
        if (is_equal(head->headers[i].name, name)) {
            return head->headers[i].value;
        }
    }
    return (struct bytes){NULL, 0};
}

/* Takes one line without its CR LF; false when there is none, or a bare CR or LF or NUL in it. */
static bool next_line(struct bytes *rest, struct bytes *line)
{
    const uint8_t *end = memchr(rest->at, '\n', rest->length);

    if (!end || end == rest->at || end[-1] != '\r') {
        return false;
    }
    *line = (struct bytes){rest->at, (size_t)(end - rest->at) - 1};
    *rest = (struct bytes){end + 1, rest->length - line->length - 2};
    return !memchr(line->at, '\r', line->length) && !memchr(line->at, '\0', line->length);
}

static struct bytes take_until(struct bytes *rest, char separator)
{
    const uint8_t *end = rest->length ? memchr(rest->at, separator, rest->length) : NULL;
    struct bytes part = {rest->at, end ? (size_t)(end - rest->at) : rest->length};

    *rest = end ? (struct bytes){end + 1, rest->length - part.length - 1} : (struct bytes){NULL, 0};
    return part;
}

/* METHOD SP TARGET SP VERSION */
static int parse_request_line(struct http_head *head, struct bytes line)
{
    struct bytes rest = line;

    head->method = take_until(&rest, ' ');
    struct bytes target = take_until(&rest, ' ');
    if (!is_token(head->method) || target.length == 0 || target.at[0] != '/' || rest.length != 8 ||
        memcmp(rest.at, "HTTP/", 5) != 0) {
        return -400;
    }
    if (memcmp(rest.at, "HTTP/1.", 7) != 0 || (rest.at[7] != '0' && rest.at[7] != '1')) {
        return -505;
    }
    for (size_t i = 0; i < target.length; i++) {
        if (target.at[i] <= ' ' || target.at[i] >= 0x7f) {
            return -400;
        }
    }
    if (target.length > HTTP_PATH_BYTES_MAX) {
        return -414;
    }
    head->keeps_alive = rest.at[7] == '1';
    head->path = take_until(&target, '?');
    head->query = target;
    return 0;
}

static int parse_header(struct http_head *head, struct bytes line)
{
    struct bytes value = line;
    struct bytes name = take_until(&value, ':');

    if (!is_token(name) || name.length == line.length || head->header_count >= HTTP_HEADERS_MAX) {
        return head->header_count >= HTTP_HEADERS_MAX ? -431 : -400;
    }
    while (value.length > 0 && (value.at[0] == ' ' || value.at[0] == '\t')) {
        value = (struct bytes){value.at + 1, value.length - 1};
    }
    while (value.length > 0 &&
           (value.at[value.length - 1] == ' ' || value.at[value.length - 1] == '\t')) {
        value.length--;
    }
    head->headers[head->header_count++] = (struct http_header){name, value};
    return 0;
}

static int parse_length(struct http_head *head)
{
    bool is_there = false;

    for (unsigned i = 0; i < head->header_count; i++) {
        if (!is_equal(head->headers[i].name, "content-length")) {
            continue;
        }
        struct bytes value = head->headers[i].value;
        g_autofree char *text = g_strndup((const char *)value.at, value.length);
        guint64 length;
        if (!g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &length, NULL) ||
            (is_there && length != head->content_length)) {
            return -400;
        }
        head->content_length = length;
        is_there = true;
    }
    head->is_chunked = http_header_find(head, "transfer-encoding").at != NULL;
    return is_there && head->is_chunked ? -400 : 0;
}

/* Exactly one, or with HTTP/1.0 none: who asked whom decides what a cookie may do (RFC 9112, 3.2).
 */
static int check_host(const struct http_head *head, bool is_1_0)
{
    unsigned count = 0;

    for (unsigned i = 0; i < head->header_count; i++) {
        count += is_equal(head->headers[i].name, "host");
    }
    return count == 1 || (count == 0 && is_1_0) ? 0 : -400;
}

static void read_connection(struct http_head *head)
{
    struct bytes connection = http_header_find(head, "connection");

    if (has_word(connection, "close")) {
        head->keeps_alive = false;
    }
    head->expects_continue = is_equal(http_header_find(head, "expect"), "100-continue");
    head->wants_websocket =
        has_word(connection, "upgrade") && has_word(http_header_find(head, "upgrade"), "websocket");
}

/* Where the empty line ends the head; 0 when it is not there yet. */
static size_t find_end(struct bytes input)
{
    const uint8_t *end = memmem(input.at, input.length, "\r\n\r\n", 4);

    return end ? (size_t)(end - input.at) + 4 : 0;
}

/* What can be no request is told at once: a first byte that is no letter, a line end without CR. */
static bool is_hopeless(struct bytes input)
{
    const uint8_t *end = input.length > 0 ? memchr(input.at, '\n', input.length) : NULL;

    return input.length > 0 &&
           (!g_ascii_isalpha(input.at[0]) || (end && (end == input.at || end[-1] != '\r')));
}

int http_head_parse(struct bytes input, struct http_head *head)
{
    struct bytes window = {input.at, MIN(input.length, HTTP_HEAD_BYTES_MAX)};
    size_t end = find_end(window);
    struct bytes rest = {input.at, end}, line;

    if (end == 0) {
        return is_hopeless(window) ? -400 : input.length >= HTTP_HEAD_BYTES_MAX ? -431 : 0;
    }
    head->header_count = 0;
    head->content_length = 0;
    if (!next_line(&rest, &line)) {
        return -400;
    }
    int r = parse_request_line(head, line);
    while (r == 0 && next_line(&rest, &line) && line.length > 0) {
        r = parse_header(head, line);
    }
    if (r == 0 && (rest.length != 0 || line.length != 0)) {
        r = -400;
    }
    if (r != 0) {
        return r;
    }
    bool is_1_0 = !head->keeps_alive; /* so far it says the version only */
    r = check_host(head, is_1_0);
    r = r == 0 ? parse_length(head) : r;
    if (r != 0) {
        return r;
    }
    read_connection(head);
    return (int)end;
}

char *http_decode(struct bytes text, bool plus_is_space)
{
    GString *decoded = g_string_sized_new(text.length);

    for (size_t i = 0; i < text.length; i++) {
        int c = text.at[i];
        if (c == '%') {
            int high = i + 2 < text.length ? g_ascii_xdigit_value((char)text.at[i + 1]) : -1;
            int low = high >= 0 ? g_ascii_xdigit_value((char)text.at[i + 2]) : -1;
            c = low < 0 ? 0 : high << 4 | low;
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == 0) {
            g_string_free(decoded, true);
            return NULL;
        }
        g_string_append_c(decoded, (char)c);
    }
    return g_string_free(decoded, false);
}

char *http_query_find(struct bytes query, const char *key)
{
    while (query.length > 0) {
        struct bytes value = take_until(&query, '&');
        struct bytes name = take_until(&value, '=');
        g_autofree char *decoded = http_decode(name, true);
        if (decoded && strcmp(decoded, key) == 0) {
            return http_decode(value, true);
        }
    }
    return NULL;
}

static const struct {
    unsigned status;
    const char *text;
} statuses[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_status_text(unsigned status)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(statuses); i++) {
        if (statuses[i].status == status) {
            return statuses[i].text;
        }
    }
    return "Unknown";
}

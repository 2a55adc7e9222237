/* The head of an HTTP/1.1 request (RFC 9112), parsed strictly: what is ambiguous is refused, not
 * guessed. Pure. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

#define HTTP_HEAD_BYTES_MAX 16384
#define HTTP_HEADERS_MAX    64
#define HTTP_PATH_BYTES_MAX 4096

struct http_header {
    struct bytes name, value;
};

struct http_head {
    struct bytes method, path, query; /* path and query as sent, percent-encoded */
    struct http_header headers[HTTP_HEADERS_MAX];
    unsigned header_count;
    uint64_t content_length;
    bool keeps_alive, is_chunked, expects_continue, wants_websocket;
};

/* Returns the head's length, 0 when more bytes are needed, or a negative status: -400 malformed,
 * -414 path too long, -431 head too large, -505 version. */
int http_head_parse(struct bytes input, struct http_head *head);
/* By name, any case; empty with `at` NULL when it is not there. */
struct bytes http_header_find(const struct http_head *head, const char *name);
/* Percent-decodes; NULL when malformed or when it holds NUL. `plus_is_space` for queries. Caller
 * frees. */
char *http_decode(struct bytes text, bool plus_is_space);
/* The decoded value of `key` in a query string; NULL when it is not there. Caller frees. */
char *http_query_find(struct bytes query, const char *key);
const char *http_status_text(unsigned status);

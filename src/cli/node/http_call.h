/* One HTTP/1.1 request and its answer, for the command line: over a Unix socket, TCP or TLS. Each
 * call has a loop and a connection of its own. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct tls_context;

struct http_call {
    const char *host; /* or "unix:PATH" */
    uint16_t port;
    struct tls_context *tls;     /* NULL for none */
    const char *method, *target; /* path and query, percent-encoded */
    const char *token;           /* NULL for none */
    const char *content_type;    /* NULL: no body */
    struct bytes body;
    /* For answers without end (traces): each piece of the body as it comes; false ends the call.
     * NULL: the body is collected. */
    bool (*on_piece)(void *owner, struct bytes piece);
    void *owner;
};

#define HTTP_ANSWER_BYTES_MAX (512u * 1024 * 1024)

struct http_answered {
    unsigned status;
    GByteArray *body; /* owned by the caller after success, NUL-terminated beyond its length */
};

/* 0, or -1 when there is no answer: nobody there, broken connection, malformed answer. SIGINT ends
 * it with an empty answer. */
int http_call_run(const struct http_call *call, struct http_answered *answered, GError **error);

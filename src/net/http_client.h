/* HTTP requests of the command line, blocking: over a Unix socket, TCP or TLS. Not for the daemon,
 * whose loop may not wait. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The longest body that is gathered in memory; more is an error. */
#define HTTP_RESPONSE_BYTES_MAX (256 * 1024 * 1024)
/* The longest line or event of an event stream. */
#define HTTP_EVENT_BYTES_MAX (16 * 1024 * 1024)

struct http_request {
    const char *base_url;     /* "unix:PATH", "http://HOST[:PORT]" or "https://HOST[:PORT]" */
    const char *method;       /* "GET" when NULL */
    const char *path;         /* "/v1/status?watch=1", percent-encoded already */
    const char *token;        /* bearer token; NULL for none */
    const char *content_type; /* of `body`; "application/json" when NULL */
    struct bytes body;        /* sent when `at` is set */
    const char *ca_file;      /* https: instead of the system's */
    bool insecure;            /* https: verify nothing */
    uint64_t timeout_ms;      /* for the whole exchange; 0 = none */

    /* Where the body of a successful answer goes instead of into the response; false ends the
     * request, which is then no error. At most one of the two is set. */
    bool (*on_body)(void *owner, struct bytes piece);
    /* Server-sent events: `name` is "message" unless the event says otherwise. */
    bool (*on_event)(void *owner, const char *name, const char *payload);
    void *owner;
};

struct http_response {
    unsigned status;
    char *content_type; /* NULL when there is none */
    GString *body;      /* never NULL after success; ends with a NUL that is not counted */
};

/* Returns 0 whatever the status is, or a negative errno when there is no answer: -ECONNREFUSED when
 * nobody can be reached, -ETIMEDOUT, -EPROTO. Messages name the node asked. `response` is the
 * caller's to clear. */
int http_request(const struct http_request *request, struct http_response *response,
                 GError **error);
void http_response_clear(struct http_response *response); /* also of a zeroed one */

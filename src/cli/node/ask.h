/* A command's node: which one it is, and asking its HTTP API. */
#pragma once

#include "base/bytes.h"
#include "cli/option.h"
#include "text/value.h"
#include <stdbool.h>

/* The first member of the values of a command with .speaks_http. */
struct node_values {
    const char *host, *data, *token, *ca_file;
    bool insecure, json;
};

extern const struct cli_option node_options[];

/* Asks and returns the answer's JSON, or NULL with the node's own message. `body` NULL for none;
 * not taken. Caller frees with text_free. */
struct text_value *node_ask(const struct node_values *values, const char *method,
                            const char *target, const struct text_value *body, GError **error);
struct node_request {
    const char *method, *target, *content_type; /* content_type NULL: no body */
    struct bytes body;
    bool (*on_piece)(void *owner, struct bytes piece); /* see http_call.h; NULL: collected */
    void *owner;
};
/* Bytes instead of JSON: backups, imports, traces. NULL with an error. */
GByteArray *node_ask_bytes(const struct node_values *values, const struct node_request *request,
                           GError **error);

/* "/v1/clients/" and a name from outside, percent-encoded, then `rest` (may be ""). Caller frees.
 */
char *node_path(const char *before, const char *name, const char *rest);

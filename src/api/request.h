/* One API request on its way: who asks, for what, and the answer. Inside of api/. */
#pragma once

#include "access/access.h"
#include "api/api.h"
#include "base/list.h"
#include "http/server.h"
#include "state/propose.h"
#include "text/value.h"
#include <glib.h>

struct api_tokens;

struct api {
    struct api_options options;
    char *socket_path;
    struct http_server *server;
    struct listener *listeners[3];
    struct tls_context *tls;
    struct api_tokens *tokens;
    struct list traces; /* of running traces */
};

#define API_PARAMETERS_MAX 2

struct api_request {
    struct api *api;
    struct http_exchange *exchange;
    const struct http_head *head;
    char *parameters[API_PARAMETERS_MAX]; /* what stood for {...} in the path, decoded; owned */
    struct identity identity;
    bool is_by_cookie;
    const char *change; /* of api_audit; constant */
    char *changed_name; /* owned */
};

/* Each answers and frees the request. */
void api_answer(struct api_request *request, unsigned status,
                struct text_value *value /* takes; NULL = no body */);
void api_answer_text(struct api_request *request, const char *content_type, struct bytes body);
void api_answer_error(struct api_request *request, unsigned status, const char *code,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));
void api_request_free(struct api_request *request);

/* The body as a JSON object, or NULL: then it was answered 400. Caller frees. */
struct text_value *api_body(struct api_request *request);
/* A member of the body that must be a string; NULL: then it was answered. */
const char *api_body_string(struct api_request *request, const struct text_value *body,
                            const char *key);
/* For commands that go through the log: answers with 200 {} or the error; `api_committed` as
 * completion function, the request as its owner. */
void api_committed(void *owner, uint64_t token, const struct state_result *result);
/* What propose returned: negative means it was answered. */
bool api_is_proposed(struct api_request *request, int r);
/* This request changes something: once it is done (answered with success) the log tells who, what,
 * from where. Never values. `what` is constant. */
void api_audit(struct api_request *request, const char *what, const char *name);
/* The decoded value in the query, or NULL. Caller frees. */
char *api_query(const struct api_request *request, const char *key);
/* Bearer token or cookie of the request; NULL for none. Caller frees. */
char *api_request_token(const struct api_request *request, bool *is_cookie);
/* Does it come from one of our own pages? */
bool api_is_own_origin(const struct http_head *head);

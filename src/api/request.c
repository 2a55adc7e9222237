/* See request.h. */
#include "api/request.h"
#include "api/cluster_view.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "net/stream.h"
#include "state/cluster_tables.h"
#include <errno.h>
#include <stdarg.h>

/* What is read on a node without quorum may be older than what the others have: objects say so
 * themselves, lists only here. */
#define STALE_HEADER "X-Microcloud-Stale: true\r\n"

void api_request_free(struct api_request *request)
{
    for (unsigned i = 0; i < API_PARAMETERS_MAX; i++) {
        g_free(request->parameters[i]);
    }
    g_free(request->changed_name);
    identity_clear(&request->identity);
    g_free(request);
}

void api_audit(struct api_request *request, const char *what, const char *name)
{
    g_free(request->changed_name);
    request->change = what;
    request->changed_name = g_strdup(name);
}

static void tell_change(const struct api_request *request)
{
    const char *name = request->changed_name;
    struct stream_peer peer;

    if (request->change) {
        http_request_peer(request->exchange, &peer);
        log_info("changed by a user", "user=%s address=%s change=\"%s\" name=\"%s\"",
                 request->identity.username ? request->identity.username : "local", peer.address,
                 request->change, name ? name : "");
    }
}

void api_answer_text(struct api_request *request, const char *content_type, struct bytes body)
{
    struct http_answer answer = {.status = 200,
                                 .content_type = content_type,
                                 .body = body,
                                 .headers = "Cache-Control: no-store\r\n"};

    tell_change(request);
    http_respond(request->exchange, &answer);
    api_request_free(request);
}

void api_answer(struct api_request *request, unsigned status, struct text_value *value)
{
    bool is_read = bytes_equal(request->head->method, bytes_from_string("GET"));
    bool is_stale = is_read && status == 200 && value && api_is_stale(request->api);
    if (is_stale && text_kind(value) == TEXT_OBJECT) {
        text_set_boolean(value, "stale", true);
    }
    g_autofree char *json = value ? text_to_json(value, false) : NULL;
    g_autofree char *line = json ? g_strconcat(json, "\n", NULL) : NULL;
    struct http_answer answer = {.status = status,
                                 .content_type = line ? "application/json" : NULL,
                                 .body = bytes_from_string(line),
                                 .headers = is_stale ? "Cache-Control: no-store\r\n" STALE_HEADER
                                                     : "Cache-Control: no-store\r\n"};

    if (status / 100 == 2) {
        tell_change(request);
    }
    http_respond(request->exchange, &answer);
    text_free(value);
    api_request_free(request);
}

void api_answer_error(struct api_request *request, unsigned status, const char *code,
                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    struct text_value *error = text_new_object();
    struct text_value *value = text_new_object();

    text_set_string(error, "code", code);
    text_set_string(error, "message", message);
    text_set(value, "error", error);
    api_answer(request, status, value);
}

struct text_value *api_body(struct api_request *request)
{
    struct bytes body = http_request_body(request->exchange);
    g_autoptr(GError) error = NULL;
    struct text_value *value = text_parse_json((const char *)body.at, body.length, &error);

    if (!value || text_kind(value) != TEXT_OBJECT) {
        text_free(value);
        api_answer_error(request, 400, "body_invalid", "%s",
                         error ? error->message : "the body must be a JSON object");
        return NULL;
    }
    return value;
}

const char *api_body_string(struct api_request *request, const struct text_value *body,
                            const char *key)
{
    const char *text = text_string(text_get(body, key), NULL);

    if (!text) {
        api_answer_error(request, 400, "body_invalid", "'%s' must be a string, got %s", key,
                         text_kind_to_string(text_kind(text_get(body, key))));
    }
    return text;
}

void api_committed(void *owner, uint64_t token, const struct state_result *result)
{
    struct api_request *request = owner;

    if (result->error == -ENOSPC) {
        api_answer_error(request, 507, "disk_full", "the node's disk is full: nothing was changed");
    } else if (result->error == -ENOTSUP) {
        g_autofree char *problem = state_level_problem(request->api->options.state);
        const char *message = result->message ? result->message : problem;
        api_answer_error(request, 409, "version_too_old", "%s",
                         message ? message
                                 : "a node of the cluster was too old for this: try again");
    } else if (result->error == -ETIMEDOUT) {
        api_answer_error(request, 503, "no_quorum",
                         "this node reaches no majority of the cluster: nothing was confirmed");
    } else if (result->error != 0) {
        api_answer_error(request, 503, "no_quorum", "the change was not confirmed: %s",
                         g_strerror(-result->error));
    } else if (result->message) {
        api_answer_error(request, 400, "invalid", "%s", result->message);
    } else if (result->reason >= 0x80) {
        api_answer_error(request, 409, "limit_reached", "refused with reason code 0x%02x",
                         result->reason);
    } else {
        api_answer(request, 200, text_new_object());
    }
}

bool api_is_proposed(struct api_request *request, int r)
{
    if (r < 0) {
        struct state_result result = {.error = r};
        api_committed(request, 0, &result);
    }
    return r == 0;
}

char *api_query(const struct api_request *request, const char *key)
{
    return http_query_find(request->head->query, key);
}

/* The API's life and the way of a request: listener -> HTTP -> who is it -> which route -> may it
 * -> its handler.
 *
 * Who asks: whoever opens the Unix socket is admin; else a bearer token, or the console's cookie. A
 * request that changes something and comes with the cookie must come from our own pages (Origin),
 * so that no other site can use a logged-in browser. */
#include "api/api.h"
#include "api/cluster.h"
#include "api/request.h"
#include "api/routes.h"
#include "api/tokens.h"
#include "api/trace.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "loop/loop.h"
#include "net/listener.h"
#include "net/tls.h"

#define BODY_BYTES_MAX  (2 * 1024 * 1024)
#define CONNECTIONS_MAX 512
#define REQUEST_MS_MAX  60000

/* ---- who asks ---- */

static char *cookie_of(const struct http_head *head)
{
    struct bytes cookie = http_header_find(head, "cookie");
    if (!cookie.at) {
        return NULL;
    }
    g_autofree char *text = g_strndup((const char *)cookie.at, cookie.length);
    g_auto(GStrv) parts = g_strsplit(text, ";", 32);

    for (unsigned i = 0; parts[i]; i++) {
        g_strstrip(parts[i]);
        if (g_str_has_prefix(parts[i], "microcloud=")) {
            return g_strdup(parts[i] + strlen("microcloud="));
        }
    }
    return NULL;
}

static char *bearer_of(const struct http_head *head)
{
    struct bytes authorization = http_header_find(head, "authorization");
    static const char prefix[] = "Bearer ";

    if (authorization.length <= sizeof prefix - 1 ||
        g_ascii_strncasecmp((const char *)authorization.at, prefix, sizeof prefix - 1) != 0) {
        return NULL;
    }
    return g_strndup((const char *)authorization.at + sizeof prefix - 1,
                     authorization.length - (sizeof prefix - 1));
}

char *api_request_token(const struct api_request *request, bool *is_cookie)
{
    char *bearer = bearer_of(request->head);
    char *token = bearer ? bearer : cookie_of(request->head);

    *is_cookie = token && !bearer;
    return token;
}

static void identify(struct api_request *request)
{
    struct api *api = request->api;

    if (http_request_is_trusted(request->exchange)) {
        request->identity.role = ROLE_ADMIN;
        return;
    }
    g_autofree char *token = api_request_token(request, &request->is_by_cookie);
    const char *username =
        token ? api_tokens_find(api->tokens, token, loop_now_ms(api->options.loop)) : NULL;
    if (username) {
        access_identity_of(api->options.access, username, &request->identity);
    }
}

/* The Origin's host and port must be those that the browser asked (Host). */
bool api_is_own_origin(const struct http_head *head)
{
    struct bytes origin = http_header_find(head, "origin");
    struct bytes host = http_header_find(head, "host");
    const uint8_t *slashes = origin.length ? memmem(origin.at, origin.length, "://", 3) : NULL;

    if (!slashes || host.length == 0) {
        return false;
    }
    slashes += 3;
    return bytes_equal((struct bytes){slashes, origin.length - (size_t)(slashes - origin.at)},
                       host);
}

static bool changes_something(const struct http_head *head)
{
    return !bytes_equal(head->method, bytes_from_string("GET")) &&
           !bytes_equal(head->method, bytes_from_string("HEAD"));
}

/* ---- the way ---- */

static void on_request(void *owner, struct http_exchange *exchange)
{
    struct api_request *request = g_new0(struct api_request, 1);
    unsigned status;

    request->api = owner;
    request->exchange = exchange;
    request->head = http_request_head(exchange);
    const struct api_route *route = api_route_find(request, &status);
    if (!route) {
        api_answer_error(request, status,
                         status == 405   ? "method_not_allowed"
                         : status == 400 ? "path_invalid"
                                         : "not_found",
                         "%.*s %.*s: %s", (int)request->head->method.length,
                         request->head->method.at, (int)request->head->path.length,
                         request->head->path.at,
                         status == 405   ? "the path is there, but not this method"
                         : status == 400 ? "bad encoding"
                                         : "no such path");
        return;
    }
    identify(request);
    if (request->is_by_cookie && changes_something(request->head) && route->role != ROLE_NONE &&
        !api_is_own_origin(request->head)) {
        api_answer_error(request, 403, "foreign_origin",
                         "a change with the console's cookie must come from the console");
    } else if (request->identity.role >= route->role || route->role == ROLE_NONE) {
        route->handle(request);
    } else if (request->identity.role == ROLE_NONE) {
        api_answer_error(request, 401, "login_needed",
                         "log in first: POST /v1/login, then Authorization: Bearer TOKEN");
    } else {
        api_answer_error(request, 403, "not_allowed", "needs role %s, user '%s' has role %s",
                         role_to_string(route->role), request->identity.username,
                         role_to_string(request->identity.role));
    }
}

/* ---- life ---- */

static void on_stream(void *owner, struct stream *stream)
{
    struct api *api = owner;
    const struct api_cluster *cluster = api->options.cluster_calls;

    if (cluster && cluster->accepted) {
        cluster->accepted(cluster->owner, stream);
    }
    http_server_accept(api->server, stream, false);
}

static void on_trusted_stream(void *owner, struct stream *stream)
{
    struct api *api = owner;

    http_server_accept(api->server, stream, true);
}

static bool open_listeners(struct api *api, GError **error)
{
    const struct api_options *options = &api->options;
    struct listener_options local = {.unix_path = api->socket_path, .unix_mode = 0660};
    struct listener_options plain = {.address = options->bind, .port = options->http_port};
    struct listener_options secure = {.address = options->bind, .port = options->https_port};

    api->listeners[0] = listener_new(options->loop, &local, on_trusted_stream, api, error);
    if (!api->listeners[0]) {
        return false;
    }
    if (options->http_port != 0 &&
        !(api->listeners[1] = listener_new(options->loop, &plain, on_stream, api, error))) {
        return false;
    }
    if (options->https_port == 0) {
        return true;
    }
    struct tls_options tls = {.certificate_file = options->certificate_file,
                              .key_file = options->key_file};
    api->tls = secure.tls = tls_context_new(&tls, error);
    if (!api->tls) {
        return false;
    }
    api->listeners[2] = listener_new(options->loop, &secure, on_stream, api, error);
    return api->listeners[2] != NULL;
}

struct api *api_new(const struct api_options *options, GError **error)
{
    struct api *api = g_new0(struct api, 1);
    struct http_server_options server = {.loop = options->loop,
                                         .body_bytes_max = BODY_BYTES_MAX,
                                         .connections_max = CONNECTIONS_MAX,
                                         .request_ms_max = REQUEST_MS_MAX,
                                         .on_request = on_request,
                                         .owner = api};

    api->options = *options;
    api->options.node_name = g_strdup(options->node_name);
    api->options.cluster = g_strdup(options->cluster);
    api->options.data = g_strdup(options->data);
    api->socket_path = g_strdup(options->socket_path);
    api->tokens = api_tokens_new();
    list_init(&api->traces);
    api->server = http_server_new(&server);
    if (!open_listeners(api, error)) {
        api_free(api);
        return NULL;
    }
    return api;
}

void api_reload(struct api *api)
{
    g_autoptr(GError) error = NULL;

    if (api->tls && tls_context_reload(api->tls, &error) < 0) {
        log_error("certificates of the API not reloaded, the old ones stay", "error=\"%s\"",
                  error->message);
    }
}

static void close_listeners(struct api *api)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(api->listeners); i++) {
        g_clear_pointer(&api->listeners[i], listener_free);
    }
}

void api_stop(struct api *api, void (*done)(void *owner), void *owner)
{
    close_listeners(api);
    g_clear_pointer(&api->server, http_server_free);
    traces_stop(api);
    done(owner);
}

void api_free(struct api *api)
{
    close_listeners(api);
    if (api->server) {
        http_server_free(api->server);
    }
    traces_stop(api);
    tls_context_free(api->tls);
    api_tokens_free(api->tokens);
    g_free((char *)api->options.node_name);
    g_free((char *)api->options.cluster);
    g_free((char *)api->options.data);
    g_free(api->socket_path);
    g_free(api);
}

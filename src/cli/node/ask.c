/* Finds the node: --host, --data DIR's api.sock, $MICROCLOUD_HOST, /run/microcloud/api.sock (what
 * is said comes before what is set). The Unix socket needs no login: its file mode says who may.
 * Over TCP there is a token: --token, $MICROCLOUD_TOKEN, or one fetched for the user in the URL. */
#include "cli/node/ask.h"

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/error.h"
#include "cli/mqtt/options.h"
#include "cli/node/http_call.h"
#include "net/tls.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_SOCKET "/run/microcloud/api.sock"

#define AT(member) offsetof(struct node_values, member)

const struct cli_option node_options[] = {
    {"host", 0, CLI_TEXT, AT(host), "URL",
     "the node: unix:PATH, http://HOST:PORT or https://HOST:PORT", 0, 0, NULL},
    {"data", 0, CLI_TEXT, AT(data), "DIR", "the node whose data directory this is", 0, 0, NULL},
    {"token", 0, CLI_TEXT, AT(token), "TOKEN", "for http: of POST /v1/login (or $MICROCLOUD_TOKEN)",
     0, 0, NULL},
    {"cafile", 0, CLI_TEXT, AT(ca_file), "FILE", "for https: trusted certificates, PEM", 0, 0,
     NULL},
    {"insecure", 0, CLI_FLAG, AT(insecure), NULL,
     "for https: do not verify the node (for tests only)", 0, 0, NULL},
    {"json", 0, CLI_FLAG, AT(json), NULL, "print JSON", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

void cli_command_options(const struct cli_command *command, const struct cli_option **tables)
{
    unsigned count = 0;
    if (command->options) {
        tables[count++] = command->options;
    }
    if (command->speaks_mqtt) {
        tables[count++] = mqtt_options;
    }
    if (command->speaks_http) {
        tables[count++] = node_options;
    }
    tables[count] = NULL;
}

/* Where to ask. */
struct node_address {
    char *host; /* or "unix:PATH" */
    uint16_t port;
    bool is_tls;
    char *username, *password; /* of the URL */
    char *token;
};

static void node_address_deinit(struct node_address *address)
{
    g_free(address->host);
    g_free(address->username);
    g_free(address->password);
    g_free(address->token);
}

static int node_address_url(struct node_address *address, const char *text, GError **error)
{
    GUri *uri = g_uri_parse(text, G_URI_FLAGS_HAS_PASSWORD, NULL);
    const char *scheme = uri ? g_uri_get_scheme(uri) : "";
    bool is_right = (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
                    g_uri_get_host(uri) && *g_uri_get_host(uri);
    if (is_right) {
        address->is_tls = strcmp(scheme, "https") == 0;
        address->host = g_strdup(g_uri_get_host(uri));
        address->port = (uint16_t)(g_uri_get_port(uri) > 0 ? g_uri_get_port(uri)
                                   : address->is_tls       ? 8443
                                                           : 8080);
        address->username = g_strdup(g_uri_get_user(uri));
        address->password = g_strdup(g_uri_get_password(uri));
    } else {
        cli_fail_usage(
            error, "--host: must be unix:PATH, http://HOST[:PORT] or https://HOST[:PORT], got '%s'",
            text);
    }
    if (uri) {
        g_uri_unref(uri);
    }
    return is_right ? 0 : -1;
}

static int node_address_init(struct node_address *address, const struct node_values *values,
                             GError **error)
{
    const char *text = values->host;
    *address = (struct node_address){0};
    if (!text && !values->data) {
        text = getenv("MICROCLOUD_HOST");
    }
    if (text && g_str_has_prefix(text, "unix:")) {
        address->host = g_strdup(text);
    } else if (text && *text) {
        const char *token = values->token ? values->token : getenv("MICROCLOUD_TOKEN");
        address->token = g_strdup(token);
        return node_address_url(address, text, error);
    } else if (values->data) {
        address->host = g_strdup_printf("unix:%s/api.sock", values->data);
    } else {
        address->host = g_strdup("unix:" SYSTEM_SOCKET);
    }
    return 0;
}

/* The node's {"error": {"message": ...}}, or what the status means. */
static void node_fail(const struct http_answered *answered, GError **error)
{
    _cleanup_(text_freep) struct text_value *value =
        text_parse_json((const char *)answered->body->data, answered->body->len, NULL);
    const char *message = text_string(text_get(text_get(value, "error"), "message"), NULL);
    if (message) {
        cli_fail(error, "%s", message);
    } else if (answered->status == 401) {
        cli_fail(error, "the node wants a login: give --token, or user and password as "
                        "http://USER:PASSWORD@HOST");
    } else {
        cli_fail(error, "the node answered with status %u", answered->status);
    }
    if (answered->status == 401 && message) {
        g_prefix_error(error, "not logged in (--token, or http://USER:PASSWORD@HOST): ");
    }
}

static GByteArray *node_ask_address(const struct node_address *address, struct tls_context *tls,
                                    const struct node_request *request, GError **error)
{
    struct http_call call = {.host = address->host,
                             .port = address->port,
                             .tls = tls,
                             .method = request->method,
                             .target = request->target,
                             .token = address->token,
                             .content_type = request->content_type,
                             .body = request->body,
                             .on_piece = request->on_piece,
                             .owner = request->owner};
    struct http_answered answered;
    if (http_call_run(&call, &answered, error) < 0) {
        if (g_str_has_prefix(address->host, "unix:")) {
            g_prefix_error(error,
                           "no node answers here (is it running? --host or --data tell where): ");
        }
        return NULL;
    }
    if (answered.status / 100 != 2 && answered.status != 0) {
        node_fail(&answered, error);
        g_byte_array_unref(answered.body);
        return NULL;
    }
    return answered.body;
}

/* A token for the user of the URL. */
static int node_log_in(struct node_address *address, struct tls_context *tls, GError **error)
{
    _cleanup_(text_freep) struct text_value *body = text_new_object();
    text_set_string(body, "username", address->username);
    text_set_string(body, "password", address->password ? address->password : "");
    g_autofree char *json = text_to_json(body, false);
    struct node_request request = {.method = "POST",
                                   .target = "/v1/login",
                                   .content_type = "application/json",
                                   .body = bytes_from_string(json)};
    g_autoptr(GByteArray) answer = node_ask_address(address, tls, &request, error);
    if (!answer) {
        return -1;
    }
    _cleanup_(text_freep) struct text_value *value =
        text_parse_json((const char *)answer->data, answer->len, error);
    address->token = g_strdup(text_string(text_get(value, "token"), NULL));
    return value ? 0 : -1;
}

GByteArray *node_ask_bytes(const struct node_values *values, const struct node_request *request,
                           GError **error)
{
    struct node_address address;
    struct tls_context *tls = NULL;
    GByteArray *answer = NULL;
    bool is_ready = node_address_init(&address, values, error) == 0;
    if (is_ready && address.is_tls) {
        struct tls_options options = {
            .is_client = true, .ca_file = values->ca_file, .insecure = values->insecure};
        tls = tls_context_new(&options, error);
        is_ready = tls != NULL;
    }
    if (is_ready && address.username && !address.token) {
        is_ready = node_log_in(&address, tls, error) == 0;
    }
    if (is_ready) {
        answer = node_ask_address(&address, tls, request, error);
    }
    if (tls) {
        tls_context_free(tls);
    }
    node_address_deinit(&address);
    return answer;
}

struct text_value *node_ask(const struct node_values *values, const char *method,
                            const char *target, const struct text_value *body, GError **error)
{
    g_autofree char *json = body ? text_to_json(body, false) : NULL;
    struct node_request request = {.method = method,
                                   .target = target,
                                   .content_type = json ? "application/json" : NULL,
                                   .body = bytes_from_string(json)};
    g_autoptr(GByteArray) answer = node_ask_bytes(values, &request, error);
    if (!answer) {
        return NULL;
    }
    if (answer->len == 0) {
        return text_new_object();
    }
    struct text_value *value = text_parse_json((const char *)answer->data, answer->len, error);
    if (!value) {
        g_prefix_error(error, "the node's answer: ");
    }
    return value;
}

char *node_path(const char *before, const char *name, const char *rest)
{
    g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
    return g_strconcat(before, escaped, rest, NULL);
}

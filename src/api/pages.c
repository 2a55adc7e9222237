/* The console's files (embedded at build time by scripts/embed), and MQTT over WebSocket. */
#include "api/console_files.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "mqtt/broker.h"

#define PAGE_HEADERS                                                                               \
    "Cache-Control: no-cache\r\n"                                                                  \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src "   \
    "'self' data:; connect-src 'self'; "                                                           \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"                              \
    "Referrer-Policy: no-referrer\r\n"

void page_get(struct api_request *request)
{
    bool is_description = bytes_equal(request->head->path, bytes_from_string("/v1/openapi.yaml"));
    const char *name = is_description           ? "openapi.yaml"
                       : request->parameters[0] ? request->parameters[0]
                                                : "index.html";

    for (unsigned i = 0; i < console_file_count; i++) {
        const struct console_file *file = &console_files[i];
        if (strcmp(file->name, name) == 0) {
            struct http_answer answer = {.status = 200,
                                         .content_type = file->content_type,
                                         .body = {file->bytes, file->length},
                                         .headers = PAGE_HEADERS};
            http_respond(request->exchange, &answer);
            api_request_free(request);
            return;
        }
    }
    api_answer_error(request, 404, "not_found", "no such page");
}

static bool offers(const struct http_head *head, const char *protocol)
{
    struct bytes list = http_header_find(head, "sec-websocket-protocol");
    if (!list.at) {
        return false;
    }
    g_autofree char *text = g_strndup((const char *)list.at, list.length);
    g_auto(GStrv) parts = g_strsplit(text, ",", 16);

    for (unsigned i = 0; parts[i]; i++) {
        if (strcmp(g_strstrip(parts[i]), protocol) == 0) {
            return true;
        }
    }
    return false;
}

/* A person who is logged in as admin, on one of our own pages, needs no second login. Everybody
 * else logs in by CONNECT. */
void mqtt_get(struct api_request *request)
{
    const char *protocol = offers(request->head, "mqtt")       ? "mqtt"
                           : offers(request->head, "mqttv3.1") ? "mqttv3.1"
                                                               : NULL;

    if (!protocol) {
        api_answer_error(request, 400, "subprotocol_missing",
                         "offer the WebSocket subprotocol 'mqtt'");
        return;
    }
    bool is_known = request->is_by_cookie && request->identity.role == ROLE_ADMIN &&
                    api_is_own_origin(request->head);
    struct stream *stream = http_upgrade(request->exchange, protocol);
    if (stream) {
        broker_accept(request->api->options.broker, stream,
                      is_known ? request->identity.username : NULL);
    }
    api_request_free(request);
}

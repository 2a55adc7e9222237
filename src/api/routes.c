/* See routes.h. */
#include "api/routes.h"
#include "base/cleanup.h"

static const struct api_route routes[] = {
    {"GET", "/", ROLE_NONE, page_get},
    {"GET", "/console/{file}", ROLE_NONE, page_get},
    {"GET", "/healthz", ROLE_NONE, health_get},
    {"GET", "/metrics", ROLE_VIEWER, metrics_get},
    {"GET", "/mqtt", ROLE_NONE, mqtt_get},
    {"GET", "/v1/acl", ROLE_OPERATOR, acl_list},
    {"POST", "/v1/acl", ROLE_ADMIN, acl_post},
    {"POST", "/v1/acl/import", ROLE_ADMIN, acl_import},
    {"DELETE", "/v1/acl/{id}", ROLE_ADMIN, acl_delete},
    {"GET", "/v1/backup", ROLE_ADMIN, backup_get},
    {"GET", "/v1/bridges", ROLE_VIEWER, bridges_list},
    {"GET", "/v1/ca", ROLE_VIEWER, ca_get},
    {"POST", "/v1/ca/rotate", ROLE_ADMIN, ca_rotate},
    {"GET", "/v1/clients", ROLE_VIEWER, clients_list},
    {"GET", "/v1/clients/{id}", ROLE_VIEWER, client_get},
    {"DELETE", "/v1/clients/{id}", ROLE_OPERATOR, client_delete},
    {"GET", "/v1/clients/{id}/trace", ROLE_OPERATOR, client_trace},
    {"GET", "/v1/digest", ROLE_ADMIN, digest_get},
    {"GET", "/v1/doctor", ROLE_VIEWER, doctor_get},
    {"GET", "/v1/login", ROLE_VIEWER, login_get},
    {"POST", "/v1/login", ROLE_NONE, login_post},
    {"POST", "/v1/logout", ROLE_VIEWER, logout_post},
    {"GET", "/v1/nodes", ROLE_VIEWER, nodes_list},
    {"GET", "/v1/nodes/{node}", ROLE_VIEWER, node_get},
    {"DELETE", "/v1/nodes/{node}", ROLE_ADMIN, node_delete},
    {"POST", "/v1/nodes/{node}/activate", ROLE_ADMIN, node_activate},
    {"POST", "/v1/nodes/{node}/demote", ROLE_ADMIN, node_demote},
    {"POST", "/v1/nodes/{node}/drain", ROLE_ADMIN, node_drain},
    {"PUT", "/v1/nodes/{node}/labels/{key...}", ROLE_ADMIN, node_label_put},
    {"DELETE", "/v1/nodes/{node}/labels/{key...}", ROLE_ADMIN, node_label_delete},
    {"POST", "/v1/nodes/{node}/promote", ROLE_ADMIN, node_promote},
    {"GET", "/v1/openapi.yaml", ROLE_NONE, page_get},
    {"POST", "/v1/publish", ROLE_OPERATOR, publish_post},
    {"POST", "/v1/restore", ROLE_ADMIN, restore_post},
    {"GET", "/v1/routes", ROLE_VIEWER, routes_get},
    {"GET", "/v1/settings", ROLE_VIEWER, settings_list},
    {"GET", "/v1/settings/{key}", ROLE_VIEWER, setting_get},
    {"PUT", "/v1/settings/{key}", ROLE_ADMIN, setting_put},
    {"GET", "/v1/status", ROLE_VIEWER, status_get},
    {"GET", "/v1/tokens", ROLE_ADMIN, tokens_list},
    {"POST", "/v1/tokens", ROLE_ADMIN, token_post},
    {"DELETE", "/v1/tokens/{id}", ROLE_ADMIN, token_delete},
    {"GET", "/v1/topics", ROLE_VIEWER, topics_list},
    {"GET", "/v1/topics/{topic...}", ROLE_VIEWER, topic_get},
    {"DELETE", "/v1/topics/{topic...}", ROLE_OPERATOR, topic_delete},
    {"GET", "/v1/users", ROLE_OPERATOR, users_list},
    {"POST", "/v1/users/import", ROLE_ADMIN, users_import},
    {"PUT", "/v1/users/{name}", ROLE_ADMIN, user_put},
    {"DELETE", "/v1/users/{name}", ROLE_ADMIN, user_delete},
    {"GET", "/v1/vips", ROLE_VIEWER, vips_list},
    {"PUT", "/v1/vips", ROLE_ADMIN, vip_put},
    {"DELETE", "/v1/vips/{address...}", ROLE_ADMIN, vip_delete},
};

const struct api_route *api_routes(unsigned *count)
{
    *count = G_N_ELEMENTS(routes);
    return routes;
}

/* Compares segment by segment; what stands for {...} goes to `parameters`, still encoded. */
static bool matches(const char *pattern, struct bytes path,
                    struct bytes parameters[API_PARAMETERS_MAX])
{
    const char *at = (const char *)path.at, *end = at + path.length;
    unsigned count = 0;

    while (*pattern) {
        if (*pattern != '{') {
            if (at == end || *at != *pattern) {
                return false;
            }
            at++;
            pattern++;
            continue;
        }
        const char *close = strchr(pattern, '}');
        bool is_rest = close - pattern > 3 && strncmp(close - 3, "...", 3) == 0;
        const char *stop = is_rest ? end : memchr(at, '/', (size_t)(end - at));
        stop = stop ? stop : end;
        if (stop == at) {
            return false;
        }
        parameters[count++] = (struct bytes){(const uint8_t *)at, (size_t)(stop - at)};
        at = stop;
        pattern = close + 1;
    }
    return at == end;
}

static bool decode_parameters(struct api_request *request,
                              const struct bytes parameters[API_PARAMETERS_MAX])
{
    for (unsigned i = 0; i < API_PARAMETERS_MAX && parameters[i].at; i++) {
        request->parameters[i] = http_decode(parameters[i], false);
        if (!request->parameters[i] || !g_utf8_validate(request->parameters[i], -1, NULL)) {
            return false;
        }
    }
    return true;
}

const struct api_route *api_route_find(struct api_request *request, unsigned *status)
{
    struct bytes method = request->head->method;

    *status = 404;
    if (bytes_equal(method, bytes_from_string("HEAD"))) {
        method = bytes_from_string("GET");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(routes); i++) {
        struct bytes parameters[API_PARAMETERS_MAX] = {{NULL, 0}};
        if (!matches(routes[i].path, request->head->path, parameters)) {
            continue;
        }
        if (bytes_equal(method, bytes_from_string(routes[i].method))) {
            *status = decode_parameters(request, parameters) ? 200 : 400;
            return *status == 200 ? &routes[i] : NULL;
        }
        *status = 405;
    }
    return NULL;
}

void routes_get(struct api_request *request)
{
    struct text_value *list = text_new_list();

    for (unsigned i = 0; i < G_N_ELEMENTS(routes); i++) {
        struct text_value *route = text_new_object();
        text_set_string(route, "method", routes[i].method);
        text_set_string(route, "path", routes[i].path);
        text_set_string(route, "role", role_to_string(routes[i].role));
        text_append(list, route);
    }
    api_answer(request, 200, list);
}

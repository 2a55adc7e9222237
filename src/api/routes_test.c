/* The table of routes: how a path finds its route, and that docs/openapi.yaml says of each what is
 * so. */
#include "api/routes.h"
#include "base/cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct api_route *find(struct api_request *request, struct http_head *head,
                                    const char *method, const char *path, unsigned *status)
{
    for (unsigned i = 0; i < API_PARAMETERS_MAX; i++) {
        g_clear_pointer(&request->parameters[i], g_free);
    }
    *head =
        (struct http_head){.method = bytes_from_string(method), .path = bytes_from_string(path)};
    request->head = head;
    return api_route_find(request, status);
}

static void a_path_finds_its_route_and_what_stands_for_the_names(void **unused)
{
    struct api_request request = {0};
    struct http_head head;
    unsigned status;

    assert_string_equal(
        find(&request, &head, "GET", "/v1/clients/kitchen%2Fplug/trace", &status)->path,
        "/v1/clients/{id}/trace");
    assert_string_equal(request.parameters[0], "kitchen/plug");
    assert_string_equal(
        find(&request, &head, "DELETE", "/v1/topics/home/kitchen%20lamp", &status)->path,
        "/v1/topics/{topic...}");
    assert_string_equal(request.parameters[0], "home/kitchen lamp");
    assert_string_equal(find(&request, &head, "POST", "/v1/users/import", &status)->path,
                        "/v1/users/import");
    assert_string_equal(find(&request, &head, "HEAD", "/healthz", &status)->path, "/healthz");
    find(&request, &head, "GET", "/", &status);
    assert_null(request.parameters[0]);
}

static void what_is_not_there_is_404_and_a_wrong_method_405(void **unused)
{
    static const struct {
        const char *method, *path;
        unsigned status;
    } cases[] = {
        {"GET", "/v2/status", 404},
        {"GET", "/v1/status/", 404},
        {"GET", "/v1/clients/", 404},
        {"GET", "/v1/clients/a/b", 404},
        {"GET", "", 404},
        {"GET", "//", 404},
        {"GET", "/v1/clients/%zz", 400},
        {"GET", "/v1/clients/%00", 400},
        {"GET", "/v1/clients/%ff", 400},
        {"POST", "/v1/status", 405},
        {"PATCH", "/v1/users/admin", 405},
        {"get", "/v1/status", 405},
    };
    struct api_request request = {0};
    struct http_head head;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        unsigned status;
        assert_null(find(&request, &head, cases[i].method, cases[i].path, &status));
        assert_int_equal(status, cases[i].status);
    }
    find(&request, &head, "GET", "/", &(unsigned){0});
}

/* ---- docs/openapi.yaml ---- */

static struct text_value *load_description(void)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize length;

    assert_true(g_file_get_contents(OPENAPI_FILE, &text, &length, NULL));
    struct text_value *description = text_parse_yaml(text, length, &error);
    if (!description) {
        fail_msg("%s", error->message);
    }
    return description;
}

static char *documented_path(const char *pattern)
{
    g_auto(GStrv) parts = g_strsplit(pattern, "...}", -1);

    return g_strjoinv("}", parts);
}

static void each_route_is_described_with_its_role(void **unused)
{
    _cleanup_(text_freep) struct text_value *description = load_description();
    unsigned count;
    const struct api_route *routes = api_routes(&count);

    for (unsigned i = 0; i < count; i++) {
        g_autofree char *path = documented_path(routes[i].path);
        g_autofree char *method = g_ascii_strdown(routes[i].method, -1);
        const struct text_value *call =
            text_get(text_get(text_get(description, "paths"), path), method);
        const char *role = text_string(text_get(call, "x-role"), NULL);
        if (!call || g_strcmp0(role, role_to_string(routes[i].role)) != 0 ||
            text_count(text_get(call, "responses")) == 0) {
            fail_msg("%s %s: not described, or without x-role %s, or without responses", method,
                     path, role_to_string(routes[i].role));
        }
    }
}

static bool is_route(const char *method, const char *path)
{
    unsigned count;
    const struct api_route *routes = api_routes(&count);

    for (unsigned i = 0; i < count; i++) {
        g_autofree char *documented = documented_path(routes[i].path);
        if (strcmp(documented, path) == 0 && g_ascii_strcasecmp(routes[i].method, method) == 0) {
            return true;
        }
    }
    return false;
}

static void each_description_has_its_route(void **unused)
{
    _cleanup_(text_freep) struct text_value *description = load_description();
    const struct text_value *paths = text_get(description, "paths");

    assert_true(text_count(paths) > 0);
    for (size_t i = 0; i < text_count(paths); i++) {
        const char *path = text_key_at(paths, i);
        for (size_t j = 0; j < text_count(text_at(paths, i)); j++) {
            const char *method = text_key_at(text_at(paths, i), j);
            if (strcmp(method, "parameters") != 0 && !is_route(method, path)) {
                fail_msg("%s %s: described, but there is no such route", method, path);
            }
        }
    }
}

static void whatever_changes_something_needs_more_than_to_look(void **unused)
{
    unsigned count;
    const struct api_route *routes = api_routes(&count);

    for (unsigned i = 0; i < count; i++) {
        bool is_login =
            strcmp(routes[i].path, "/v1/login") == 0 || strcmp(routes[i].path, "/v1/logout") == 0;
        if (strcmp(routes[i].method, "GET") != 0 && !is_login) {
            assert_true(routes[i].role >= ROLE_OPERATOR);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_finds_its_route_and_what_stands_for_the_names),
        cmocka_unit_test(what_is_not_there_is_404_and_a_wrong_method_405),
        cmocka_unit_test(each_route_is_described_with_its_role),
        cmocka_unit_test(each_description_has_its_route),
        cmocka_unit_test(whatever_changes_something_needs_more_than_to_look),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Users and access rules, and the import of mosquitto's files. */
#include "access/import.h"
#include "api/routes.h"
#include "api/tokens.h"
#include "base/cleanup.h"
#include "loop/work.h"
#include "state/access_rules.h"
#include "state/state.h"
#include "topic/name.h"
#include <openssl/crypto.h>

#define NAME_BYTES_MAX     255
#define PASSWORD_BYTES_MAX 1024

/* ---- users ---- */

static void add_user(void *owner, const struct user *user)
{
    struct text_value *value = text_new_object();

    text_set_string(value, "name", user->name);
    text_set_string(value, "role", user->role);
    text_append(owner, value);
}

void users_list(struct api_request *request)
{
    struct text_value *list = text_new_list();

    state_for_each_user(request->api->options.state, add_user, list);
    api_answer(request, 200, list);
}

/* Hashing takes tens of milliseconds: on a pool thread. */
struct hashing {
    struct api_request *request;
    char *role, *password, *record;
};

static void hash(void *owner)
{
    struct hashing *hashing = owner;

    hashing->record = password_record_new(hashing->password);
}

static void hashing_free(struct hashing *hashing)
{
    if (hashing->password) {
        OPENSSL_cleanse(hashing->password, strlen(hashing->password));
    }
    g_free(hashing->password);
    g_free(hashing->role);
    g_free(hashing->record);
    g_free(hashing);
}

/* Who was logged in with the old password is so no longer. */
static void on_login_changed(void *owner, uint64_t token, const struct state_result *result)
{
    struct api_request *request = owner;

    if (result->error == 0 && !result->message) {
        api_tokens_remove_user(request->api->tokens, request->parameters[0]);
    }
    api_committed(request, token, result);
}

static void on_hashed(void *owner)
{
    struct hashing *hashing = owner;
    struct api_request *request = hashing->request;
    struct state_completion completion = {hashing->password ? on_login_changed : api_committed,
                                          request, 0};

    api_is_proposed(request,
                    state_propose_user_put(request->api->options.state, request->parameters[0],
                                           hashing->role, hashing->record, &completion));
    hashing_free(hashing);
}

static bool is_user_valid(struct api_request *request, const char *role, const char *password,
                          bool is_new)
{
    const char *name = request->parameters[0];

    if (role_from_string(role) == ROLE_NONE) {
        api_answer_error(request, 400, "user_invalid",
                         "user '%s': role must be admin, operator, viewer or device, got '%s'",
                         name, role);
    } else if (strlen(name) > NAME_BYTES_MAX || strchr(name, ':')) {
        api_answer_error(request, 400, "user_invalid",
                         "user '%s': the name must be at most 255 bytes without ':'", name);
    } else if ((!password && is_new) ||
               (password && (!password[0] || strlen(password) > PASSWORD_BYTES_MAX))) {
        api_answer_error(request, 400, "user_invalid",
                         "user '%s': 'password' must be 1 to 1024 bytes", name);
    } else {
        return true;
    }
    return false;
}

static void put_user(struct api_request *request, const char *role, const char *password,
                     const struct user *old)
{
    struct hashing *hashing = g_new0(struct hashing, 1);

    api_audit(request, "put user", request->parameters[0]);
    hashing->request = request;
    hashing->role = g_strdup(role);
    if (password) {
        hashing->password = g_strdup(password);
        work_submit(request->api->options.loop, hash, on_hashed, hashing);
    } else {
        hashing->record = g_strdup(old->password);
        on_hashed(hashing);
    }
}

/* Without a password the old one stays, without a role the old role; a new user needs a password.
 */
void user_put(struct api_request *request)
{
    const struct user *old = state_find_user(request->api->options.state, request->parameters[0]);
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    bool has_role = text_get(body, "role"), has_password = text_get(body, "password");

    if (!body) {
        return;
    }
    const char *role = has_role ? api_body_string(request, body, "role")
                       : old    ? old->role
                                : "device";
    if (!role) {
        return;
    }
    const char *password = has_password ? api_body_string(request, body, "password") : NULL;
    if (has_password && !password) {
        return;
    }
    if (is_user_valid(request, role, password, !old)) {
        put_user(request, role, password, old);
    }
}

void user_delete(struct api_request *request)
{
    struct state *state = request->api->options.state;
    struct state_completion completion = {on_login_changed, request, 0};

    if (!state_find_user(state, request->parameters[0])) {
        api_answer_error(request, 404, "user_unknown", "user '%s': there is none of this name",
                         request->parameters[0]);
        return;
    }
    api_audit(request, "remove user", request->parameters[0]);
    api_is_proposed(request, state_propose_user_remove(state, request->parameters[0], &completion));
}

/* ---- import: many commands, one answer ---- */

struct import {
    struct api_request *request;
    char *role;
    uint32_t open, done; /* commands under way, and one for the loop that proposes */
    int error;
    char *message;
};

static void settle_import(struct import *import)
{
    if (--import->open > 0) {
        return;
    }
    if (import->error != 0 || import->message) {
        api_answer_error(import->request, import->message ? 400 : 503, "import_incomplete",
                         "%u were imported, then: %s", import->done,
                         import->message ? import->message : g_strerror(-import->error));
    } else {
        struct text_value *value = text_new_object();
        text_set_integer(value, "imported", import->done);
        api_answer(import->request, 200, value);
    }
    g_free(import->message);
    g_free(import->role);
    g_free(import);
}

static void on_imported(void *owner, uint64_t token, const struct state_result *result)
{
    struct import *import = owner;

    import->done += result->error == 0 && !result->message;
    import->error = result->error != 0 ? result->error : import->error;
    if (result->message && !import->message) {
        import->message = g_strdup(result->message);
    }
    settle_import(import);
}

static void count_proposed(struct import *import, int r)
{
    if (r == 0) {
        import->open++;
    } else {
        import->error = r;
    }
}

static void import_user(void *owner, const char *name, const char *record)
{
    struct import *import = owner;
    struct state_completion completion = {on_imported, import, 0};

    count_proposed(import, state_propose_user_put(import->request->api->options.state, name,
                                                  import->role, record, &completion));
}

static void import_rule(void *owner, const char *subject, const char *action, const char *filter,
                        bool allow)
{
    struct import *import = owner;
    struct state_completion completion = {on_imported, import, 0};

    count_proposed(import, state_propose_acl_add(import->request->api->options.state, subject,
                                                 action, filter, allow, &completion));
}

static struct import *begin_import(struct api_request *request)
{
    struct import *import = g_new0(struct import, 1);

    import->request = request;
    import->open = 1;
    return import;
}

/* NULL when it is no text; then the request was answered. Caller frees. */
static char *body_text(struct api_request *request)
{
    struct bytes body = http_request_body(request->exchange);

    if (body.length > 0 && !g_utf8_validate((const char *)body.at, (gssize)body.length, NULL)) {
        api_answer_error(request, 400, "body_invalid", "the file must be text in UTF-8");
        return NULL;
    }
    return body.at ? g_strndup((const char *)body.at, body.length) : g_strdup("");
}

void users_import(struct api_request *request)
{
    g_autofree char *role = api_query(request, "role");
    g_autoptr(GError) error = NULL;

    if (role && role_from_string(role) == ROLE_NONE) {
        api_answer_error(request, 400, "role_invalid",
                         "role must be admin, operator, viewer or device, got '%s'", role);
        return;
    }
    g_autofree char *text = body_text(request);
    if (!text) {
        return;
    }
    struct import *import = begin_import(request);
    import->role = g_strdup(role ? role : "device");
    api_audit(request, "import users", NULL);
    if (import_passwords(text, import_user, import, &error) < 0) {
        import->message = g_strdup(error->message);
    }
    settle_import(import);
}

void acl_import(struct api_request *request)
{
    g_autofree char *text = body_text(request);
    g_autoptr(GError) error = NULL;

    if (!text) {
        return;
    }
    struct import *import = begin_import(request);
    api_audit(request, "import access rules", NULL);
    if (import_acl(text, import_rule, import, &error) < 0) {
        import->message = g_strdup(error->message);
    }
    settle_import(import);
}

/* ---- rules ---- */

void acl_list(struct api_request *request)
{
    struct state *state = request->api->options.state;
    struct text_value *list = text_new_list();

    for (uint32_t i = 0; i < state_rule_count(state); i++) {
        const struct access_rule *rule = state_rule_at(state, i);
        struct text_value *value = text_new_object();
        text_set_integer(value, "id", (int64_t)rule->id);
        text_set_string(value, "subject", rule->subject);
        text_set_string(value, "action", rule->action);
        text_set_string(value, "filter", rule->filter);
        text_set_boolean(value, "allow", rule->allow);
        text_append(list, value);
    }
    api_answer(request, 200, list);
}

static bool is_subject(const char *subject)
{
    return strcmp(subject, "*") == 0 || strcmp(subject, "anonymous") == 0 ||
           (g_str_has_prefix(subject, "user:") && subject[5]) ||
           (g_str_has_prefix(subject, "role:") && role_from_string(subject + 5) != ROLE_NONE);
}

void acl_post(struct api_request *request)
{
    static const char *const actions[] = {"read", "write", "readwrite", "subscribe", NULL};
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    const char *subject = body ? api_body_string(request, body, "subject") : NULL;
    const char *action = subject ? api_body_string(request, body, "action") : NULL;
    const char *filter = action ? api_body_string(request, body, "filter") : NULL;
    const struct text_value *allow = filter ? text_get(body, "allow") : NULL;

    if (!filter) {
        return;
    }
    if (!is_subject(subject)) {
        api_answer_error(request, 400, "rule_invalid",
                         "subject must be user:NAME, role:ROLE, anonymous or *, got '%s'", subject);
    } else if (!g_strv_contains(actions, action)) {
        api_answer_error(request, 400, "rule_invalid",
                         "action must be read, write, readwrite or subscribe, got '%s'", action);
    } else if (!topic_filter_is_valid(bytes_from_string(filter), TOPIC_BYTES_MAX)) {
        api_answer_error(request, 400, "rule_invalid", "filter '%s' is no topic filter", filter);
    } else {
        struct state_completion completion = {api_committed, request, 0};
        api_audit(request, "add access rule", filter);
        api_is_proposed(request,
                        state_propose_acl_add(request->api->options.state, subject, action, filter,
                                              text_boolean(allow, true), &completion));
    }
}

void acl_delete(struct api_request *request)
{
    guint64 id;
    struct state_completion completion = {api_committed, request, 0};

    if (!g_ascii_string_to_unsigned(request->parameters[0], 10, 1, UINT64_MAX, &id, NULL)) {
        api_answer_error(request, 400, "rule_invalid", "rule '%s': the id must be a number",
                         request->parameters[0]);
        return;
    }
    api_audit(request, "remove access rule", request->parameters[0]);
    api_is_proposed(request,
                    state_propose_acl_remove(request->api->options.state, id, &completion));
}

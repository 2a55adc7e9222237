/* Users in order of names, rules in order of ids; both arrays are searched by halves. */
#include "state/access_rules.h"
#include "state/access_tables.h"
#include "state/tables.h"
#include "topic/name.h"

void access_user_free(void *memory)
{
    struct user *user = memory;
    g_free(user->name);
    g_free(user->role);
    g_free(user->password);
    g_free(user);
}

void access_rule_free(void *memory)
{
    struct access_rule *rule = memory;
    g_free(rule->subject);
    g_free(rule->action);
    g_free(rule->filter);
    g_free(rule);
}

static uint64_t user_bytes(const struct user *user)
{
    return ACCESS_ENTRY_BYTES + strlen(user->name) + strlen(user->role) + strlen(user->password);
}

static uint64_t rule_bytes(const struct access_rule *rule)
{
    return ACCESS_ENTRY_BYTES + strlen(rule->subject) + strlen(rule->action) + strlen(rule->filter);
}

static bool is_one_of(const char *text, const char *const *choices)
{
    return g_strv_contains(choices, text);
}

static bool is_plain_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= USER_NAME_BYTES_MAX && !strchr(name, ':') &&
           !strchr(name, '\n') && utf8_is_valid(bytes_from_string(name));
}

static const char *const roles[] = {"admin", "operator", "viewer", "device", NULL};
static const char *const actions[] = {"read", "write", "readwrite", "subscribe", NULL};

char *access_user_problem(const char *name, const char *role, const char *password)
{
    if (!is_plain_name(name)) {
        return g_strdup_printf(
            "user: the name must be UTF-8 of 1..%d bytes without ':' and line ends",
            USER_NAME_BYTES_MAX);
    }
    if (!is_one_of(role, roles)) {
        return g_strdup_printf(
            "user '%s': role must be admin, operator, viewer or device, got '%.64s'", name, role);
    }
    if (strlen(password) > PASSWORD_RECORD_BYTES_MAX) {
        return g_strdup_printf("user '%s': the password record must have at most %d bytes, got %zu",
                               name, PASSWORD_RECORD_BYTES_MAX, strlen(password));
    }
    return NULL;
}

char *access_rule_problem(const char *subject, const char *action, const char *filter)
{
    bool is_user = g_str_has_prefix(subject, "user:") && is_plain_name(subject + strlen("user:"));
    bool is_role =
        g_str_has_prefix(subject, "role:") && is_one_of(subject + strlen("role:"), roles);
    if (!is_user && !is_role && strcmp(subject, "anonymous") != 0 && strcmp(subject, "*") != 0) {
        return g_strdup_printf(
            "access rule: the subject must be user:NAME, role:ROLE, anonymous or *, "
            "got '%.64s'",
            subject);
    }
    if (!is_one_of(action, actions)) {
        return g_strdup_printf(
            "access rule: the action must be read, write, readwrite or subscribe, got '%.64s'",
            action);
    }
    if (!topic_filter_is_valid(bytes_from_string(filter), ACCESS_FILTER_BYTES_MAX)) {
        return g_strdup_printf("access rule: '%.64s' is not a topic filter", filter);
    }
    return NULL;
}

/* Where the user is, or would be. */
static bool find_user(const GPtrArray *users, const char *name, uint32_t *at)
{
    uint32_t low = 0, high = users->len;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(((const struct user *)users->pdata[middle])->name, name);
        if (order == 0) {
            *at = middle;
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *at = low;
    return false;
}

void access_put_user(struct tables *tables, const char *name, const char *role,
                     const char *password)
{
    access_remove_user(tables, name);
    struct user *user = g_new(struct user, 1);
    *user = (struct user){g_strdup(name), g_strdup(role), g_strdup(password)};
    uint32_t at = 0;
    find_user(tables->users, name, &at);
    g_ptr_array_insert(tables->users, (int)at, user);
    tables->access_bytes += user_bytes(user);
}

bool access_remove_user(struct tables *tables, const char *name)
{
    uint32_t at = 0;
    if (!find_user(tables->users, name, &at)) {
        return false;
    }
    tables->access_bytes -= user_bytes(tables->users->pdata[at]);
    g_ptr_array_remove_index(tables->users, at);
    return true;
}

void access_add_rule(struct tables *tables, uint64_t id, const char *subject, const char *action,
                     const char *filter, bool allow)
{
    struct access_rule *rule = g_new(struct access_rule, 1);
    *rule = (struct access_rule){id, g_strdup(subject), g_strdup(action), g_strdup(filter), allow};
    g_ptr_array_add(tables->rules, rule);
    tables->access_bytes += rule_bytes(rule);
    tables->next_rule_id = id + 1;
}

bool access_remove_rule(struct tables *tables, uint64_t id)
{
    for (uint32_t at = 0; at < tables->rules->len; at++) {
        const struct access_rule *rule = tables->rules->pdata[at];
        if (rule->id == id) {
            tables->access_bytes -= rule_bytes(rule);
            g_ptr_array_remove_index(tables->rules, at);
            return true;
        }
    }
    return false;
}

const struct user *state_find_user(const struct state *state, const char *name)
{
    uint32_t at = 0;
    return find_user(state->tables.users, name, &at) ? state->tables.users->pdata[at] : NULL;
}

void state_for_each_user(const struct state *state,
                         void (*fn)(void *owner, const struct user *user), void *owner)
{
    for (uint32_t i = 0; i < state->tables.users->len; i++) {
        fn(owner, state->tables.users->pdata[i]);
    }
}

uint32_t state_rule_count(const struct state *state)
{
    return state->tables.rules->len;
}

const struct access_rule *state_rule_at(const struct state *state, uint32_t at)
{
    g_assert(at < state->tables.rules->len);
    return state->tables.rules->pdata[at];
}

uint64_t state_access_generation(const struct state *state)
{
    return state->access_generation;
}

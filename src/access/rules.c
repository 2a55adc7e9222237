/* Who may do what with a topic. With no rule at all the role decides. With rules: admin everything;
 * a rule speaks of an identity (user, role, anonymous, all) and of topics (a filter in which %u and
 * %c stand for user name and client id, as in mosquitto); a denial wins, else one permission is
 * enough, else no. */
#include "access/access.h"
#include "access/access_private.h"
#include "state/access_rules.h"
#include "topic/name.h"
#include <glib.h>

enum right { RIGHT_READ = 1, RIGHT_WRITE = 2, RIGHT_SUBSCRIBE = 4 };

static unsigned rights_of(const char *action)
{
    static const struct {
        const char *name;
        unsigned rights;
    } actions[] = {{"read", RIGHT_READ | RIGHT_SUBSCRIBE},
                   {"write", RIGHT_WRITE},
                   {"readwrite", RIGHT_READ | RIGHT_WRITE | RIGHT_SUBSCRIBE},
                   {"subscribe", RIGHT_SUBSCRIBE}};

    for (unsigned i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(actions[i].name, action) == 0) {
            return actions[i].rights;
        }
    }
    return 0;
}

static bool is_about(const struct access_rule *rule, const struct identity *identity)
{
    if (strcmp(rule->subject, "*") == 0) {
        return true;
    }
    if (strcmp(rule->subject, "anonymous") == 0) {
        return identity->username == NULL;
    }
    if (g_str_has_prefix(rule->subject, "user:")) {
        return g_strcmp0(rule->subject + 5, identity->username) == 0;
    }
    return g_str_has_prefix(rule->subject, "role:") &&
           strcmp(rule->subject + 5, role_to_string(identity->role)) == 0;
}

/* A name that could widen the filter is not put in: mosquitto does the same. */
static bool is_plain(struct bytes text)
{
    return text.length > 0 && !memchr(text.at, '+', text.length) &&
           !memchr(text.at, '#', text.length) && !memchr(text.at, '/', text.length);
}

/* The filter with %u and %c filled in, or NULL when they cannot be. */
static char *fill_in(const char *filter, const struct identity *identity, struct bytes client_id)
{
    struct bytes username = bytes_from_string(identity->username);
    GString *filled = g_string_new(NULL);

    for (const char *at = filter; *at; at++) {
        bool is_user = strncmp(at, "%u", 2) == 0;
        if (!is_user && strncmp(at, "%c", 2) != 0) {
            g_string_append_c(filled, *at);
            continue;
        }
        struct bytes value = is_user ? username : client_id;
        if (!is_plain(value)) {
            g_string_free(filled, true);
            return NULL;
        }
        g_string_append_len(filled, (const char *)value.at, (gssize)value.length);
        at++;
    }
    return g_string_free(filled, false);
}

static struct bytes next_level(struct bytes *rest)
{
    const uint8_t *slash = rest->length ? memchr(rest->at, '/', rest->length) : NULL;
    struct bytes level = {rest->at, slash ? (size_t)(slash - rest->at) : rest->length};

    *rest = slash ? (struct bytes){slash + 1, rest->length - level.length - 1}
                  : (struct bytes){NULL, 0};
    return level;
}

static bool is_level(struct bytes level, char wildcard)
{
    return level.length == 1 && level.at[0] == (uint8_t)wildcard;
}

/* Is there any topic that both filters match? */
static bool overlap(struct bytes a, struct bytes b)
{
    while (a.at && b.at) {
        struct bytes level_a = next_level(&a);
        struct bytes level_b = next_level(&b);
        if (is_level(level_a, '#') || is_level(level_b, '#')) {
            return true;
        }
        if (!is_level(level_a, '+') && !is_level(level_b, '+') && !bytes_equal(level_a, level_b)) {
            return false;
        }
    }
    return (!a.at && !b.at) || is_level(a, '#') || is_level(b, '#');
}

struct question {
    const struct identity *identity;
    struct bytes client_id, topic;
    unsigned right;
    bool is_filter;
};

/* A denial of a whole subscription must cover it; a permission is enough when it overlaps: what is
 * not allowed in it is held back message by message. */
static bool concerns(const struct access_rule *rule, const struct question *question)
{
    if (!(rights_of(rule->action) & question->right) || !is_about(rule, question->identity)) {
        return false;
    }
    g_autofree char *filled = strchr(rule->filter, '%')
                                  ? fill_in(rule->filter, question->identity, question->client_id)
                                  : g_strdup(rule->filter);
    if (!filled) {
        return false;
    }
    struct bytes filter = bytes_from_string(filled);
    if (!question->is_filter) {
        return topic_filter_matches(filter, question->topic);
    }
    return rule->allow ? overlap(filter, question->topic)
                       : topic_filter_covers(filter, question->topic);
}

static bool decide(const struct access *access, const struct question *question)
{
    const struct state *state = access_state(access);
    const struct identity *identity = question->identity;
    uint32_t count = state_rule_count(state);
    bool is_allowed = false;

    if (identity->role == ROLE_ADMIN) {
        return true;
    }
    if (identity->role == ROLE_VIEWER && question->right == RIGHT_WRITE) {
        return false;
    }
    if (count == 0) {
        return identity->role != ROLE_NONE;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct access_rule *rule = state_rule_at(state, i);
        if ((rule->allow && is_allowed) || !concerns(rule, question)) {
            continue;
        }
        if (!rule->allow) {
            return false;
        }
        is_allowed = true;
    }
    return is_allowed;
}

bool access_needs_checks(const struct access *access, const struct identity *identity)
{
    if (identity->role == ROLE_ADMIN) {
        return false;
    }
    return identity->role == ROLE_VIEWER || identity->role == ROLE_NONE ||
           state_rule_count(access_state(access)) > 0;
}

bool access_may_publish(const struct access *access, const struct identity *identity,
                        struct bytes client_id, struct bytes topic)
{
    struct question question = {identity, client_id, topic, RIGHT_WRITE, false};

    return decide(access, &question);
}

bool access_may_subscribe(const struct access *access, const struct identity *identity,
                          struct bytes client_id, struct bytes filter)
{
    struct question question = {identity, client_id, filter, RIGHT_SUBSCRIBE, true};

    return decide(access, &question);
}

bool access_may_receive(const struct access *access, const struct identity *identity,
                        struct bytes client_id, struct bytes topic)
{
    struct question question = {identity, client_id, topic, RIGHT_READ, false};

    return decide(access, &question);
}

static const char *const role_names[] = {[ROLE_NONE] = "none",
                                         [ROLE_DEVICE] = "device",
                                         [ROLE_VIEWER] = "viewer",
                                         [ROLE_OPERATOR] = "operator",
                                         [ROLE_ADMIN] = "admin"};

const char *role_to_string(enum role role)
{
    return role_names[role];
}

enum role role_from_string(const char *text)
{
    for (unsigned i = ROLE_DEVICE; i < G_N_ELEMENTS(role_names); i++) {
        if (g_strcmp0(text, role_names[i]) == 0) {
            return (enum role)i;
        }
    }
    return ROLE_NONE;
}

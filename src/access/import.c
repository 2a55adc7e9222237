/* See import.h. A file is checked wholly before anything is handed on. */
#include "access/import.h"
#include "access/password.h"
#include "base/cleanup.h"
#include "topic/name.h"
#include <errno.h>

#define IMPORT_LINES_MAX 100000

static int fail(GError **error, unsigned line, const char *what, const char *value)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "line %u: %s%s%s%s", line, what,
                value ? " '" : "", value ? value : "", value ? "'" : "");
    return -EINVAL;
}

static int check_password_line(char *line, unsigned number, char **record, GError **error)
{
    char *colon = strchr(line, ':');

    if (!colon || colon == line) {
        return fail(error, number, "expected NAME:RECORD", NULL);
    }
    *colon = '\0';
    *record = colon + 1;
    if (!g_utf8_validate(line, -1, NULL)) {
        return fail(error, number, "the user name is not UTF-8", NULL);
    }
    if (!password_record_is_valid(*record)) {
        return fail(error, number,
                    "not a password record of mosquitto_passwd ($6$... or $7$...) for user", line);
    }
    return 0;
}

static bool is_skipped(const char *line)
{
    return line[0] == '\0' || line[0] == '#';
}

int import_passwords(const char *text,
                     void (*fn)(void *owner, const char *name, const char *record), void *owner,
                     GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", IMPORT_LINES_MAX);
    g_autoptr(GPtrArray) records = g_ptr_array_new();

    for (unsigned i = 0; lines[i]; i++) {
        char *record = NULL;
        g_strstrip(lines[i]);
        if (!is_skipped(lines[i])) {
            int r = check_password_line(lines[i], i + 1, &record, error);
            if (r < 0) {
                return r;
            }
        }
        g_ptr_array_add(records, record);
    }
    for (unsigned i = 0; lines[i]; i++) {
        if (records->pdata[i]) {
            fn(owner, lines[i], records->pdata[i]);
        }
    }
    return 0;
}

struct acl_line {
    char *subject, *action, *filter;
    bool allow;
};

static void acl_line_free(void *pointer)
{
    struct acl_line *line = pointer;

    g_free(line->subject);
    g_free(line->action);
    g_free(line->filter);
    g_free(line);
}

/* "read FILTER", "FILTER" (= readwrite); a filter may hold spaces. */
static int parse_topic(const char *rest, const char *subject, unsigned number, GPtrArray *rules,
                       GError **error)
{
    static const char *const actions[] = {"readwrite", "read", "write", "deny"};
    const char *action = "readwrite";

    for (unsigned i = 0; i < G_N_ELEMENTS(actions); i++) {
        size_t length = strlen(actions[i]);
        if (strncmp(rest, actions[i], length) == 0 && rest[length] == ' ') {
            action = actions[i];
            rest += length + 1;
            break;
        }
    }
    g_autofree char *filter = g_strstrip(g_strdup(rest));
    if (!topic_filter_is_valid(bytes_from_string(filter), TOPIC_BYTES_MAX)) {
        return fail(error, number, "not a topic filter:", filter);
    }
    struct acl_line *line = g_new0(struct acl_line, 1);
    line->subject = g_strdup(subject);
    line->allow = strcmp(action, "deny") != 0;
    line->action = g_strdup(line->allow ? action : "readwrite");
    line->filter = TAKE(filter);
    g_ptr_array_add(rules, line);
    return 0;
}

static int parse_acl_line(char *text, char **subject, unsigned number, GPtrArray *rules,
                          GError **error)
{
    if (g_str_has_prefix(text, "user ")) {
        g_free(*subject);
        *subject = g_strconcat("user:", g_strstrip(text + 5), NULL);
        return 0;
    }
    if (g_str_has_prefix(text, "topic ")) {
        return parse_topic(g_strchug(text + 6), *subject, number, rules, error);
    }
    if (g_str_has_prefix(text, "pattern ")) {
        return parse_topic(g_strchug(text + 8), "*", number, rules, error);
    }
    return fail(error, number, "expected user, topic or pattern, got", text);
}

int import_acl(const char *text,
               void (*fn)(void *owner, const char *subject, const char *action, const char *filter,
                          bool allow),
               void *owner, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", IMPORT_LINES_MAX);
    g_autoptr(GPtrArray) rules = g_ptr_array_new_with_free_func(acl_line_free);
    g_autofree char *subject = g_strdup("anonymous");

    for (unsigned i = 0; lines[i]; i++) {
        g_strstrip(lines[i]);
        int r = is_skipped(lines[i]) ? 0 : parse_acl_line(lines[i], &subject, i + 1, rules, error);
        if (r < 0) {
            return r;
        }
    }
    for (unsigned i = 0; i < rules->len; i++) {
        const struct acl_line *line = rules->pdata[i];
        fn(owner, line->subject, line->action, line->filter, line->allow);
    }
    return 0;
}

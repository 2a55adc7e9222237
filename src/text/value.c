/* See value.h. The tree is jansson's; nobody else sees that. */
#include "text/value.h"
#include "base/cleanup.h"
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *json_of(const struct text_value *value)
{
    return (json_t *)(void *)value;
}

static struct text_value *value_of(json_t *json)
{
    return (struct text_value *)(void *)json;
}

static int fail(GError **error, unsigned line, unsigned column, const char *what)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "JSON line %u, column %u: %s", line,
                column, what);
    return -1;
}

/* jansson's own limit is 2048 levels of recursion, and it has none for values. Ours stand before it
 * and cost one look at the raw text: brackets and commas outside of strings. */
static int check_limits(const char *text, size_t length, GError **error)
{
    unsigned depth = 0, line = 1, nodes = 1;
    size_t line_begin = 0;
    bool is_string = false;

    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '\n') {
            line++;
            line_begin = i + 1;
        }
        if (is_string) {
            i += c == '\\';
            is_string = c != '"';
            continue;
        }
        bool is_opening = c == '[' || c == '{';
        is_string = c == '"';
        nodes += is_opening || c == ',';
        depth += is_opening;
        depth -= (c == ']' || c == '}') && depth > 0;
        const char *fault =
            depth > TEXT_DEPTH_MAX   ? "nested deeper than " G_STRINGIFY(TEXT_DEPTH_MAX) " levels"
            : nodes > TEXT_NODES_MAX ? "more than " G_STRINGIFY(TEXT_NODES_MAX) " values"
            : c == '\0'              ? "a NUL byte" /* jansson passes over it */
                                     : NULL;
        if (fault) {
            return fail(error, line, (unsigned)(i - line_begin + 1), fault);
        }
    }
    return 0;
}

struct text_value *text_parse_json(const char *text, size_t length, GError **error)
{
    json_error_t where;

    if (length > TEXT_BYTES_MAX) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "JSON: longer than %d bytes",
                    TEXT_BYTES_MAX);
        return NULL;
    }
    if (check_limits(text, length, error) < 0) {
        return NULL;
    }
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (!json) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "JSON line %d, column %d: %s",
                    where.line, where.column, where.text);
    }
    return value_of(json);
}

void text_free(struct text_value *value)
{
    json_decref(json_of(value));
}

/* ---- reading ---- */

enum text_kind text_kind(const struct text_value *value)
{
    if (!value) {
        return TEXT_NULL;
    }
    switch (json_typeof(json_of(value))) {
    case JSON_OBJECT:
        return TEXT_OBJECT;
    case JSON_ARRAY:
        return TEXT_LIST;
    case JSON_STRING:
        return TEXT_STRING;
    case JSON_INTEGER:
        return TEXT_INTEGER;
    case JSON_REAL:
        return TEXT_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return TEXT_BOOLEAN;
    default:
        return TEXT_NULL;
    }
}

const char *text_kind_to_string(enum text_kind kind)
{
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "list",    "object"};

    return names[kind];
}

const struct text_value *text_get(const struct text_value *value, const char *key)
{
    return text_kind(value) == TEXT_OBJECT ? value_of(json_object_get(json_of(value), key)) : NULL;
}

const struct text_value *text_at(const struct text_value *value, size_t at)
{
    if (text_kind(value) == TEXT_LIST) {
        return value_of(json_array_get(json_of(value), at));
    }
    const char *key = text_key_at(value, at);
    return key ? text_get(value, key) : NULL;
}

size_t text_count(const struct text_value *value)
{
    switch (text_kind(value)) {
    case TEXT_LIST:
        return json_array_size(json_of(value));
    case TEXT_OBJECT:
        return json_object_size(json_of(value));
    default:
        return 0;
    }
}

const char *text_key_at(const struct text_value *value, size_t at)
{
    if (text_kind(value) != TEXT_OBJECT) {
        return NULL;
    }
    void *member = json_object_iter(json_of(value));
    for (; member && at > 0; at--) {
        member = json_object_iter_next(json_of(value), member);
    }
    return member ? json_object_iter_key(member) : NULL;
}

const char *text_string(const struct text_value *value, const char *otherwise)
{
    return text_kind(value) == TEXT_STRING ? json_string_value(json_of(value)) : otherwise;
}

int64_t text_integer(const struct text_value *value, int64_t otherwise)
{
    return text_kind(value) == TEXT_INTEGER ? json_integer_value(json_of(value)) : otherwise;
}

bool text_boolean(const struct text_value *value, bool otherwise)
{
    return text_kind(value) == TEXT_BOOLEAN ? json_is_true(json_of(value)) : otherwise;
}

double text_number(const struct text_value *value, double otherwise)
{
    enum text_kind kind = text_kind(value);

    return kind == TEXT_INTEGER || kind == TEXT_NUMBER ? json_number_value(json_of(value))
                                                       : otherwise;
}

/* ---- making ---- */

static json_t *new_string(const char *text)
{
    if (!text) {
        return json_null();
    }
    json_t *json = json_string(text);
    if (!json) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        json = json_string(valid);
    }
    return json;
}

struct text_value *text_new_object(void)
{
    return value_of(json_object());
}

struct text_value *text_new_list(void)
{
    return value_of(json_array());
}

void text_set(struct text_value *object, const char *key, struct text_value *value)
{
    int r = json_object_set_new(json_of(object), key, json_of(value));
    assert(r == 0);
    (void)r;
}

void text_set_string(struct text_value *object, const char *key, const char *text)
{
    text_set(object, key, value_of(new_string(text)));
}

void text_set_integer(struct text_value *object, const char *key, int64_t number)
{
    text_set(object, key, value_of(json_integer(number)));
}

void text_set_boolean(struct text_value *object, const char *key, bool flag)
{
    text_set(object, key, value_of(json_boolean(flag)));
}

void text_set_null(struct text_value *object, const char *key)
{
    text_set(object, key, value_of(json_null()));
}

void text_append(struct text_value *list, struct text_value *value)
{
    int r = json_array_append_new(json_of(list), json_of(value));
    assert(r == 0);
    (void)r;
}

void text_append_string(struct text_value *list, const char *text)
{
    text_append(list, value_of(new_string(text)));
}

char *text_to_json(const struct text_value *value, bool is_pretty)
{
    char *json =
        json_dumps(json_of(value), JSON_ENCODE_ANY | (is_pretty ? JSON_INDENT(2) : JSON_COMPACT));
    char *copy = g_strdup(json);

    free(json);
    return copy;
}

/* One tree for JSON and YAML: null, boolean, integer, number, string, list, object (keys in the
 * order in which they came). Made by parsing or by hand, printed as JSON. A value has one owner:
 * adding it to a list or object gives it away. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text_value;

#define TEXT_DEPTH_MAX 64
#define TEXT_BYTES_MAX (8 * 1024 * 1024)
#define TEXT_NODES_MAX 200000 /* YAML: aliases may not blow a small text up */

enum text_kind {
    TEXT_NULL,
    TEXT_BOOLEAN,
    TEXT_INTEGER,
    TEXT_NUMBER,
    TEXT_STRING,
    TEXT_LIST,
    TEXT_OBJECT
};

/* NULL with an error that names line and column. Duplicate keys, bad UTF-8, NUL, and depth above
 * TEXT_DEPTH_MAX are errors. */
struct text_value *text_parse_json(const char *text, size_t length, GError **error);
/* One document of the JSON subset of YAML 1.1: no tags, anchors and aliases allowed within limits.
 */
struct text_value *text_parse_yaml(const char *text, size_t length, GError **error);
void text_free(struct text_value *value); /* takes NULL */

static inline void text_freep(struct text_value **value)
{
    text_free(*value);
}

enum text_kind text_kind(const struct text_value *value); /* NULL counts as TEXT_NULL */
const char *text_kind_to_string(enum text_kind kind);
/* Borrowed; NULL when there is none or `value` is no object. */
const struct text_value *text_get(const struct text_value *value, const char *key);
const struct text_value *text_at(const struct text_value *value, size_t at);
size_t text_count(const struct text_value *value); /* of a list's or object's members, else 0 */
const char *text_key_at(const struct text_value *value,
                        size_t at); /* of an object's member, in order */

/* The value, or `otherwise` when there is none of this kind. */
const char *text_string(const struct text_value *value, const char *otherwise);
int64_t text_integer(const struct text_value *value, int64_t otherwise);
bool text_boolean(const struct text_value *value, bool otherwise);
double text_number(const struct text_value *value, double otherwise);

struct text_value *text_new_object(void);
struct text_value *text_new_list(void);
/* These add to an object; `text` NULL adds null; bytes that are no UTF-8 are replaced. */
void text_set(struct text_value *object, const char *key, struct text_value *value); /* takes */
void text_set_string(struct text_value *object, const char *key, const char *text);
void text_set_integer(struct text_value *object, const char *key, int64_t number);
void text_set_boolean(struct text_value *object, const char *key, bool flag);
void text_set_null(struct text_value *object, const char *key);
void text_append(struct text_value *list, struct text_value *value); /* takes */
void text_append_string(struct text_value *list, const char *text);

/* Caller frees (g_free). */
char *text_to_json(const struct text_value *value, bool is_pretty);

/* YAML into the tree of value.h, from libyaml's events. Containers under construction stand on a
 * stack of TEXT_DEPTH_MAX; nothing recurses. Anchors are remembered and an alias is a copy of what
 * it names; the number of values in all is limited. */
#include "base/cleanup.h"
#include "text/value.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <yaml.h>

struct level {
    json_t *container; /* owned by its parent, the first one by builder.root */
    char *key;         /* of an object: waits for its value */
    char *anchor;      /* owned; known once the container is whole, so it cannot hold itself */
    unsigned nodes;    /* values before it */
    unsigned height;   /* levels of the highest value in it */
};

struct anchor {
    json_t *value;
    unsigned nodes;  /* values in it */
    unsigned height; /* levels: 0 for a scalar */
};

struct builder {
    struct level levels[TEXT_DEPTH_MAX];
    unsigned depth;
    unsigned nodes;
    json_t *root;
    GHashTable *anchors; /* name -> struct anchor, both owned */
};

static int fail(GError **error, const yaml_mark_t *mark, const char *what)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "YAML line %zu, column %zu: %s",
                mark->line + 1, mark->column + 1, what);
    return -EINVAL;
}

static json_t *parse_integer(const char *digits, int base)
{
    char *end;

    errno = 0;
    long long integer = strtoll(digits, &end, base);
    return end != digits && *end == '\0' && errno == 0 ? json_integer(integer) : NULL;
}

/* YAML 1.2, 10.3.2: decimal, 0o octal, 0x hexadecimal, floating point; NULL when it is none. */
static json_t *parse_number(const char *text)
{
    bool is_hexadecimal = g_str_has_prefix(text, "0x");

    if (is_hexadecimal || g_str_has_prefix(text, "0o")) {
        return g_ascii_isxdigit(text[2]) ? parse_integer(text + 2, is_hexadecimal ? 16 : 8) : NULL;
    }
    if (strspn(text, "0123456789.eE+-") != strlen(text) || !strpbrk(text, "0123456789")) {
        return NULL;
    }
    json_t *integer = parse_integer(text, 10);
    if (integer) {
        return integer;
    }
    char *end;
    double number = g_ascii_strtod(text, &end);
    return *end == '\0' && isfinite(number) ? json_real(number) : NULL;
}

/* Plain scalars of the core schema: null, booleans, integers, numbers; anything else, and all that
 * is quoted, is a string. */
static json_t *scalar(const yaml_event_t *event)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", "yes", "Yes",
                                        "YES",  "on",   "On",   "ON",  NULL};
    static const char *const falses[] = {"false", "False", "FALSE", "no",  "No",
                                         "NO",    "off",   "Off",   "OFF", NULL};
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;

    if (strlen(text) != length) {
        return NULL;
    }
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return json_stringn(text, length);
    }
    if (g_strv_contains(nulls, text)) {
        return json_null();
    }
    if (g_strv_contains(trues, text) || g_strv_contains(falses, text)) {
        return json_boolean(g_strv_contains(trues, text));
    }
    json_t *number = parse_number(text);
    return number ? number : json_stringn(text, length);
}

/* Puts a value (a new reference), `height` levels high, where it belongs. */
static int put(struct builder *builder, json_t *value, unsigned height, const yaml_mark_t *mark,
               GError **error)
{
    if (!value) {
        return fail(error, mark, "not UTF-8, or a number out of range");
    }
    if (++builder->nodes > TEXT_NODES_MAX) {
        json_decref(value);
        return fail(error, mark, "too many values");
    }
    if (builder->depth == 0) {
        builder->root = value;
        return 0;
    }
    struct level *level = &builder->levels[builder->depth - 1];
    level->height = MAX(level->height, height);
    if (json_is_array(level->container)) {
        json_array_append_new(level->container, value);
        return 0;
    }
    if (!level->key) {
        bool is_string = json_is_string(value);
        level->key = is_string ? g_strdup(json_string_value(value)) : NULL;
        if (json_is_integer(value)) {
            level->key = g_strdup_printf("%lld", (long long)json_integer_value(value));
        }
        json_decref(value);
        return level->key ? 0 : fail(error, mark, "a key must be a string");
    }
    if (json_object_get(level->container, level->key)) {
        g_autofree char *text = g_strdup_printf("key '%s' is there twice", level->key);
        json_decref(value);
        return fail(error, mark, text);
    }
    json_object_set_new(level->container, level->key, value);
    g_clear_pointer(&level->key, g_free);
    return 0;
}

static int begin(struct builder *builder, json_t *container, const yaml_event_t *event,
                 GError **error)
{
    const yaml_mark_t *mark = &event->start_mark;
    bool is_list = event->type == YAML_SEQUENCE_START_EVENT;
    const yaml_char_t *tag =
        is_list ? event->data.sequence_start.tag : event->data.mapping_start.tag;
    const yaml_char_t *anchor =
        is_list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor;
    const struct level *level = builder->depth > 0 ? &builder->levels[builder->depth - 1] : NULL;
    unsigned nodes = builder->nodes;
    const char *fault = builder->depth >= TEXT_DEPTH_MAX ? "nested deeper than 64 levels"
                        : tag                            ? "tags are not supported"
                        : level && json_is_object(level->container) && !level->key
                            ? "a key must be a string"
                            : NULL;

    if (fault) {
        json_decref(container);
        return fail(error, mark, fault);
    }
    int r = put(builder, container, 1, mark, error);
    if (r == 0) {
        builder->levels[builder->depth++] = (struct level){
            .container = container, .anchor = g_strdup((const char *)anchor), .nodes = nodes};
    }
    return r;
}

static int use_alias(struct builder *builder, const yaml_event_t *event, GError **error)
{
    struct anchor *anchor = g_hash_table_lookup(builder->anchors, event->data.alias.anchor);

    if (!anchor) {
        return fail(error, &event->start_mark,
                    "alias of an anchor that is not there, or that holds itself");
    }
    if (builder->depth + anchor->height > TEXT_DEPTH_MAX) { /* anchors in anchors add up */
        return fail(error, &event->start_mark, "nested deeper than 64 levels");
    }
    builder->nodes = anchor->nodes > TEXT_NODES_MAX - builder->nodes
                         ? TEXT_NODES_MAX
                         : builder->nodes + anchor->nodes;
    return put(builder, json_incref(anchor->value), anchor->height, &event->start_mark, error);
}

static void remember(struct builder *builder, const char *name, json_t *value, unsigned nodes,
                     unsigned height)
{
    if (name && value) {
        struct anchor anchor = {json_incref(value), nodes, height};
        g_hash_table_replace(builder->anchors, g_strdup(name), g_memdup2(&anchor, sizeof anchor));
    }
}

static void end_container(struct builder *builder)
{
    struct level *level = &builder->levels[--builder->depth];

    if (builder->depth > 0) {
        struct level *parent = &builder->levels[builder->depth - 1];
        parent->height = MAX(parent->height, level->height + 1);
    }
    remember(builder, level->anchor, level->container, builder->nodes - level->nodes,
             level->height + 1);
    g_clear_pointer(&level->anchor, g_free);
}

static int handle(struct builder *builder, const yaml_event_t *event, GError **error)
{
    json_t *value;

    switch (event->type) {
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.tag) {
            return fail(error, &event->start_mark, "tags are not supported");
        }
        value = scalar(event);
        remember(builder, (const char *)event->data.scalar.anchor, value, 1, 0);
        return put(builder, value, 0, &event->start_mark, error);
    case YAML_ALIAS_EVENT:
        return use_alias(builder, event, error);
    case YAML_SEQUENCE_START_EVENT:
        return begin(builder, json_array(), event, error);
    case YAML_MAPPING_START_EVENT:
        return begin(builder, json_object(), event, error);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        end_container(builder);
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        return builder->root ? fail(error, &event->start_mark, "more than one document") : 0;
    default:
        return 0;
    }
}

static void free_anchor(void *pointer)
{
    struct anchor *anchor = pointer;

    json_decref(anchor->value);
    g_free(anchor);
}

static int parse(yaml_parser_t *parser, struct builder *builder, GError **error)
{
    yaml_event_type_t type = YAML_NO_EVENT;
    int r = 0;

    while (type != YAML_STREAM_END_EVENT && r == 0) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return fail(error, &parser->problem_mark,
                        parser->problem ? parser->problem : "cannot be read");
        }
        type = event.type;
        r = handle(builder, &event, error);
        yaml_event_delete(&event);
    }
    return r;
}

struct text_value *text_parse_yaml(const char *text, size_t length, GError **error)
{
    struct builder builder = {.depth = 0};
    yaml_parser_t parser;

    if (length > TEXT_BYTES_MAX) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "YAML: longer than %d bytes",
                    TEXT_BYTES_MAX);
        return NULL;
    }
    builder.anchors = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, free_anchor);
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    int r = parse(&parser, &builder, error);
    yaml_parser_delete(&parser);
    for (unsigned i = 0; i < G_N_ELEMENTS(builder.levels); i++) {
        g_free(builder.levels[i].key);
        g_free(builder.levels[i].anchor);
    }
    g_hash_table_unref(builder.anchors);
    if (r < 0) {
        json_decref(builder.root);
        return NULL;
    }
    return (struct text_value *)(void *)(builder.root ? builder.root : json_null());
}

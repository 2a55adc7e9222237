/* YAML into the tree of value.h, from libyaml's events. Containers under construction stand on a stack of TEXT_DEPTH_MAX; nothing recurses. Anchors are
 * remembered and an alias is a copy of what it names; the number of values in all is limited. */
#include "base/cleanup.h"
#include "text/value.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <yaml.h>

struct level {
    json_t *container; /* owned by its parent, the first one by builder.root */
    char *key;         /* of an object: waits for its value */
    char *anchor;      /* owned; known once the container is whole, so it cannot hold itself */
    unsigned nodes;    /* values before it */
};

struct anchor {
    json_t *value;
    unsigned nodes; /* values in it */
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
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "YAML line %zu, column %zu: %s", mark->line + 1, mark->column + 1, what);
    return -EINVAL;
}

/* Plain scalars of the core schema: null, booleans, integers, numbers; anything else, and all that is quoted, is a string. */
static json_t *scalar(const yaml_event_t *event)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL};
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    char *end;

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
    errno = 0;
    long long integer = strtoll(text, &end, 10);
    if (*end == '\0' && errno == 0) {
        return json_integer(integer);
    }
    double number = g_ascii_strtod(text, &end);
    if (*end == '\0' && (g_ascii_isdigit(text[0]) || text[0] == '-' || text[0] == '.') && errno == 0) {
        return json_real(number);
    }
    return json_stringn(text, length);
}

/* Puts a value (a new reference) where it belongs. */
static int put(struct builder *builder, json_t *value, const yaml_mark_t *mark, GError **error)
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

static int begin(struct builder *builder, json_t *container, const yaml_char_t *anchor, const yaml_mark_t *mark,
                 GError **error)
{
    unsigned nodes = builder->nodes;

    if (builder->depth >= TEXT_DEPTH_MAX) {
        json_decref(container);
        return fail(error, mark, "nested deeper than 64 levels");
    }
    if (builder->depth > 0 && json_is_object(builder->levels[builder->depth - 1].container) &&
        !builder->levels[builder->depth - 1].key) {
        json_decref(container);
        return fail(error, mark, "a key must be a string");
    }
    int r = put(builder, container, mark, error);
    if (r == 0) {
        builder->levels[builder->depth++] = (struct level){container, NULL, g_strdup((const char *)anchor), nodes};
    }
    return r;
}

static int use_alias(struct builder *builder, const yaml_event_t *event, GError **error)
{
    struct anchor *anchor = g_hash_table_lookup(builder->anchors, event->data.alias.anchor);

    if (!anchor) {
        return fail(error, &event->start_mark, "alias of an anchor that is not there, or that holds itself");
    }
    builder->nodes = anchor->nodes > TEXT_NODES_MAX - builder->nodes ? TEXT_NODES_MAX : builder->nodes + anchor->nodes;
    return put(builder, json_incref(anchor->value), &event->start_mark, error);
}

static void remember(struct builder *builder, const char *name, json_t *value, unsigned nodes)
{
    if (name && value) {
        struct anchor anchor = {json_incref(value), nodes};
        g_hash_table_replace(builder->anchors, g_strdup(name), g_memdup2(&anchor, sizeof anchor));
    }
}

static void end_container(struct builder *builder)
{
    struct level *level = &builder->levels[--builder->depth];

    remember(builder, level->anchor, level->container, builder->nodes - level->nodes);
    g_clear_pointer(&level->anchor, g_free);
}

static int handle(struct builder *builder, const yaml_event_t *event, GError **error)
{
    json_t *value;
    int r;

    switch (event->type) {
    case YAML_SCALAR_EVENT:
        value = scalar(event);
        remember(builder, (const char *)event->data.scalar.anchor, value, 1);
        return put(builder, value, &event->start_mark, error);
    case YAML_ALIAS_EVENT:
        return use_alias(builder, event, error);
    case YAML_SEQUENCE_START_EVENT:
        return begin(builder, json_array(), event->data.sequence_start.anchor, &event->start_mark, error);
    case YAML_MAPPING_START_EVENT:
        return begin(builder, json_object(), event->data.mapping_start.anchor, &event->start_mark, error);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        end_container(builder);
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        r = builder->root ? fail(error, &event->start_mark, "more than one document") : 0;
        return r;
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
            return fail(error, &parser->problem_mark, parser->problem ? parser->problem : "cannot be read");
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
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "YAML: longer than %d bytes", TEXT_BYTES_MAX);
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

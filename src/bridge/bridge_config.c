/* See bridge_config.h. One table says key, kind and where it goes; unknown keys are errors, so that
 * nothing is silently ignored. */
#include "bridge/bridge_config.h"
#include "base/cleanup.h"
#include "packet/packet.h"
#include "text/value.h"
#include "topic/name.h"
#include <errno.h>

enum key_kind { KEY_STRING, KEY_BOOLEAN, KEY_PORT, KEY_SECONDS, KEY_OTHER };

static const struct bridge_key {
    const char *name;
    enum key_kind kind;
    size_t offset;
} bridge_keys[] = {
    {"name", KEY_STRING, offsetof(struct bridge_config, name)},
    {"host", KEY_STRING, offsetof(struct bridge_config, host)},
    {"port", KEY_PORT, offsetof(struct bridge_config, port)},
    {"client_id", KEY_STRING, offsetof(struct bridge_config, client_id)},
    {"username", KEY_STRING, offsetof(struct bridge_config, username)},
    {"password", KEY_STRING, offsetof(struct bridge_config, password)},
    {"ca_file", KEY_STRING, offsetof(struct bridge_config, ca_file)},
    {"certificate_file", KEY_STRING, offsetof(struct bridge_config, certificate_file)},
    {"key_file", KEY_STRING, offsetof(struct bridge_config, key_file)},
    {"keep_alive_s", KEY_SECONDS, offsetof(struct bridge_config, keep_alive_s)},
    {"clean_start", KEY_BOOLEAN, offsetof(struct bridge_config, clean_start)},
    {"tls", KEY_BOOLEAN, offsetof(struct bridge_config, has_tls)},
    {"insecure", KEY_BOOLEAN, offsetof(struct bridge_config, insecure)},
    {"notifications", KEY_BOOLEAN, offsetof(struct bridge_config, notifications)},
    {"protocol", KEY_OTHER, 0},
    {"topics", KEY_OTHER, 0},
};

static int fail(GError **error, const char *key, const char *what)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: %s", key, what);
    return -EINVAL;
}

static void topic_free(void *pointer)
{
    struct bridge_topic *topic = pointer;

    g_free(topic->local_filter);
    g_free(topic->remote_filter);
    g_free(topic->local_prefix);
    g_free(topic->remote_prefix);
    g_free(topic);
}

void bridge_config_free(struct bridge_config *config)
{
    if (!config) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bridge_keys); i++) {
        if (bridge_keys[i].kind == KEY_STRING) {
            g_free(*(char **)(void *)((char *)config + bridge_keys[i].offset));
        }
    }
    g_ptr_array_unref(config->topics);
    g_free(config);
}

static void config_free(void *config)
{
    bridge_config_free(config);
}

/* ---- topics ---- */

static int check_filters(const struct bridge_topic *topic, GError **error)
{
    if (!topic_filter_is_valid(bytes_from_string(topic->local_filter), TOPIC_BYTES_MAX) ||
        !topic_filter_is_valid(bytes_from_string(topic->remote_filter), TOPIC_BYTES_MAX)) {
        return fail(error, "pattern", "prefix and pattern together must be a topic filter");
    }
    return 0;
}

static int parse_direction(const struct text_value *value, uint8_t *direction, GError **error)
{
    static const char *const names[] = {
        [BRIDGE_OUT] = "out", [BRIDGE_IN] = "in", [BRIDGE_BOTH] = "both"};
    const char *text = text_string(value, "out");

    for (int i = BRIDGE_OUT; i <= BRIDGE_BOTH; i++) {
        if (strcmp(names[i], text) == 0) {
            *direction = (uint8_t)i;
            return 0;
        }
    }
    g_autofree char *what = g_strdup_printf("must be in, out or both, got '%s'", text);
    return fail(error, "direction", what);
}

static int parse_topic(const struct text_value *value, struct bridge_topic *topic, GError **error)
{
    static const char *const keys[] = {"pattern",      "direction",     "qos",
                                       "local_prefix", "remote_prefix", NULL};
    const char *pattern = text_string(text_get(value, "pattern"), NULL);
    int64_t qos = text_integer(text_get(value, "qos"), text_get(value, "qos") ? -1 : 0);

    for (size_t i = 0; i < text_count(value); i++) {
        if (!g_strv_contains(keys, text_key_at(value, i))) {
            return fail(error, text_key_at(value, i),
                        "unknown; known are pattern, direction, qos, local_prefix, remote_prefix");
        }
    }
    if (!pattern) {
        return fail(error, "pattern", "must be a topic filter");
    }
    if (qos < 0 || qos > 2) {
        return fail(error, "qos", "must be 0, 1 or 2");
    }
    topic->qos = (uint8_t)qos;
    topic->local_prefix = g_strdup(text_string(text_get(value, "local_prefix"), ""));
    topic->remote_prefix = g_strdup(text_string(text_get(value, "remote_prefix"), ""));
    topic->local_filter = g_strconcat(topic->local_prefix, pattern, NULL);
    topic->remote_filter = g_strconcat(topic->remote_prefix, pattern, NULL);
    int r = parse_direction(text_get(value, "direction"), &topic->direction, error);
    return r < 0 ? r : check_filters(topic, error);
}

static int parse_topics(const struct text_value *list, struct bridge_config *config, GError **error)
{
    size_t count = text_count(list);

    if (text_kind(list) != TEXT_LIST || count == 0 || count > BRIDGE_TOPICS_MAX) {
        return fail(error, "topics", "must be a list of 1 to 64 objects");
    }
    for (size_t i = 0; i < count; i++) {
        struct bridge_topic *topic = g_new0(struct bridge_topic, 1);
        g_ptr_array_add(config->topics, topic);
        if (parse_topic(text_at(list, i), topic, error) < 0) {
            g_prefix_error(error, "topics[%zu].", i);
            return -EINVAL;
        }
        if (topic->direction == BRIDGE_BOTH && config->version != PACKET_MQTT_5) {
            return fail(error, "topics",
                        "direction both needs protocol 5: MQTT 3.1.1 cannot tell an own message "
                        "from another's");
        }
    }
    return 0;
}

/* ---- one bridge ---- */

static int parse_member(struct bridge_config *config, const struct bridge_key *key,
                        const struct text_value *value, GError **error)
{
    void *at = (char *)config + key->offset;
    int64_t number = text_integer(value, -1);

    switch (key->kind) {
    case KEY_STRING:
        if (text_kind(value) != TEXT_STRING) {
            return fail(error, key->name, "must be a string");
        }
        *(char **)at = g_strdup(text_string(value, NULL));
        return 0;
    case KEY_BOOLEAN:
        if (text_kind(value) != TEXT_BOOLEAN) {
            return fail(error, key->name, "must be true or false");
        }
        *(bool *)at = text_boolean(value, false);
        return 0;
    case KEY_PORT:
    case KEY_SECONDS:
        if (number < (key->kind == KEY_PORT) || number > UINT16_MAX) {
            return fail(error, key->name, "must be a number up to 65535");
        }
        *(uint16_t *)at = (uint16_t)number;
        return 0;
    default:
        return 0;
    }
}

static int parse_members(const struct text_value *value, struct bridge_config *config,
                         GError **error)
{
    for (size_t i = 0; i < text_count(value); i++) {
        const char *name = text_key_at(value, i);
        const struct bridge_key *key = NULL;
        for (unsigned j = 0; j < G_N_ELEMENTS(bridge_keys) && !key; j++) {
            key = strcmp(bridge_keys[j].name, name) == 0 ? &bridge_keys[j] : NULL;
        }
        if (!key) {
            return fail(error, name, "unknown; see docs/user-guide.md, Bridges");
        }
        int r = parse_member(config, key, text_at(value, i), error);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int parse_protocol(const struct text_value *value, struct bridge_config *config,
                          GError **error)
{
    const char *text = text_string(value, "5");

    if (strcmp(text, "5") != 0 && strcmp(text, "3.1.1") != 0) {
        return fail(error, "protocol", "must be \"5\" or \"3.1.1\"");
    }
    config->version = strcmp(text, "5") == 0 ? PACKET_MQTT_5 : PACKET_MQTT_3_1_1;
    return 0;
}

static bool is_name(const char *name)
{
    return name && name[0] &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
               strlen(name);
}

static int parse_bridge(const struct text_value *value, struct bridge_config *config,
                        GError **error)
{
    config->keep_alive_s = 60;
    config->notifications = true;
    if (text_kind(value) != TEXT_OBJECT) {
        return fail(error, "bridge", "must be an object");
    }
    if (parse_members(value, config, error) < 0 ||
        parse_protocol(text_get(value, "protocol"), config, error) < 0) {
        return -EINVAL;
    }
    if (!is_name(config->name)) {
        return fail(error, "name", "must be there, of letters, digits, '-', '_' and '.'");
    }
    if (!config->host || !config->host[0]) {
        return fail(error, "host", "must be there");
    }
    if (config->port == 0) {
        config->port = config->has_tls ? 8883 : 1883;
    }
    if (!config->client_id) {
        config->client_id = g_strdup_printf("%s.%s", g_get_host_name(), config->name);
    }
    return parse_topics(text_get(value, "topics"), config, error);
}

static bool has_name(const GPtrArray *configs, const char *name)
{
    for (unsigned i = 0; i + 1 < configs->len; i++) {
        if (strcmp(((struct bridge_config *)configs->pdata[i])->name, name) == 0) {
            return true;
        }
    }
    return false;
}

GPtrArray *bridge_config_parse(const char *text, GError **error)
{
    GPtrArray *configs = g_ptr_array_new_with_free_func(config_free);

    if (!text || text[0] == '\0') {
        return configs;
    }
    struct text_value *list = text_parse_json(text, strlen(text), error);
    bool is_right = list != NULL;
    if (is_right && (text_kind(list) != TEXT_LIST || text_count(list) > BRIDGES_MAX)) {
        is_right = fail(error, "bridges", "must be a list of at most 16 objects") == 0;
    }
    for (size_t i = 0; is_right && i < text_count(list); i++) {
        struct bridge_config *config = g_new0(struct bridge_config, 1);
        config->topics = g_ptr_array_new_with_free_func(topic_free);
        g_ptr_array_add(configs, config);
        is_right = parse_bridge(text_at(list, i), config, error) == 0;
        if (is_right && has_name(configs, config->name)) {
            is_right = fail(error, "name", "another bridge has it") == 0;
        }
        if (!is_right) {
            g_prefix_error(error, "bridge '%s': ", config->name ? config->name : "?");
        }
    }
    text_free(list);
    if (!is_right) {
        g_ptr_array_unref(configs);
        return NULL;
    }
    return configs;
}

/* ---- comparing ---- */

static bool topics_equal(const struct bridge_topic *a, const struct bridge_topic *b)
{
    return a->direction == b->direction && a->qos == b->qos &&
           strcmp(a->local_filter, b->local_filter) == 0 &&
           strcmp(a->remote_filter, b->remote_filter) == 0 &&
           strcmp(a->local_prefix, b->local_prefix) == 0 &&
           strcmp(a->remote_prefix, b->remote_prefix) == 0;
}

bool bridge_config_equal(const struct bridge_config *a, const struct bridge_config *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bridge_keys); i++) {
        if (bridge_keys[i].kind == KEY_STRING &&
            g_strcmp0(*(char *const *)(const void *)((const char *)a + bridge_keys[i].offset),
                      *(char *const *)(const void *)((const char *)b + bridge_keys[i].offset)) !=
                0) {
            return false;
        }
    }
    if (a->port != b->port || a->keep_alive_s != b->keep_alive_s || a->version != b->version ||
        a->clean_start != b->clean_start || a->has_tls != b->has_tls ||
        a->insecure != b->insecure || a->notifications != b->notifications ||
        a->topics->len != b->topics->len) {
        return false;
    }
    for (unsigned i = 0; i < a->topics->len; i++) {
        if (!topics_equal(a->topics->pdata[i], b->topics->pdata[i])) {
            return false;
        }
    }
    return true;
}

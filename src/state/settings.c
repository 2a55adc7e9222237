/* The table of all settings, and typed reading and writing of them. Happy path: settings_init puts
 * every default in place, settings_set checks one text against its row and stores it. Failures name
 * the setting, what is allowed and what was given. */
#include "state/settings.h"
#include <errno.h>
#include <string.h>

#define AT(member) offsetof(struct settings, member)
#define NUMBER(name, member, standard, low, high, of, text, limit)                                 \
    {                                                                                              \
        .key = name, .kind = SETTING_INTEGER, .default_value = standard, .least = low,             \
        .most = high, .unit = of, .meaning = text, .at_limit = limit, .offset = AT(member)         \
    }
#define SWITCH(name, member, standard, text)                                                       \
    {                                                                                              \
        .key = name, .kind = SETTING_BOOLEAN, .default_value = standard, .unit = "",               \
        .meaning = text, .offset = AT(member)                                                      \
    }
#define CHOICE(name, member, standard, list, text, limit)                                          \
    {                                                                                              \
        .key = name, .kind = SETTING_CHOICE, .default_value = standard, .choices = list,           \
        .unit = "", .meaning = text, .at_limit = limit, .offset = AT(member)                       \
    }
#define TEXT(name, member, standard, high, text)                                                   \
    {                                                                                              \
        .key = name, .kind = SETTING_TEXT, .default_value = standard, .most = high,                \
        .unit = "bytes", .meaning = text, .offset = AT(member)                                     \
    }

/* In the order of their keys, so that listings need no sorting. */
static const struct setting settings[] = {
    NUMBER(
        "cluster.election_timeout_ms", election_timeout_ms, "300", 100, 30000, "ms",
        "Silence of the leader after which the other nodes elect; `doctor` proposes one from the "
        "measured round trips.",
        "The other nodes elect a leader."),
    NUMBER("cluster.node_down_after_ms", node_down_after_ms, "2000", 500, 3600000, "ms",
           "Silence of a node after which it counts as dead: the wills of its clients go out.",
           "Its clients count as gone, until they come back."),
    NUMBER("cluster.write_wait_ms", write_wait_ms, "10000", 100, 600000, "ms",
           "How long a change waits for a majority of the nodes.",
           "It is answered with 0x97 (quota exceeded) on MQTT, 503 `no_quorum` on HTTP; it may "
           "still be done later."),
    CHOICE("mqtt.anonymous", anonymous, "loopback", "off|loopback|on",
           "Who may connect without a user name: nobody, clients on this machine, everybody.",
           NULL),
    TEXT("mqtt.bridges", bridges, "[]", 65536, "Bridges to other brokers, a list in JSON."),
    SWITCH(
        "mqtt.certificate_as_username", certificate_as_username, "false",
        "The common name of a verified client certificate is the user name, no password is asked."),
    NUMBER("mqtt.client_id_bytes_max", client_id_bytes_max, "1024", 23, 65535, "bytes",
           "Longest client id.", "CONNECT is refused with 0x85 (client identifier not valid)."),
    NUMBER("mqtt.connect_timeout_s", connect_timeout_s, "10", 1, 3600, "s",
           "Time that a new connection has for its whole CONNECT.", "The connection is closed."),
    NUMBER("mqtt.connections_max", connections_max, "10000", 1, 1000000, "connections",
           "Connections of this node in all; fewer where the node has not as many descriptors.",
           "New ones are refused with 0x89 (server busy) or closed."),
    NUMBER("mqtt.connections_per_address_max", connections_per_address_max, "1000", 1, 1000000,
           "connections", "Connections from one address; loopback and Unix sockets do not count.",
           "New ones from there are refused with 0x97 (quota exceeded) or closed."),
    NUMBER(
        "mqtt.in_flight_max", in_flight_max, "256", 1, 65000, "messages",
        "QoS 1 and 2 messages on their way to one client, if its receive maximum allows as many.",
        "Further messages wait in the queue."),
    NUMBER("mqtt.keep_alive_s_max", keep_alive_s_max, "65535", 1, 65535, "s",
           "Longest keep alive; 65535 leaves the client its choice, 0 included.",
           "The client is told a shorter one (server keep alive)."),
    NUMBER("mqtt.live_queue_bytes_max", live_queue_bytes_max, "16777216", 65536, 1073741824,
           "bytes",
           "What may wait for one connected client whose session ends with its connection.",
           "QoS 0 messages are dropped and counted; for QoS 1 and 2 the publishers are held."),
    NUMBER(
        "mqtt.live_queue_messages_max", live_queue_messages_max, "10000", 1, 65000, "messages",
        "Messages that may wait for one connected client whose session ends with its connection.",
        "QoS 0 messages are dropped and counted; for QoS 1 and 2 the publishers are held."),
    NUMBER("mqtt.login_delay_ms_max", login_delay_ms_max, "5000", 0, 600000, "ms",
           "Longest delay of an answer after failed logins from one address.",
           "The delay grows no further."),
    NUMBER("mqtt.max_packet_bytes", max_packet_bytes, "1048576", 128, 1572864, "bytes",
           "Largest packet that is taken from a client.",
           "The client is disconnected with 0x95 (packet too large)."),
    SWITCH("mqtt.proxy_protocol", proxy_protocol, "false",
           "The TCP listeners expect a PROXY protocol v2 header that names the client's address "
           "(from the next start on)."),
    NUMBER("mqtt.queue_bytes_max", queue_bytes_max, "8388608", 1024, 1073741824, "bytes",
           "What may wait for one persistent session.", "See mqtt.queue_full."),
    CHOICE(
        "mqtt.queue_full", queue_full, "drop_oldest", "drop_oldest|refuse",
        "What happens when the queue of a persistent session is full.",
        "drop_oldest: the oldest message is dropped and counted; refuse: the publish gets 0x97."),
    NUMBER("mqtt.queue_messages_max", queue_messages_max, "10000", 1, 65000, "messages",
           "Messages that may wait for one persistent session.", "See mqtt.queue_full."),
    NUMBER("mqtt.receive_maximum", receive_maximum, "1000", 1, 65535, "messages",
           "QoS 1 and 2 messages of one client that may be unanswered (receive maximum).",
           "The client is disconnected with 0x93 (receive maximum exceeded)."),
    TEXT("mqtt.response_information", response_information, "", 1024,
         "Response information for clients that ask for it; empty = none."),
    NUMBER("mqtt.retained_bytes_max", retained_bytes_max, "33554432", 0, 1073741824, "bytes",
           "All retained messages together.",
           "A publish that needs more is refused with 0x97 (quota exceeded)."),
    NUMBER("mqtt.retained_messages_max", retained_messages_max, "200000", 0, 10000000, "messages",
           "Number of retained messages.",
           "A publish to a further topic is refused with 0x97 (quota exceeded)."),
    NUMBER("mqtt.retained_payload_bytes_max", retained_payload_bytes_max, "1048576", 0, 1048576,
           "bytes", "Largest payload of a retained message.",
           "The publish is refused with 0x97 (quota exceeded)."),
    NUMBER("mqtt.session_expiry_s_max", session_expiry_s_max, "2592000", 0, UINT32_MAX, "s",
           "How long a session is kept without its client; 4294967295 = for ever.",
           "The client is told the shorter time."),
    NUMBER("mqtt.sessions_max", sessions_max, "50000", 0, 1000000, "sessions",
           "Number of persistent sessions.",
           "CONNECT that needs a new one is refused with 0x97 (quota exceeded)."),
    NUMBER("mqtt.slow_subscriber_ms", slow_subscriber_ms, "5000", 100, 600000, "ms",
           "How long the publishers of a live subscriber that does not keep up are held.",
           "The slow subscriber is disconnected with 0x97 (quota exceeded)."),
    NUMBER("mqtt.subscriptions_per_session_max", subscriptions_per_session_max, "10000", 1, 1000000,
           "subscriptions", "Subscriptions of one session.",
           "A further one is refused with 0x97 (quota exceeded)."),
    NUMBER("mqtt.sys_interval_s", sys_interval_s, "10", 0, 86400, "s",
           "How often $SYS topics are published while somebody reads them; 0 = never.", NULL),
    NUMBER("mqtt.topic_alias_max", topic_alias_max, "64", 0, 65535, "aliases",
           "Topic aliases of one connection, each way.",
           "A client that uses a higher one is disconnected with 0x94 (topic alias invalid)."),
    NUMBER("mqtt.topic_levels_max", topic_levels_max, "128", 1, 32768, "levels",
           "Levels of a topic name or filter.",
           "A publish gets 0x90 (topic name invalid), a subscription 0x8f (topic filter invalid)."),
    NUMBER("mqtt.user_properties_max", user_properties_max, "64", 0, 10000, "properties",
           "User properties of one message.", "The publish is refused with 0x97 (quota exceeded)."),
    NUMBER("mqtt.will_bytes_max", will_bytes_max, "65536", 0, 1048576, "bytes",
           "Topic, properties and payload of a will together.",
           "CONNECT is refused with 0x97 (quota exceeded)."),
    {.key = "state.bytes_max",
     .kind = SETTING_INTEGER,
     .default_value = "67108864",
     .least = 1048576,
     .most = 1073741824,
     .unit = "bytes",
     .width = sizeof(uint64_t),
     .offset = AT(state_bytes_max),
     .meaning = "The whole replicated state in memory: sessions, queues, retained messages, wills, "
                "users, rules.",
     .at_limit =
         "Publishes that would be stored, new sessions, subscriptions and wills are refused "
         "with 0x97 (quota exceeded), users and rules with a message."},
};

const struct setting *settings_table(uint32_t *count)
{
    *count = G_N_ELEMENTS(settings);
    return settings;
}

const struct setting *settings_find(const char *key)
{
    for (uint32_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        if (strcmp(settings[i].key, key) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

static void *value_at(const struct settings *values, const struct setting *setting)
{
    return (char *)values + setting->offset;
}

static int refuse(GError **error, const struct setting *setting, const char *allowed,
                  const char *value)
{
    g_autofree char *given = g_utf8_make_valid(value, (gssize)strnlen(value, 64));
    g_set_error(error, STATE_ERROR, EINVAL, "setting '%s': must be %s, got %s", setting->key,
                allowed, given);
    return -EINVAL;
}

static int set_integer(struct settings *values, const struct setting *setting, const char *value,
                       GError **error)
{
    uint64_t number = 0;
    if (!g_ascii_string_to_unsigned(value, 10, setting->least, setting->most, &number, NULL)) {
        g_autofree char *allowed = g_strdup_printf("%" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT,
                                                   setting->least, setting->most);
        return refuse(error, setting, allowed, value);
    }
    if (setting->width == sizeof(uint64_t)) {
        *(uint64_t *)value_at(values, setting) = number;
    } else {
        *(uint32_t *)value_at(values, setting) = (uint32_t)number;
    }
    return 0;
}

static int set_boolean(struct settings *values, const struct setting *setting, const char *value,
                       GError **error)
{
    bool on = strcmp(value, "true") == 0 || strcmp(value, "on") == 0;
    if (!on && strcmp(value, "false") != 0 && strcmp(value, "off") != 0) {
        return refuse(error, setting, "true or false", value);
    }
    *(bool *)value_at(values, setting) = on;
    return 0;
}

static int set_choice(struct settings *values, const struct setting *setting, const char *value,
                      GError **error)
{
    g_auto(GStrv) choices = g_strsplit(setting->choices, "|", -1);
    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(choices[i], value) == 0) {
            *(uint32_t *)value_at(values, setting) = i;
            return 0;
        }
    }
    g_autofree char *allowed = g_strdup_printf("one of %s", setting->choices);
    return refuse(error, setting, allowed, value);
}

static int set_text(struct settings *values, const struct setting *setting, const char *value,
                    GError **error)
{
    size_t length = strlen(value);
    if (length > setting->most || !g_utf8_validate(value, (gssize)length, NULL)) {
        g_autofree char *allowed =
            g_strdup_printf("UTF-8 of at most %" G_GUINT64_FORMAT " bytes", setting->most);
        g_autofree char *given = g_strdup_printf("%zu bytes", length);
        return refuse(error, setting, allowed, given);
    }
    char **text = value_at(values, setting);
    g_free(*text);
    *text = g_strdup(value);
    return 0;
}

int settings_set(struct settings *values, const char *key, const char *value, GError **error)
{
    const struct setting *setting = settings_find(key);
    if (!setting) {
        g_autofree char *given = g_utf8_make_valid(key, (gssize)strnlen(key, 64));
        g_set_error(error, STATE_ERROR, ENOENT,
                    "setting '%s': there is none of this name; `setting get` lists them", given);
        return -ENOENT;
    }
    switch (setting->kind) {
    case SETTING_INTEGER:
        return set_integer(values, setting, value, error);
    case SETTING_BOOLEAN:
        return set_boolean(values, setting, value, error);
    case SETTING_CHOICE:
        return set_choice(values, setting, value, error);
    case SETTING_TEXT:
        return set_text(values, setting, value, error);
    }
    g_assert_not_reached();
}

void settings_init(struct settings *values)
{
    memset(values, 0, sizeof *values);
    for (uint32_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        g_assert(settings_set(values, settings[i].key, settings[i].default_value, NULL) == 0);
    }
}

void settings_deinit(struct settings *values)
{
    for (uint32_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        if (settings[i].kind == SETTING_TEXT) {
            char **text = value_at(values, &settings[i]);
            g_clear_pointer(text, g_free);
        }
    }
}

char *settings_get(const struct settings *values, const struct setting *setting)
{
    const void *value = value_at(values, setting);
    switch (setting->kind) {
    case SETTING_INTEGER: {
        uint64_t number = setting->width == sizeof(uint64_t) ? *(const uint64_t *)value
                                                             : *(const uint32_t *)value;
        return g_strdup_printf("%" G_GUINT64_FORMAT, number);
    }
    case SETTING_BOOLEAN:
        return g_strdup(*(const bool *)value ? "true" : "false");
    case SETTING_CHOICE: {
        g_auto(GStrv) choices = g_strsplit(setting->choices, "|", -1);
        return g_strdup(choices[*(const uint32_t *)value]);
    }
    case SETTING_TEXT:
        return g_strdup(*(char *const *)value);
    }
    g_assert_not_reached();
}

static void append_allowed(GString *text, const struct setting *setting)
{
    switch (setting->kind) {
    case SETTING_INTEGER:
        g_string_append_printf(text, "%" G_GUINT64_FORMAT "–%" G_GUINT64_FORMAT, setting->least,
                               setting->most);
        return;
    case SETTING_BOOLEAN:
        g_string_append(text, "`true`, `false`");
        return;
    case SETTING_CHOICE: {
        g_auto(GStrv) choices = g_strsplit(setting->choices, "|", -1);
        for (uint32_t i = 0; choices[i]; i++) {
            g_string_append_printf(text, "%s`%s`", i ? ", " : "", choices[i]);
        }
        return;
    }
    case SETTING_TEXT:
        g_string_append_printf(text, "text, at most %" G_GUINT64_FORMAT " bytes", setting->most);
        return;
    }
}

char *settings_to_markdown(void)
{
    GString *text = g_string_new("| setting | default | allowed | unit | meaning | at the limit |\n"
                                 "| --- | --- | --- | --- | --- | --- |\n");
    for (uint32_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        const struct setting *setting = &settings[i];
        bool is_text = setting->kind == SETTING_TEXT;
        g_string_append_printf(text, "| `%s` | `%s` | ", setting->key,
                               *setting->default_value ? setting->default_value : " ");
        append_allowed(text, setting);
        g_string_append_printf(text, " | %s | %s | %s |\n", is_text ? "" : setting->unit,
                               setting->meaning, setting->at_limit ? setting->at_limit : "");
    }
    return g_string_free(text, FALSE);
}

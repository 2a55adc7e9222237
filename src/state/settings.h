/* The settings of the whole cluster, typed and with bounds: one table in settings.c says name,
 * kind, default, range and meaning of each; `setting get`, docs/limits.md and the API are made from
 * it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Domain of every GError of this folder; the code is a positive errno. */
#define STATE_ERROR (g_quark_from_static_string("microcloud-state"))

enum anonymous_mode { ANONYMOUS_OFF, ANONYMOUS_LOOPBACK, ANONYMOUS_ON };
enum queue_full_mode { QUEUE_DROP_OLDEST, QUEUE_REFUSE };

struct settings {
    /* mqtt.* */
    uint32_t anonymous;  /* enum anonymous_mode: mqtt.anonymous, loopback */
    uint32_t queue_full; /* enum queue_full_mode: mqtt.queue_full, drop_oldest */
    uint32_t max_packet_bytes, connections_max, connections_per_address_max, connect_timeout_s,
        keep_alive_s_max, topic_levels_max, subscriptions_per_session_max, sessions_max,
        session_expiry_s_max, queue_messages_max, queue_bytes_max, in_flight_max, receive_maximum,
        topic_alias_max, retained_messages_max, retained_bytes_max, slow_subscriber_ms,
        live_queue_messages_max, live_queue_bytes_max, user_properties_max, client_id_bytes_max,
        sys_interval_s, login_delay_ms_max, retained_payload_bytes_max, will_bytes_max;
    bool certificate_as_username, proxy_protocol;
    /* cluster.* */
    uint32_t election_timeout_ms, node_down_after_ms, write_wait_ms;
    uint64_t state_bytes_max;
    const char *response_information; /* mqtt.response_information; "" = none */
    const char *bridges;              /* mqtt.bridges: JSON list, see bridge/ */
};

enum setting_kind { SETTING_INTEGER, SETTING_BOOLEAN, SETTING_CHOICE, SETTING_TEXT };

struct setting {
    const char *key;
    enum setting_kind kind;
    const char *default_value;
    uint64_t least, most; /* integers; text: bytes */
    const char *choices;  /* "off|loopback|on" */
    const char *unit;     /* "bytes", "s", "ms", "messages" or "" */
    const char *meaning;  /* one sentence */
    const char *at_limit; /* what happens there; NULL when it is no limit */
    size_t offset;        /* in struct settings */
    uint8_t width;        /* integers: 8 when the member is a uint64_t, else it is a uint32_t */
    uint32_t level;       /* from which on programs know it (cluster_tables.h); 0 = all do */
};

/* In order of keys. */
const struct setting *settings_table(uint32_t *count);
const struct setting *settings_find(const char *key);
void settings_init(struct settings *values); /* defaults */
void settings_deinit(struct settings *values);
/* `setting 'mqtt.max_packet_bytes': must be 128..1572864, got 12`. Outputs stay untouched on
 * failure. */
int settings_set(struct settings *values, const char *key, const char *value, GError **error);
/* As settings_set takes it. Caller frees. */
char *settings_get(const struct settings *values, const struct setting *setting);
/* The table of docs/limits.md: every setting with its default, range, meaning and what happens at
 * the limit. Caller frees. */
char *settings_to_markdown(void);

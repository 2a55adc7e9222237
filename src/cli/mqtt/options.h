/* The options that `pub` and `sub` share: whom to connect to and as whom. The names are those of
 * mosquitto_pub and mosquitto_sub. */
#pragma once

#include "base/bytes.h"
#include "cli/option.h"
#include "packet/property.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct tls_context;

/* The first member of the values of a command with .speaks_mqtt. */
struct mqtt_values {
    const char *host, *username, *password, *id, *id_prefix, *version_text, *url, *unix_path,
        *bind_address, *expiry_text;
    const char *will_topic, *will_payload;
    const char *ca_file, *ca_path, *cert, *key, *tls_version, *key_form;
    const char *tls_alpn, *tls_engine, *psk, *psk_identity, *proxy,
        *ciphers; /* known, and refused by name */
    GPtrArray *topics, *properties;
    gint64 port, keep_alive_s, qos, will_qos;
    bool persistent, debug, quiet, insecure, tls_os_certs, will_retain, nodelay, srv;
};

#define MQTT_VALUES_DEFAULTS .host = NULL, .keep_alive_s = 60

extern const struct cli_option mqtt_options[];

/* What the values come to. Strings are owned. */
struct mqtt_target {
    char *host; /* or "unix:PATH" */
    char *username, *password, *client_id;
    char *url_topic; /* the path of -L; NULL without */
    uint16_t port;
    uint8_t version; /* 3, 4, 5 */
    bool use_tls;
    uint32_t expiry_s;
    struct tls_context *tls;
    struct properties_builder connect, publish, subscribe, unsubscribe, disconnect, will;
    uint32_t subscription_id; /* of -D subscribe; 0 = none */
    uint32_t message_expiry_s;
    bool has_message_expiry;
};

/* Messages name the option. `name` ("pub") begins a client id that was not given. */
int mqtt_target_init(struct mqtt_target *target, const struct mqtt_values *values, const char *name,
                     GError **error);
void mqtt_target_deinit(struct mqtt_target *target);

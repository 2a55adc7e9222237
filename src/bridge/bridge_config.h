/* What a bridge is told: read from JSON and checked. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum bridge_direction { BRIDGE_OUT = 1, BRIDGE_IN = 2, BRIDGE_BOTH = 3 };

struct bridge_topic {
    char *local_filter, *remote_filter; /* prefix and pattern joined */
    char *local_prefix, *remote_prefix;
    uint8_t direction; /* enum bridge_direction */
    uint8_t qos;
};

struct bridge_config {
    char *name, *host, *client_id, *username, *password;
    char *ca_file, *certificate_file, *key_file;
    GPtrArray *topics; /* of struct bridge_topic, owned */
    uint16_t port, keep_alive_s;
    uint8_t version; /* 4 or 5 */
    bool clean_start, has_tls, insecure, notifications;
};

#define BRIDGES_MAX       16
#define BRIDGE_TOPICS_MAX 64

/* A list of struct bridge_config; NULL and `error` when anything is wrong. */
GPtrArray *bridge_config_parse(const char *text, GError **error);
bool bridge_config_equal(const struct bridge_config *a, const struct bridge_config *b);
void bridge_config_free(struct bridge_config *config);

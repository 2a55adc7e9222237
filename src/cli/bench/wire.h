/* The few MQTT packets that the load generator sends, built once and copied. It has an encoder of
 * its own, so that a fault or a slow place of the project's codec can neither hide nor count as one
 * of the broker. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct wire_login {
    const char *client_id;
    const char *username; /* NULL for none */
    const char *password;
    uint8_t version;   /* 4 or 5 */
    bool clean;        /* else the session outlives the connection */
    uint32_t expiry_s; /* of a session that does; version 5 */
};

void wire_connect(const struct wire_login *login, GByteArray *to);
/* Begins a SUBSCRIBE; `wire_end` writes its length. */
void wire_subscribe_begin(uint8_t version, uint16_t packet_id, GByteArray *to);
void wire_subscribe_add(const char *filter, uint8_t qos, GByteArray *to);
void wire_end(GByteArray *to);

/* A PUBLISH whose places for packet id and payload are known, for stamping. */
struct wire_publish {
    uint8_t *bytes;                     /* owned */
    uint32_t length, id_at, payload_at; /* id_at is 0 for QoS 0 */
};

void wire_publish_init(struct wire_publish *publish, uint8_t version, const char *topic,
                       uint8_t qos, bool retain, uint32_t payload_bytes);
void wire_publish_deinit(struct wire_publish *publish);

/* Reads a remaining length. Returns the bytes it took, 0 when there are too few, -1 when it is
 * malformed. */
static inline int wire_length(const uint8_t *at, size_t there, uint32_t *length)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (i == there) {
            return 0;
        }
        value |= (uint32_t)(at[i] & 0x7f) << (7 * i);
        if (!(at[i] & 0x80)) {
            *length = value;
            return (int)i + 1;
        }
    }
    return -1;
}

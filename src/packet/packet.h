/* MQTT packets of 3.1 (MQIsdp), 3.1.1 and 5.0: frames, decoded views, encoders. Pure: no sockets,
 * no clock, no session. Everything decoded is a view into the frame's bytes and lives as long as
 * those. Malformed input never reaches the caller as anything but a reason code. */
#pragma once

#include "base/bytes.h"
#include "packet/property.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum packet_type {
    PACKET_CONNECT = 1,
    PACKET_CONNACK,
    PACKET_PUBLISH,
    PACKET_PUBACK,
    PACKET_PUBREC,
    PACKET_PUBREL,
    PACKET_PUBCOMP,
    PACKET_SUBSCRIBE,
    PACKET_SUBACK,
    PACKET_UNSUBSCRIBE,
    PACKET_UNSUBACK,
    PACKET_PINGREQ,
    PACKET_PINGRESP,
    PACKET_DISCONNECT,
    PACKET_AUTH,
};

enum packet_version { PACKET_MQTT_3_1 = 3, PACKET_MQTT_3_1_1 = 4, PACKET_MQTT_5 = 5 };

/* One packet as it stands in the input: type and flags of the first byte, and the remaining bytes.
 */
struct packet_frame {
    uint8_t type;
    uint8_t flags;
    struct bytes body;
    uint32_t total_bytes; /* header included */
};

/* Finds the next frame. Returns 1 with `frame` filled, 0 when more bytes are needed
 * (`frame->total_bytes` is the size when it is already known, else 0), or a negative reason code:
 * -REASON_MALFORMED_PACKET, -REASON_PACKET_TOO_LARGE. */
int packet_frame_find(struct bytes input, uint32_t packet_bytes_max, struct packet_frame *frame);

struct packet_will {
    struct bytes topic, payload;
    uint8_t qos;
    bool retain;
    struct properties properties; /* version 5: will delay, expiry, ... */
};

struct packet_connect {
    uint8_t version; /* enum packet_version */
    bool clean_start, has_will, has_username, has_password;
    uint16_t keep_alive_s;
    struct bytes client_id, username, password;
    struct packet_will will;
    struct properties properties;
};

struct packet_connack {
    bool session_present;
    uint8_t reason;
    struct properties properties;
};

struct packet_publish {
    struct bytes topic, payload; /* topic may be empty with a topic alias */
    uint16_t packet_id;          /* 0 for QoS 0 */
    uint8_t qos;
    bool retain, dup;
    struct properties properties;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP */
struct packet_ack {
    uint16_t packet_id;
    uint8_t reason;
    struct properties properties;
};

struct packet_subscription {
    struct bytes filter;
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling;
};

/* The filters are read one after another with packet_subscribe_next / packet_unsubscribe_next; the
 * count was checked. */
struct packet_subscribe {
    uint16_t packet_id;
    struct properties properties;
    struct bytes rest;
    unsigned count;
};
/* SUBACK, UNSUBACK */
struct packet_suback {
    uint16_t packet_id;
    struct properties properties;
    struct bytes reasons;
};

struct packet_disconnect {
    uint8_t reason;
    struct properties properties;
};
struct packet_auth {
    uint8_t reason;
    struct properties properties;
};

/* Decoders for both directions (the command line is a client). Each returns 0 or a reason code
 * (positive: REASON_...), checks flags, lengths, UTF-8, duplicates, permitted properties and
 * permitted reason codes; `version` is the connection's. Which side may send a packet or property
 * (a subscription id in a client's PUBLISH, say) is for the caller to check. On failure `out` is
 * not to be used. Where the properties of PUBLISH and of the acknowledgements are empty, only `has`
 * and `raw` of them are set. */
/* `out->version` is set as soon as it was read, even on failure: 0, or what the packet said. */
int packet_connect_decode(const struct packet_frame *frame, struct packet_connect *out);
/* A return code of 3.1.1 becomes the like reason code. */
int packet_connack_decode(const struct packet_frame *frame, uint8_t version,
                          struct packet_connack *out);
/* Unchecked topics of the whole PUBLISHes `input` begins with, at most `*count`; returns bytes. */
size_t packet_publish_topics(struct bytes input, struct bytes *topics, unsigned *count);
int packet_publish_decode(const struct packet_frame *frame, uint8_t version,
                          struct packet_publish *out);
int packet_ack_decode(const struct packet_frame *frame, uint8_t version, struct packet_ack *out);
int packet_subscribe_decode(const struct packet_frame *frame, uint8_t version,
                            struct packet_subscribe *out);
bool packet_subscribe_next(struct packet_subscribe *subscribe, uint8_t version,
                           struct packet_subscription *out);
int packet_suback_decode(const struct packet_frame *frame, uint8_t version,
                         struct packet_suback *out);
int packet_unsubscribe_decode(const struct packet_frame *frame, uint8_t version,
                              struct packet_subscribe *out);
bool packet_unsubscribe_next(struct packet_subscribe *unsubscribe, struct bytes *filter);
int packet_disconnect_decode(const struct packet_frame *frame, uint8_t version,
                             struct packet_disconnect *out);
int packet_auth_decode(const struct packet_frame *frame, struct packet_auth *out);

/* The topic filter and topic name checks (wildcards, '$share') are topic/name.h's; the codec checks
 * UTF-8 and emptiness only. */

/* Encoders write to memory of the size that the matching _size function told. PUBLISH is split,
 * because one message goes to many: packet_publish_size/encode write header, topic, packet id,
 * properties block; the payload is appended by encode only when `with_payload`. `properties`
 * (PROPERTIES_FORWARDED, raw) and the per-subscriber ones are joined. */
struct packet_publish_head {
    struct bytes topic; /* empty when an alias stands for it */
    struct bytes
        forwarded; /* raw encoded properties that are passed on unchanged; version 5 only */
    const uint32_t *subscription_ids; /* version 5 */
    uint32_t subscription_id_count;
    uint32_t expiry_s; /* message expiry interval left */
    uint32_t payload_bytes;
    uint16_t packet_id;
    uint16_t topic_alias; /* 0 = none */
    uint8_t version, qos;
    bool retain, dup, has_expiry;
};
/* Bytes of the whole packet, payload included. */
uint32_t packet_publish_size(const struct packet_publish_head *head);
/* Writes everything before the payload; returns the bytes written (= size - payload_bytes). */
uint32_t packet_publish_encode(const struct packet_publish_head *head, uint8_t *to);

/* Small packets: `to` has room for PACKET_SMALL_BYTES_MAX. PUBACK.. with reason 0 are four bytes.
 * Return bytes written. */
#define PACKET_SMALL_BYTES_MAX 8
uint32_t packet_ack_encode(uint8_t type, uint16_t packet_id, uint8_t reason, uint8_t version,
                           uint8_t *to);
uint32_t packet_pingreq_encode(uint8_t *to);
uint32_t packet_pingresp_encode(uint8_t *to);

/* Rare packets are appended to a GByteArray (glib.h). Properties come from a builder (property.h);
 * NULL for none. */

/* The properties are those of `raw`, in the packet's and in the will's. */
void packet_connect_encode(const struct packet_connect *connect, GByteArray *to);
void packet_connack_encode(const struct packet_connack *connack, uint8_t version,
                           const struct properties_builder *properties, GByteArray *to);
void packet_ack_encode_full(uint8_t type, const struct packet_ack *ack,
                            const struct properties_builder *properties, GByteArray *to);
void packet_subscribe_encode(uint16_t packet_id, const struct packet_subscription *subscriptions,
                             unsigned count, uint8_t version,
                             const struct properties_builder *properties, GByteArray *to);
void packet_unsubscribe_encode(uint16_t packet_id, const struct bytes *filters, unsigned count,
                               uint8_t version, GByteArray *to);
void packet_suback_encode(uint8_t type, const struct packet_suback *suback, uint8_t version,
                          const struct properties_builder *properties, GByteArray *to);
void packet_disconnect_encode(uint8_t reason, uint8_t version,
                              const struct properties_builder *properties, GByteArray *to);
void packet_auth_encode(uint8_t reason, const struct properties_builder *properties,
                        GByteArray *to);

const char *packet_type_to_string(uint8_t type);
/* One line for people: `PUBLISH q1 r0 d0 m17 'sensors/a' (12 bytes)`; caller frees. For `trace` and
 * `sub -d`. */
char *packet_frame_describe(const struct packet_frame *frame, uint8_t version);

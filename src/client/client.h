/* An MQTT client on a stream: CONNECT, subscriptions, publishing and receiving with QoS 0 to 2,
 * keep alive; 3.1.1 and 5.0. For bridges and for the command line. It does not reconnect: its owner
 * makes a new one on a new stream, knowing what it wants to keep. */
#pragma once

#include "packet/packet.h"
#include <stdbool.h>
#include <stdint.h>

struct client;
struct loop;
struct stream;

struct client_options {
    struct packet_connect
        connect; /* views live until client_new returns; version, id, will, properties ... */
    const struct properties_builder *connect_properties; /* MQTT 5; NULL for none */
    const struct properties_builder *will_properties;
    /* MQTT 5, of every SUBSCRIBE and of the DISCONNECT: borrowed until client_free; NULL for none
     */
    const struct properties_builder *subscribe_properties, *disconnect_properties;
    uint32_t packet_bytes_max; /* incoming; larger ends the connection */
    /* The packet id before the first one: a session that goes on must not see ids again that it
     * may still hold (QoS 2). 0 for a new session. */
    uint16_t last_packet_id;
    bool manual_ack; /* QoS > 0 is acknowledged by client_acknowledge, not by itself */
};

struct client_events {
    /* CONNACK: reason 0 = in. Else on_end follows. */
    void (*on_connected)(void *owner, const struct packet_connack *connack);
    /* Views live during the call. With manual_ack and QoS > 0 the owner calls client_acknowledge
     * later. QoS 2 comes once. */
    void (*on_message)(void *owner, const struct packet_publish *publish);
    /* A publish with QoS > 0 is through (PUBACK, PUBCOMP, or a refusal as reason >= 0x80). */
    void (*on_published)(void *owner, uint64_t token, uint8_t reason);
    /* SUBACK or UNSUBACK. */
    void (*on_subscribed)(void *owner, uint64_t token, struct bytes reasons);
    /* It is over: `reason` of the server's DISCONNECT or CONNACK, 0 when there was none; `text` for
     * people. Called once, not after client_free. */
    void (*on_end)(void *owner, uint8_t reason, const char *text);
    /* Each packet, for `-d` and traces; may be NULL. */
    void (*on_packet)(void *owner, bool is_sent, const struct packet_frame *frame);
};

/* Takes the stream and sends CONNECT. */
struct client *client_new(struct loop *loop, struct stream *stream,
                          const struct client_options *options, const struct client_events *events,
                          void *owner);
/* Sends DISCONNECT with this reason when it is in, lets output go out for a second, and frees.
 * on_end is not called. */
void client_free(struct client *client, uint8_t disconnect_reason);

struct client_message {
    struct bytes topic, payload;
    struct bytes properties; /* raw, MQTT 5 */
    uint32_t expiry_s;
    uint8_t qos;
    bool retain, has_expiry;
};
/* Returns 0, or -EAGAIN when the server's receive maximum is reached (QoS > 0; on_published tells
 * when there is room again) or there is no CONNACK yet, or -EMSGSIZE when it is larger than the
 * server takes. */
int client_publish(struct client *client, const struct client_message *message, uint64_t token);
void client_subscribe(struct client *client, const struct packet_subscription *subscriptions,
                      unsigned count, uint32_t subscription_id, uint64_t token);
void client_unsubscribe(struct client *client, const struct bytes *filters, unsigned count,
                        uint64_t token);
/* PUBACK or PUBREC for a message of on_message. */
void client_acknowledge(struct client *client, uint8_t qos, uint16_t packet_id, uint8_t reason);
/* Output that the kernel has not taken yet. */
size_t client_pending_bytes(const struct client *client);
uint32_t client_in_flight(const struct client *client);
/* For the next connection of the same session. */
uint16_t client_last_packet_id(const struct client *client);

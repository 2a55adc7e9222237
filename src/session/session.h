/* What outlives a connection (or, in the live store, lasts as long as one): client id, subscriptions, deliveries, the
 * packet ids of QoS 2 publishes received and not yet released. Owned by its store. Pure. */
#pragma once

#include "session/delivery.h"
#include "base/list.h"
#include <stdbool.h>
#include <stdint.h>

struct session_store;
struct filter_entry;
struct share;

#define SESSION_NEVER_EXPIRES UINT32_MAX /* session expiry interval 0xFFFFFFFF (MQTT 5, 3.1.2.11.2) */

struct subscription_options {
    uint32_t subscription_id; /* 0 = none */
    uint8_t qos;              /* maximum, 0..2 */
    bool no_local, retain_as_published;
    uint8_t retain_handling; /* 0..2; kept for inspection */
};

struct subscription {
    struct list session_link;   /* in session.subscriptions */
    struct list filter_link;    /* in filter_entry.subscriptions or share.members */
    struct session *session;    /* borrowed */
    struct filter_entry *entry; /* borrowed: names the filter */
    struct share *share;        /* borrowed; NULL when not shared */
    struct subscription_options options;
};

/* Packet ids of QoS 2 publishes between PUBREC and PUBREL, sorted. */
struct packet_id_set {
    uint16_t *ids;
    uint32_t count, capacity;
};
bool packet_id_set_has(const struct packet_id_set *set, uint16_t id);
/* False when it was there. */
bool packet_id_set_add(struct packet_id_set *set, uint16_t id);
/* False when it was not there. */
bool packet_id_set_remove(struct packet_id_set *set, uint16_t id);

struct session {
    struct session_store *store;
    struct list subscriptions; /* of subscription.session_link, owned, in order of subscribing */
    uint32_t subscription_count;
    struct delivery_ring deliveries;
    struct packet_id_set received;
    char *username;              /* owned; NULL for anonymous */
    uint64_t created_unix_ms;
    uint64_t expires_unix_ms;    /* when disconnected: the end; 0 while connected or for never */
    uint64_t connection_number;  /* of the connection that has it now, as numbered by its node; 0 = none. Replicated. */
    uint64_t dropped_messages;   /* at the queue's limit */
    uint32_t expiry_s;
    uint16_t receive_maximum;    /* of the client */
    uint8_t version;             /* protocol version of the last connection */
    /* Not part of the state: */
    void *connection;   /* the shell's connection that is attached on this node, borrowed; NULL for none */
    uint32_t route_mark; /* scratch of route.c */
    uint32_t route_at;
    uint32_t client_id_bytes;
    char client_id[]; /* NUL-terminated */
};

struct bytes session_client_id(const struct session *session);

/* What outlives a connection (or, in the live store, lasts as long as one): client id,
 * subscriptions, deliveries, the packet ids of QoS 2 publishes received and not yet released. Owned
 * by its store. Pure. */
#pragma once

#include "base/list.h"
#include "session/client_key.h"
#include "session/delivery.h"
#include <stdbool.h>
#include <stdint.h>

struct session_store;
struct share;

#define SESSION_NEVER_EXPIRES                                                                      \
    UINT32_MAX /* session expiry interval 0xFFFFFFFF (MQTT 5, 3.1.2.11.2) */

struct subscription_options {
    uint32_t subscription_id; /* 0 = none */
    uint8_t qos;              /* maximum, 0..2 */
    bool no_local, retain_as_published;
    uint8_t retain_handling; /* 0..2; kept for inspection */
};

/* 48 bytes, because a million of them are wanted: the filter's text is in the store's tree only. */
struct subscription {
    struct list session_link; /* in session.subscriptions */
    struct session *session;  /* borrowed */
    struct share *share;      /* borrowed; NULL when not shared */
    uint32_t node;            /* of the filter in the store's tree */
    uint32_t place;           /* among those of the same filter, or among the members of `share` */
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
    struct client_key key; /* of client_id; first, so that the store finds it */
    struct session_store *store;
    struct list subscriptions; /* of subscription.session_link, owned, in order of subscribing */
    struct delivery_ring deliveries;
    struct packet_id_set received;
    char *username; /* owned (g_free); NULL for anonymous */
    uint64_t created_unix_ms;
    uint64_t expires_unix_ms; /* when disconnected: the end; 0 while connected or for never. Set by
                                 session_set_expires() */
    uint64_t connection_number; /* of the connection that has it now, as numbered by its node; 0 =
                                   none. Replicated. */
    uint64_t last_opening;      /* of the last connection, also when it has ended; 0 = not known.
                                   Replicated. */
    uint32_t dropped_messages;  /* at the queue's limit; stops at the most it can say */
    uint32_t dropped_count;     /* see dropped_first */
    uint32_t subscription_count;
    uint32_t expiry_s;
    uint16_t receive_maximum; /* of the last client; 65535 until it is set */
    uint8_t version;          /* protocol version of the last connection */
    /* Not part of the state: */
    uint32_t route_at;  /* scratch of route.c */
    uint16_t home;      /* node of the last connection, as its number has it; 0 = not known */
    void *connection;   /* the shell's connection that is attached on this node, borrowed; NULL for
                           none */
    uint64_t sent_end;  /* deliveries before it may have been sent (DUP) */
    uint64_t begun_end; /* those before it were sent since this node started: they expire no more */
    uint64_t dropped_first; /* dropped_count deliveries from here on are DONE: spares drop_oldest
                               the walk */
    char client_id[];       /* NUL-terminated */
};

struct bytes session_client_id(const struct session *session);

static inline void session_count_dropped(struct session *session, uint32_t messages)
{
    uint32_t room = UINT32_MAX - session->dropped_messages;
    session->dropped_messages += messages < room ? messages : room;
}

/* The MQTT broker of one node: takes streams, speaks MQTT 3.1, 3.1.1 and 5.0 on them, routes
 * messages between sessions. This is its outside; `wire.c` in node/ joins it to listeners, the API
 * and bridges. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

struct access;
struct broker;
struct state_completion;
struct loop;
struct state;
struct stream;
struct message;

/* How a link does. */
struct broker_link {
    uint64_t heard_ms;      /* loop time of the last bytes that came */
    uint32_t round_trip_us; /* as it usually is; 0 = not known yet */
    uint64_t sent_bytes;    /* UINT64_MAX while not even this box's kernel has all */
    uint64_t arrived_bytes; /* of these: the other box has them, if not its process */
};

/* Links to the brokers of other nodes, as the broker needs them (cluster/ has them). */
struct broker_links {
    /* One frame to a node, copied before it returns. 0; -EAGAIN: the link is full, not taken, until
     * broker_peer_writable; -ENOTCONN. */
    int (*send)(void *owner, uint64_t node_id, struct bytes frame);
    /* Makes a node that runs say something now, however much its broker has to do first. */
    void (*probe)(void *owner, uint64_t node_id);
    void (*look)(void *owner, uint64_t node_id, struct broker_link *link);
    void *owner;
};

/* A topic under $SYS and what it is now; valid during the call. */
typedef void broker_topic_fn(void *owner, const char *topic, const char *value);

struct broker_options {
    struct loop *loop;
    struct state *state;   /* borrowed, outlives the broker */
    struct access *access; /* borrowed */
    uint64_t node_id;
    uint64_t epoch; /* of this start of the node */
    const char *version;
    const struct broker_links *links; /* borrowed; NULL = this node is alone */
    /* Calls `fn` with each topic of `$SYS/cluster/`; NULL = there are none. */
    void (*cluster_topics)(void *owner, broker_topic_fn *fn, void *fn_owner);
    void *cluster_owner;
    uint32_t connections_max; /* that the machine has descriptors for; 0 = as many as it is told */
};

struct broker *broker_new(const struct broker_options *options);
/* Sends DISCONNECT 0x8b to all, publishes no will of those that stay connected to a persistent
 * session, flushes; `fn` when done, at most `linger_ms` later. */
void broker_stop(struct broker *broker, uint64_t linger_ms, void (*fn)(void *owner), void *owner);
void broker_free(struct broker *broker);

/* A new connection; the broker owns the stream from now on. `trusted_name` is set for in-process
 * clients (bridges): no login, role admin. */
void broker_accept(struct broker *broker, struct stream *stream, const char *trusted_name);

/* ---- links to other nodes ---- */
/* A member that this broker has not heard yet may have subscribers of before it began. */
void broker_peer_expect(struct broker *broker, uint64_t node_id);
/* The link to a node is there; it is gone (either may be said twice); the node is no member of the
 * cluster any more. */
void broker_peer_up(struct broker *broker, uint64_t node_id);
void broker_peer_down(struct broker *broker, uint64_t node_id);
void broker_peer_forget(struct broker *broker, uint64_t node_id);
/* Its link is there, but it is silent (a leader that others have replaced): its word is not waited
 * for before it says something. */
void broker_peer_silent(struct broker *broker, uint64_t node_id);
/* A frame came. Negative errno when it is not what a broker of this version says: then the rest of
 * it was not read, and the link should end. */
int broker_peer_frame(struct broker *broker, uint64_t node_id, struct bytes frame);
/* The link has room again. */
void broker_peer_writable(struct broker *broker, uint64_t node_id);

/* ---- for the API ---- */
/* The setting, or less where descriptors are few. */
uint32_t broker_connections_max(const struct broker *broker);

struct broker_counters {
    uint64_t messages_received, messages_sent; /* MQTT packets of all types */
    uint64_t publish_received, publish_sent, publish_dropped;
    uint64_t bytes_received, bytes_sent, publish_bytes_received, publish_bytes_sent;
    uint64_t connections_total, connections_refused, logins_failed, slow_disconnects,
        publishers_held, takeovers, expired_messages, denied_publishes;
    uint32_t clients_connected, clients_total, clients_maximum, connections;
    uint32_t subscriptions, shared_subscriptions, retained_messages;
    uint64_t retained_bytes, queued_messages;
    uint64_t started_ms; /* of clock_now_ms */
};
void broker_counters(const struct broker *broker, struct broker_counters *counters);

/* One session, connected or not, of this node or of the state. Strings are borrowed during the
 * call. */
struct broker_client {
    const char *client_id, *username, *role, *address,
        *transport; /* "tcp" "tls" "unix" "websocket"; NULL when not connected to this node */
    bool is_persistent, has_will;
    uint64_t connection_number; /* 0 = to no node; else it tells to which: its highest 12 bits */
    uint8_t version;            /* 3, 4, 5 */
    uint16_t keep_alive_s, receive_maximum;
    uint32_t expiry_s, subscriptions, queued, in_flight;
    uint64_t queued_bytes, connected_unix_ms, disconnected_expires_unix_ms, received, sent, dropped,
        pending_output_bytes;
};
void broker_for_each_client(struct broker *broker,
                            void (*fn)(void *owner, const struct broker_client *client),
                            void *owner);
/* False when there is none of this id. */
bool broker_find_client(struct broker *broker, struct bytes client_id,
                        void (*fn)(void *owner, const struct broker_client *client), void *owner);
void broker_for_each_subscription(struct broker *broker, struct bytes client_id,
                                  void (*fn)(void *owner, const char *filter, uint8_t qos,
                                             bool no_local, bool retain_as_published,
                                             uint32_t subscription_id),
                                  void *owner);
/* Disconnects with 0x98, on whichever node it is; with `purged` its session ends too. 0 when that
 * is all, 1 when `purged` is still to be called, once the log has it; -ENOENT when there is no such
 * client, -EINPROGRESS when there is none here, but the other nodes were told; -EAGAIN or -ENOSPC
 * of the log. */
int broker_kick(struct broker *broker, struct bytes client_id,
                const struct state_completion *purged);

/* Every packet from and to one client, decoded to a line ("-> PUBLISH q1 ..." as it sees it), until
 * broker_trace_free. Also sees clients that connect later. */
struct broker_trace;
struct broker_trace *broker_trace_new(struct broker *broker, struct bytes client_id,
                                      void (*fn)(void *owner, const char *line), void *owner);
void broker_trace_free(struct broker_trace *trace);

/* Publishes in the name of nobody (API). `fn` gets the MQTT reason code once it is delivered (QoS
 * 0) or committed. Returns 0, -EAGAIN, or -EINVAL for a bad topic. */
struct broker_publication {
    struct bytes topic, payload;
    uint8_t qos;
    bool retain;
    uint32_t expiry_s; /* 0 = never */
};
int broker_publish(struct broker *broker, const struct broker_publication *publication,
                   void (*fn)(void *owner, uint8_t reason), void *owner);

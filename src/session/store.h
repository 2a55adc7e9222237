/* A set of sessions with the tree of their filters. Two instances exist: the replicated one inside
 * `state`, changed only when a command is applied, and the live one inside `mqtt` for sessions that
 * end with their connection. Deterministic: no clock, no randomness, no order of a hash table
 * shows. */
#pragma once

#include "session/session.h"

struct session_limits {
    uint32_t queue_messages_max; /* of one session, at most DELIVERY_RING_MAX */
    uint64_t queue_bytes_max;
    bool queue_refuse; /* mqtt.queue_full: refuse (true) or drop_oldest */
    uint32_t subscriptions_per_session_max;
    uint32_t received_max; /* QoS 2 packet ids held of one publisher */
};

struct session_store *session_store_new(void);
void session_store_free(struct session_store *store);
void session_store_set_limits(struct session_store *store, const struct session_limits *limits);
const struct session_limits *session_store_limits(const struct session_store *store);

struct session *session_store_find(const struct session_store *store, struct bytes client_id);
/* The client id must not be taken. */
struct session *session_store_add(struct session_store *store, struct bytes client_id);
/* Frees it with all it owns. */
void session_store_remove(struct session_store *store, struct session *session);
uint32_t session_store_count(const struct session_store *store);
uint32_t session_store_subscription_count(const struct session_store *store);
/* Those of them that are shared. */
uint32_t session_store_shared_count(const struct session_store *store);
/* Bytes of memory that sessions, subscriptions and queues take (estimate that limits are held
 * against). */
uint64_t session_store_bytes(const struct session_store *store);
/* From now on session_store_message_bytes counts: for the replicated store, of which there is one;
 * while it is empty. */
void session_store_count_once(struct session_store *store);
/* Of the messages in all deliveries, a message in many queues counted once. Follows from what is in
 * the store alone, so it is the same on every node, which memory (session_store_bytes) is not. */
uint64_t session_store_message_bytes(const struct session_store *store);
/* Messages waiting in all deliveries. */
uint64_t session_store_queued(const struct session_store *store);
/* In order of client ids' bytes. `fn` may remove the session that it is given, no other. */
void session_store_for_each(struct session_store *store,
                            void (*fn)(void *owner, struct session *session), void *owner);
/* The earliest expires_unix_ms, 0 when none. O(1) or O(log n). */
uint64_t session_store_next_expiry(const struct session_store *store);
/* Sets when it ends (0 = not) and keeps the order that _next_expiry needs. */
void session_set_expires(struct session *session, uint64_t expires_unix_ms);
/* Calls `fn` with each session that has ended by `now`, earliest first (ties by client id); `fn`
 * removes it. Its expires_unix_ms is 0 by then. */
void session_store_expire(struct session_store *store, uint64_t now_unix_ms,
                          void (*fn)(void *owner, struct session *session), void *owner);

/* ---- its filters, for those who must know where messages are wanted ---- */
/* Plain subscriptions of exactly this filter; of `$share/NAME/FILTER` the members of the group. */
uint32_t session_store_filter_count(const struct session_store *store, struct bytes filter);
/* Every filter that has subscriptions, each share group too. `fn` must not change the store. */
void session_store_for_each_filter(const struct session_store *store,
                                   void (*fn)(void *owner, struct bytes filter, uint32_t count),
                                   void *owner);
/* From now on `fn` is told of each filter that gets its first subscription or loses its last, and
 * of each change of a share group's number; NULL = no more. `filter` is the callee's (g_free). It
 * must not change the store. */
void session_store_watch_filters(struct session_store *store, void (*fn)(void *owner, char *filter),
                                 void *owner);

enum subscribe_result { SUBSCRIBE_NEW, SUBSCRIBE_REPLACED, SUBSCRIBE_QUOTA };
/* `filter` is valid and may be `$share/NAME/FILTER`. The same filter again replaces the options
 * (3.8.4). */
enum subscribe_result session_subscribe(struct session *session, struct bytes filter,
                                        const struct subscription_options *options);
/* False when there was none. */
bool session_unsubscribe(struct session *session, struct bytes filter);
struct subscription *session_find_subscription(const struct session *session, struct bytes filter);
/* The filter as the client wrote it, `$share/NAME/` included; caller frees. */
char *subscription_filter(const struct subscription *subscription);

/* Puts a message at the end of the deliveries. `qos` is 1 or 2. While a connection has the session
 * (connection_number) only DELIVERY_RING_MAX is the end: nothing is dropped, the shell holds
 * publishers back. Without one the limits of the store hold: beyond them expired messages go first;
 * then, with drop_oldest, the oldest that is not RECEIVED. Returns 0 = taken; 1 = taken, and at
 * least one that had not expired was dropped for it (dropped_messages counts each); -ENOBUFS = not
 * taken: mqtt.queue_full is refuse, or no dropping would make room (counts as dropped, unless the
 * setting is refuse). */
int session_enqueue(struct session *session, struct message *message, uint8_t qos, bool retain,
                    const uint32_t *ids, uint32_t id_count, uint64_t now_unix_ms);
/* Would session_enqueue refuse, if nothing has expired? */
bool session_is_full(const struct session *session, const struct message *message);
/* What the client says: PUBACK, PUBREC (ok), PUBREC (error), PUBCOMP. False when there is no such
 * delivery in a fitting state; PUBREC again is fine. Whether it was ever sent is not known here. */
enum session_ack { SESSION_PUBACK, SESSION_PUBREC, SESSION_PUBREC_ERROR, SESSION_PUBCOMP };
bool session_acknowledge(struct session *session, enum session_ack kind, uint16_t packet_id);

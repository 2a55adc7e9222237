/* Every change of the replicated state starts here: the command is encoded into the current group
 * of the log; once it is on disk (and, with several nodes, on a majority) it is applied, and `fn`
 * gets its result, exactly once, never from inside the call. Each function returns 0, or a negative
 * errno when nothing was proposed and `fn` will not be called: -EAGAIN (the log's backlog is full:
 * try again later), -ENOSPC (disk full), -ENOTCONN (no leader), -EMSGSIZE (above
 * STATE_RECORD_BYTES_MAX: never fits), -ENOTSUP (a node is too old: state_level_problem). All views
 * are copied before it returns. */
#pragma once

#include "base/bytes.h"
#include "session/store.h"
#include <stdbool.h>
#include <stdint.h>

struct state;

struct state_result {
    int error; /* 0, or why it was not applied: -ENOSPC (disk full), -ECANCELED (stopping, unknown
                  whether applied), -ENOTSUP (a node is too old, see `message`) */
    uint8_t reason; /* MQTT reason code of the outcome: 0, 0x10 no matching subscribers, 0x97 quota
                       exceeded, 0x91 ... */
    bool session_present;      /* open: a session was there and goes on */
    bool duplicate;            /* publish: this QoS 2 packet id was already received */
    bool subscription_existed; /* subscribe: it replaced one (retain handling 1) */
    bool is_stale;             /* the session has another connection now; nothing happened. open:
                                  had it, see state_propose_open */
    uint32_t matched; /* publish: persistent sessions that got it; acknowledge: deliveries that it
                         fitted */
    const char *message; /* administrative commands: for people, NULL when fine; valid during fn */
};

struct state_completion {
    void (*fn)(void *owner, uint64_t token,
               const struct state_result *result); /* NULL = nobody asks */
    void *owner;
    uint64_t token; /* handed back */
    /* Asked for by this connection of a client with a session: when another connection has the
     * session by the time it is applied (the client went to another node, and says it again there),
     * nothing happens, and the result `is_stale`. 0 = not looked at. */
    uint64_t connection_number;
};

struct state_will {
    struct bytes topic, properties, payload;
    uint8_t qos;
    bool retain;
    uint32_t delay_s, expiry_s;
};

/* Numbers of connections are unique in the cluster and for all time: node id (12 bits), epoch (20
 * bits), counter of this start (32 bits, from 1). The state knows by them which connections broke
 * when a node starts anew. 0 = none. */
static inline uint64_t state_connection_number(uint64_t node_id, uint64_t epoch, uint32_t counter)
{
    return (node_id & 0xfff) << 52 | (epoch & 0xfffff) << 32 | counter;
}

/* Whether it is, or was, a connection to this node. */
static inline bool state_is_connection_of(uint64_t node_id, uint64_t connection_number)
{
    return connection_number != 0 && connection_number >> 52 == (node_id & 0xfff);
}

/* CONNECT of a client with a persistent session, or with a will, or that has a session or a will in
 * the state which must end or go on. A will that is left of an earlier connection is published or
 * cancelled as MQTT 5, 3.1.2.5 and 3.1.4 say. */
struct state_open {
    struct bytes client_id, username;
    bool clean_start;
    /* expiry_s > 0: a session is kept. Else none is made; an old one ends with clean_start, and
     * without it goes on (MQTT-3.1.2-5), with expiry 0, until the connection ends:
     * `session_present` of the result, and the session in the state, are what the broker goes by.
     */
    bool is_persistent;
    uint32_t expiry_s;
    uint16_t receive_maximum;
    uint8_t version;
    uint64_t connection_number;    /* of the new connection, state_connection_number(); a close with
                                      another number is ignored */
    uint64_t known_opening;        /* state_last_opening() when the CONNECT came */
    const struct state_will *will; /* NULL for none */
};
/* By which connection the client came last, as far as the state knows: its session, or its will,
 * is of it. 0 = none. */
uint64_t state_last_opening(struct state *state, struct bytes client_id);
/* `is_stale`: the client has come to another node since; nothing has changed. reason 0x97: too many
 * sessions, too large a will, or the state is full; then nothing has changed. The session's expiry
 * is cut to mqtt.session_expiry_s_max. */
int state_propose_open(struct state *state, const struct state_open *open,
                       const struct state_completion *completion);

/* The connection has ended. */
struct state_close {
    struct bytes client_id;
    uint64_t connection_number;
    bool publish_will; /* false after DISCONNECT 0x00 */
    bool has_expiry;   /* DISCONNECT changed the session expiry */
    uint32_t expiry_s;
};
int state_propose_close(struct state *state, const struct state_close *close,
                        const struct state_completion *completion);
/* Ends a session whatever it does (client kick --purge, tests). */
int state_propose_session_remove(struct state *state, struct bytes client_id,
                                 const struct state_completion *completion);

/* `reason` of the result: 0, 0x97, or 0x80 when the session is gone; one subscription each. */
int state_propose_subscribe(struct state *state, struct bytes client_id, struct bytes filter,
                            const struct subscription_options *options,
                            const struct state_completion *completion);
/* reason 0x11 when there was none. */
int state_propose_unsubscribe(struct state *state, struct bytes client_id, struct bytes filter,
                              const struct state_completion *completion);

/* A member of a share group that was chosen for this message: filled in by the origin, so that
 * applying does not choose. With `node_id` it is a node: one of its members that are connected
 * there and get nothing by way of the log; no session of the state gets it then. */
struct state_share_target {
    struct bytes client_id;
    struct bytes filter; /* `$share/NAME/FILTER` */
    uint64_t node_id;    /* 0 = the session of `client_id` */
};

struct state_publish {
    struct bytes topic, properties, payload;
    uint8_t qos;
    bool retain;
    bool is_persistent_publisher; /* its session is in the state: then `packet_id` (QoS 2) is
                                     remembered there */
    struct bytes publisher;       /* client id; empty for bridges and the API */
    uint16_t packet_id;           /* QoS 2 */
    uint64_t expires_unix_ms;
    const struct state_share_target *targets;
    uint32_t target_count;
    bool is_delivered; /* QoS 0 retained: was delivered at once, only the retained table changes now
                        */
};
/* `reason`: 0, or 0x97 when a limit or (mqtt.queue_full = refuse) a full queue stands in the way:
 * then nothing has changed and nobody got it. Share groups get it only by way of `targets`. Whether
 * anybody at all got it (0x10) is for the broker to say from `matched`. */
int state_propose_publish(struct state *state, const struct state_publish *publish,
                          const struct state_completion *completion);
/* PUBREL of a persistent publisher; reason 0x92 when unknown. */
int state_propose_release(struct state *state, struct bytes client_id, uint16_t packet_id,
                          const struct state_completion *completion);
/* Acknowledgements of deliveries, many of one session in one command. */
int state_propose_acknowledge(struct state *state, struct bytes client_id, enum session_ack kind,
                              const uint16_t *packet_ids, uint32_t count,
                              const struct state_completion *completion);
/* A retained message to a persistent session that has just subscribed: enqueued there with min(its
 * QoS, `qos`) and the retain flag. `matched` 0: it, or the session, is gone, or that QoS is 0 (then
 * the broker sends it itself). `reason` 0x97: the queue is full. */
int state_propose_send_retained(struct state *state, struct bytes client_id, struct bytes topic,
                                uint8_t qos, uint32_t subscription_id,
                                const struct state_completion *completion);
/* What is due by `now`: sessions end, wills go out, retained messages expire. */
int state_propose_tick(struct state *state, uint64_t now_unix_ms,
                       const struct state_completion *completion);
/* Once at the start of the node, when the log has been replayed and before clients are let in:
 * every connection of this node's earlier lives is closed as if it broke (wills go out after their
 * delay, expiry starts). */
int state_propose_recover(struct state *state, const struct state_completion *completion);

/* Administration. `message` of the result says what was wrong. */
int state_propose_setting(struct state *state, const char *key, const char *value,
                          const struct state_completion *completion);
int state_propose_user_put(struct state *state, const char *name, const char *role,
                           const char *password_record, const struct state_completion *completion);
int state_propose_user_remove(struct state *state, const char *name,
                              const struct state_completion *completion);
int state_propose_acl_add(struct state *state, const char *subject, const char *action,
                          const char *filter, bool allow,
                          const struct state_completion *completion);
int state_propose_acl_remove(struct state *state, uint64_t rule_id,
                             const struct state_completion *completion);

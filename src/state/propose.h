/* Every change of the replicated state starts here: the command is encoded into the current group of the log; once it is on disk (and, with
 * several nodes, on a majority) it is applied, and `fn` gets its result, exactly once, never from inside the call.
 * Each function returns 0, or -EAGAIN when the log's backlog is full: then nothing was proposed and `fn` will not be called. All
 * views are copied before it returns. */
#pragma once

#include "base/bytes.h"
#include "session/session.h"
#include <stdbool.h>
#include <stdint.h>

struct state;

struct state_result {
    int error;          /* 0, or why it was not applied: -ENOSPC (disk full), -ECANCELED (stopping, unknown whether applied) */
    uint8_t reason;     /* MQTT reason code of the outcome: 0, 0x10 no matching subscribers, 0x97 quota exceeded, 0x91 ... */
    bool session_present; /* open: a session was there and goes on */
    bool duplicate;     /* publish: this QoS 2 packet id was already received */
    uint32_t matched;   /* publish: persistent sessions that got it */
    const char *message; /* administrative commands: for people, NULL when fine; valid during fn */
};

struct state_completion {
    void (*fn)(void *owner, uint64_t token, const struct state_result *result); /* NULL = nobody asks */
    void *owner;
    uint64_t token; /* handed back */
};

struct state_will {
    struct bytes topic, properties, payload;
    uint8_t qos;
    bool retain;
    uint32_t delay_s, expiry_s;
};

/* CONNECT of a client with a persistent session, or with a will, or that has a session or a will in the state which must end or go on. A will that is
 * left of an earlier connection is published or cancelled as MQTT 5, 3.1.2.5 and 3.1.4 say. */
struct state_open {
    struct bytes client_id, username;
    bool clean_start;
    bool is_persistent;         /* expiry_s > 0; else no session is kept (an old one is removed) */
    uint32_t expiry_s;
    uint16_t receive_maximum;
    uint8_t version;
    uint64_t connection_number; /* of the new connection; a close with another number is ignored */
    const struct state_will *will;
};
int state_propose_open(struct state *state, const struct state_open *open, const struct state_completion *completion);

/* The connection has ended. */
struct state_close {
    struct bytes client_id;
    uint64_t connection_number;
    bool publish_will;    /* false after DISCONNECT 0x00 */
    bool has_expiry;      /* DISCONNECT changed the session expiry */
    uint32_t expiry_s;
};
int state_propose_close(struct state *state, const struct state_close *close, const struct state_completion *completion);
/* Ends a session whatever it does (client kick --purge, tests). */
int state_propose_session_remove(struct state *state, struct bytes client_id, const struct state_completion *completion);

/* `reason` of the result: 0 or 0x97; one subscription each. */
int state_propose_subscribe(struct state *state, struct bytes client_id, struct bytes filter,
                            const struct subscription_options *options, const struct state_completion *completion);
/* reason 0x11 when there was none. */
int state_propose_unsubscribe(struct state *state, struct bytes client_id, struct bytes filter, const struct state_completion *completion);

/* A member of a share group that was chosen for this message: filled in by the origin, so that applying does not choose. */
struct state_share_target {
    struct bytes client_id;
    struct bytes filter; /* `$share/NAME/FILTER` */
};

struct state_publish {
    struct bytes topic, properties, payload;
    uint8_t qos;
    bool retain;
    bool is_persistent_publisher; /* its session is in the state: then `packet_id` (QoS 2) is remembered there */
    struct bytes publisher;       /* client id; empty for bridges and the API */
    uint16_t packet_id;           /* QoS 2 */
    uint64_t expires_unix_ms;
    const struct state_share_target *targets;
    uint32_t target_count;
    bool is_delivered; /* QoS 0 retained: was delivered at once, only the retained table changes now */
};
int state_propose_publish(struct state *state, const struct state_publish *publish, const struct state_completion *completion);
/* PUBREL of a persistent publisher; reason 0x92 when unknown. */
int state_propose_release(struct state *state, struct bytes client_id, uint16_t packet_id, const struct state_completion *completion);
/* Acknowledgements of deliveries, many of one session in one command. */
int state_propose_acknowledge(struct state *state, struct bytes client_id, enum session_ack kind, const uint16_t *packet_ids, uint32_t count,
                              const struct state_completion *completion);
/* A retained message to a persistent session that has just subscribed: enqueued there (`retained_topic` names it). */
int state_propose_send_retained(struct state *state, struct bytes client_id, struct bytes topic, uint8_t qos, uint32_t subscription_id,
                                const struct state_completion *completion);
/* What is due by `now`: sessions end, wills go out, retained messages expire. */
int state_propose_tick(struct state *state, uint64_t now_unix_ms, const struct state_completion *completion);

/* Administration. `message` of the result says what was wrong. */
int state_propose_setting(struct state *state, const char *key, const char *value, const struct state_completion *completion);
int state_propose_user_put(struct state *state, const char *name, const char *role, const char *password_record, const struct state_completion *completion);
int state_propose_user_remove(struct state *state, const char *name, const struct state_completion *completion);
int state_propose_acl_add(struct state *state, const char *subject, const char *action, const char *filter, bool allow, const struct state_completion *completion);
int state_propose_acl_remove(struct state *state, uint64_t rule_id, const struct state_completion *completion);

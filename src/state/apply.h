/* Applying commands, for this folder only: what each apply function gets and may do. They are
 * deterministic: no clock (now_unix_ms comes with the group), no randomness, no order of a hash
 * table. One entry of the table in apply.c for each kind of command. */
#pragma once

#include "state/commands.pb-c.h"
#include "state/propose.h"
#include "state/tables.h"

/* MQTT 5, 2.4 */
#define REASON_SUCCESS                 0x00
#define REASON_NO_SUBSCRIPTION_EXISTED 0x11
#define REASON_UNSPECIFIED_ERROR       0x80
#define REASON_PACKET_ID_NOT_FOUND     0x92
#define REASON_QUOTA_EXCEEDED          0x97

struct apply {
    struct state *state;
    struct tables *tables; /* of the state */
    uint64_t index;
    uint64_t now_unix_ms;
    uint64_t connection_number; /* that asks, see struct state_completion; 0 = not looked at */
    uint32_t turn;              /* counts choices made in this command: share groups of wills */
    struct state_result *result;
};

/* 0, or -EBADMSG: no version of this program proposes this. What is merely no longer possible is a
 * reason in the result. */
typedef int apply_fn(struct apply *apply, const State__Command *command, GError **error);

/* What every node must be able to apply before this may be proposed. Of a kind that we know. */
uint32_t apply_level(const State__Command *command);

/* apply_publish.c */
apply_fn apply_publish, apply_release;
/* apply_delivery.c */
apply_fn apply_acknowledge, apply_send_retained;
/* apply_session.c */
apply_fn apply_open, apply_close, apply_session_remove;
/* apply_subscribe.c */
apply_fn apply_subscribe, apply_unsubscribe;
/* apply_time.c */
apply_fn apply_tick, apply_node_restarted;
/* apply_admin.c */
apply_fn apply_setting_set, apply_user_put, apply_user_remove, apply_acl_add, apply_acl_remove;

/* roster/apply.c */
apply_fn apply_node_join, apply_node_update, apply_node_label, apply_node_remove, apply_node_down,
    apply_token_put, apply_token_remove, apply_vip_set, apply_vip_remove, apply_ca_set;

/* ---- between the files ---- */

struct publication {
    struct message *message; /* borrowed */
    struct bytes publisher;
    const struct state_share_target *targets;
    uint32_t target_count;
    bool is_delivered;
    /* A will: nobody is there to refuse to. Share groups have their member chosen here, and who is
     * full is left out. */
    bool is_will;
};
/* The path of every message: retained, queues, watches. Returns the reason code; `matched` counts
 * the sessions that took it. Not 0: nothing has changed. */
uint8_t publication_apply(struct apply *apply, const struct publication *original,
                          uint32_t *matched);

/* Publishes a will, which stays where it is. */
void will_send(struct apply *apply, struct bytes client_id, const struct will *will);
/* Publishes and forgets the will of this client, if there is one. */
void will_publish(struct apply *apply, struct bytes client_id);
/* The session ends now: its pending will goes out (MQTT 5, 3.1.3.2.2), the watches are told, it is
 * freed. */
void session_end(struct apply *apply, struct session *session);
/* The connection of this number, if it is still the client's, has ended. */
struct connection_end {
    struct bytes client_id;
    uint64_t connection_number;
    bool publish_will, has_expiry;
    uint32_t expiry_s;
};
void connection_close(struct apply *apply, const struct connection_end *end);

/* Has the session another connection than the one that asks? Then result->is_stale is set. */
bool apply_is_stale(struct apply *apply, struct bytes client_id);
/* Which of a node's connections have broken (apply_time.c). */
enum break_kind {
    BREAK_OTHER_EPOCHS, /* it has started anew with this epoch */
    BREAK_UP_TO_EPOCH   /* it is dead */
};
/* Closes them; returns how many. */
uint32_t connections_break(struct apply *apply, uint64_t node_id, uint64_t epoch,
                           enum break_kind kind);

/* Would this many bytes more be too much for state.bytes_max? */
bool apply_is_full(const struct apply *apply, uint64_t more_bytes);

/* Checks of what came from the log. False with `error` set. */
bool apply_check_client_id(struct bytes client_id, GError **error);
bool apply_check_name(struct bytes topic, GError **error);
bool apply_check_filter(struct bytes filter, GError **error);
/* The result says so, with a copy of the message. Returns 0. */
int apply_refuse(struct apply *apply, uint8_t reason, const char *message);
int apply_malformed(GError **error, const char *what);

/* A copy that lives until the end of the command. */
struct bytes apply_keep(struct apply *apply, struct bytes bytes);

static inline struct bytes bytes_of(ProtobufCBinaryData binary)
{
    return (struct bytes){binary.data, binary.len};
}

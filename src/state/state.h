/* The replicated state: settings, users, access lists, persistent sessions, retained messages,
 * wills. Changed only by commands that come back from the log in order (commands.proto is the
 * list), so it is the same on every node at the same index. Read it freely, change it through
 * propose.h. This header: life, reading, watching. Single-threaded. */
#pragma once

#include "base/bytes.h"
#include "session/message.h"
#include "state/settings.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct state;
struct session;
struct session_store;
struct retained;
struct wills;
struct state_share_target;

/* The log below, as the state needs it: consensus in the daemon, a virtual one in the simulation.
 */
struct state_log {
    /* Room for one record of `length` bytes in the current group, or NULL when the log's backlog is
     * full (-EAGAIN for the proposer). The record is in the group as soon as this returns; fill it
     * before returning to the loop. */
    uint8_t *(*append)(void *owner, size_t length);
    void *owner;
    /* Why the last append was refused: -EAGAIN, -ENOSPC (disk full), -ENOTCONN (no leader). May be
     * NULL: then always -EAGAIN. */
    int (*append_error)(void *owner);
};

struct state_options {
    uint64_t node_id;
    uint64_t
        epoch; /* grows with every start of this node: tells proposals of an earlier life apart */
};

/* Copies both. */
struct state *state_new(const struct state_options *options, const struct state_log *log);
/* Proposals that are still waiting are forgotten: end them first with state_group_failed(state, 0,
 * -ECANCELED). NULL is fine. */
void state_free(struct state *state);

/* ---- what consensus calls (state/log.h joins the two) ---- */
/* Written at the start of every group: origin, epoch, sequence of its first command, calendar time.
 */
#define STATE_GROUP_HEADER_BYTES 40
/* The largest record, as large as consensus takes: proposals above it are refused with -EMSGSIZE.
 */
#define STATE_RECORD_BYTES_MAX (2 * 1024 * 1024)
/* `log` starts a group: called by it from inside `append`, before it makes room for the first
 * record. */
void state_group_begin(struct state *state, uint64_t now_unix_ms,
                       uint8_t header[STATE_GROUP_HEADER_BYTES]);
/* One group from the log, header first; padding with zeros at its end is skipped. A group that was
 * applied before (same origin, epoch, sequence) changes nothing. Negative errno: the entry cannot
 * be read, which means a newer version or damage; commands before the bad one have been applied, so
 * the process must end. Completions run from here and may propose. Never called from inside a
 * propose. */
int state_apply(struct state *state, uint64_t index, struct bytes group, GError **error);
/* The groups from `sequence` on of this life were refused (disk full, ...): their proposals end
 * with `error` (-ENOSPC, -ECANCELED). Never called from inside a propose. */
void state_group_failed(struct state *state, uint64_t first_sequence, int error);

/* ---- reading; the pointers change when a snapshot is restored ---- */
const struct settings *state_settings(const struct state *state);
struct session_store *state_sessions(
    struct state *state); /* read only for all but apply; session.connection may be set */
const struct retained *state_retained(const struct state *state);
const struct wills *state_wills(const struct state *state);
uint64_t state_applied_index(const struct state *state);
/* What is held against state.bytes_max. */
uint64_t state_bytes(const struct state *state);
/* Proposals that wait for their result. */
uint32_t state_pending(const struct state *state);
/* The last proposal so far; have all that somebody waits for been answered up to one? */
uint64_t state_last_proposed(const struct state *state);
bool state_is_answered(const struct state *state, uint64_t proposed);
/* When a tick is next needed (session expiry, will delay, retained expiry); 0 = never. */
uint64_t state_next_due_unix_ms(const struct state *state);
/* SHA-256 in hex over every table, for comparisons. Caller frees. */
char *state_digest(const struct state *state);

/* ---- watching: called while a command is applied, after the tables have changed; must not propose
 * from inside (defer it) ---- */
struct state_watch {
    struct state_watch *next; /* the state's */
    void *owner;
    /* A PUBLISH was committed: for the sessions that are not in the state, and for QoS 0
     * subscriptions of those that are. `publisher` is its client id (empty for wills of nobody,
     * bridges and the API). */
    void (*on_publish)(void *owner, struct message *message, struct bytes publisher,
                       const struct state_share_target *targets, uint32_t target_count);
    /* Something was put at the end of this session's deliveries. */
    void (*on_delivery)(void *owner, struct session *session);
    /* It is about to be freed. */
    void (*on_session_end)(void *owner, struct session *session);
    void (*on_settings)(void *owner); /* any setting */
    void (*on_access)(void *owner);   /* any user or access rule */
    void (*on_nodes)(void *owner);    /* any node or its labels (cluster_tables.h) */
    void (*on_vips)(void *owner);     /* any virtual IP */
    void (*on_ca)(void *owner);       /* the certificate authority */
    void (*on_due)(void *owner);      /* state_next_due_unix_ms has changed */
    /* Who has the session, or the will, of this client changed: a connection came (its number), or
     * the one that it had was closed (0). */
    void (*on_connection)(void *owner, struct bytes client_id, uint64_t connection_number);
    void (*on_applied)(void *owner); /* a group; state_applied_index has changed */
    /* A snapshot was restored: every pointer into the state is new. on_session_end was called for
     * each session that was there before. */
    void (*on_restored)(void *owner);
};
/* `watch` is the caller's memory until unwatch; any member may be NULL. */
void state_add_watch(struct state *state, struct state_watch *watch);
void state_remove_watch(struct state *state, struct state_watch *watch);

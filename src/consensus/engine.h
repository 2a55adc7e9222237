/* Inside of consensus: the one struct, and what its files call of each other. Nobody outside the
 * folder includes this. */
#pragma once

#include "consensus/beats.h"
#include "consensus/consensus.h"
#include "consensus/directory.h"
#include "consensus/snapshot.h"
#include "consensus/snapshot_send.h"
#include "loop/deferred.h"
#include <raft.h>
#include <raft/uv.h>

/* Below so much room in prepared segments, in KiB, of a majority libraft refuses entries: the
 * largest one fits. Its own default, half of its own segments, is more than a small node has at
 * times (rule 11). */
#define CAPACITY_MIN_KIB 2560

/* A group of records: being filled, waiting, or on its way. */
struct group {
    uint8_t *buffer; /* of raft_malloc: room for the prefix, group header, records; owned, NULL
                        when libraft has it and nobody will need it again */
    size_t capacity, length; /* of the whole entry */
    size_t record_bytes;
    uint64_t begun_ms; /* loop time */
    uint64_t term;     /* in which it was forwarded to us; of our own: 0 */
    bool is_sent;      /* libraft or the leader has it */
    uint8_t header[CONSENSUS_GROUP_HEADER_BYTES];
};

enum stop_stage { STOP_NOT, STOP_DRAINING, STOP_SNAPSHOT, STOP_CLOSING };

/* The last message of a node, whatever it said. */
struct heard {
    uint64_t node_id, at_ms;
};

struct consensus {
    /* Given. */
    struct loop *loop;
    char *directory, *address;
    uint64_t node_id, snapshot_log_bytes;
    bool is_small;
    const struct consensus_events *events;
    void *owner;

    /* libraft. */
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_uv_transport transport;
    struct raft_tracer tracer;
    void (*tick)(struct raft_io
                     *io); /* libraft's, called by hand to make it look at the snapshot threshold */
    int (*start_io)(struct raft_io *io, unsigned milliseconds, raft_io_tick_cb tick,
                    raft_io_recv_cb receive);
    bool is_engine_open;

    /* Life. */
    int lock_fd;
    struct directory_report files; /* as found at start */
    enum consensus_state state, announced_state;
    enum stop_stage stop_stage;
    void (*stop_done)(void *owner);
    void *stop_owner;
    bool is_orphan; /* freed by its owner while libraft still closes */
    char *fatal_message;
    bool is_fatal_announced;
    GError *restore_error; /* of on_restore, for consensus_start */

    /* Groups (group.c). */
    struct deferred turn; /* end of the loop's turn */
    struct timer *retry;  /* while the disk is full, or a segment late */
    struct timer *stop_limit;
    struct timer *patience; /* while groups wait and there are other nodes */
    struct group *current;  /* being filled, or NULL */
    GQueue own;             /* of struct group: full ones, until seen applied; oldest first */
    GQueue foreign;         /* of struct group: forwarded to us, for libraft */
    size_t foreign_bytes;
    uint32_t requests, entries_in_flight; /* that libraft holds: barriers are among the first */
    size_t in_flight_bytes, pending_bytes;
    uint32_t forwarded; /* own groups that the leader has, and their bytes */
    size_t forwarded_bytes;
    bool is_forward_blocked; /* no room in the link */
    bool is_foreign_next, is_allocation_failing;
    bool is_waiting_for_room; /* what the leader sends is dropped */
    bool is_truncated;        /* the last time that entries had to be taken back, they were */
    uint32_t write_wait_ms;
    uint64_t own_applied_ms; /* loop time at which the last own group was seen applied */

    /* Leadership (leadership.c). */
    const struct consensus_network *network; /* NULL = alone for ever */
    bool join, rescue;
    uint32_t election_timeout_ms, heartbeat_ms;
    struct timer *ticks; /* runs while there are other nodes, until tick_ms (loop time) */
    uint64_t ticked_ms, tick_ms;
    uint64_t led_term, led_ms; /* the last term that libraft led at a tick, and since when */
    bool has_others;           /* in the configuration */
    bool is_leader;            /* libraft's word */
    bool has_caught_up;        /* followed somebody to the end once */
    uint64_t lead_index;       /* all up to it must be applied before we lead */
    uint64_t told_commit;      /* leading: the followers know that so much is committed */
    uint64_t heard_end, heard_end_term; /* the end of the log of that term's leader; 0 = none */
    uint64_t leader_id, leader_term;    /* as told by on_leader */
    uint64_t heard_id, heard_term;      /* whose word was last heard, and when */
    uint64_t heard_ms;
    uint64_t other_ms; /* when another than heard_id was last heard, or this was made */
    GArray *heard;     /* struct heard: of each node that has sent anything */
    uint64_t members_digest;
    raft_io_recv_cb receive; /* libraft's */
    int (*load)(struct raft_io *io, raft_term *term, raft_id *voted_for,
                struct raft_snapshot **snapshot, raft_index *start_index,
                struct raft_entry *entries[], size_t *count); /* libraft's */
    struct beats beats;

    /* Membership (members.c). */
    bool is_changing;
    struct change *handing_over; /* meanwhile libraft is given nothing */

    /* What libraft notes of it (configuration.c). */
    int (*append)(struct raft_io *io, struct raft_io_append *request,
                  const struct raft_entry entries[], unsigned n,
                  raft_io_append_cb cb); /* libraft's */
    GBytes *change; /* the last one in the log, owned; NULL = none since start */
    uint64_t change_index;

    /* Connections (transport.c). */
    struct pending_connect *connects; /* that libraft waits for */
    uint64_t next_token;
    raft_uv_accept_cb accept;

    /* Snapshots (snapshot.c). */
    struct snapshot_writing writing;
    uint64_t log_bytes, snapshot_bytes, snapshot_index;
    uint64_t logged_entries;      /* in log_bytes */
    uint64_t refused_log_bytes;   /* no new try before the log has grown past this */
    uint64_t looked_at_log_bytes; /* when snapshot_rest was started */
    uint64_t snapshot_begun_ms;   /* loop time of the last one; 0 = none yet */
    struct timer *snapshot_rest;  /* while one is due but the last was a moment ago */
    bool is_snapshot_asked;
    struct snapshot_send sent;
};

/* life.c: nothing more is acknowledged; on_fatal at the end of the turn. */
void consensus_fail(struct consensus *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void consensus_set_state(struct consensus *self, enum consensus_state state);
void consensus_schedule(struct consensus *self);

/* members.c */
void members_turn(struct consensus *self);
/* Before libraft is closed: what it was not asked for yet is over. */
void members_stop(struct consensus *self);

/* group.c */
void group_submit_all(struct consensus *self);
/* The entry that begins with this group header was applied. */
void group_applied(struct consensus *self, const uint8_t *header);
/* Refuses own groups: all, or those that nobody has yet. */
void group_refuse_own(struct consensus *self, bool with_sent, int error);
/* Whoever had them may have lost them: own groups go out anew, oldest first. */
void group_send_anew(struct consensus *self);
/* Those of others that libraft has not: their origins keep them, and send them anew. */
void group_drop_foreign(struct consensus *self);
bool group_is_idle(const struct consensus *self);
void group_on_retry(void *owner);
void group_on_patience(void *owner);
/* An empty entry of libraft's: 0, or a RAFT_ error. */
int group_barrier(struct consensus *self, raft_barrier_cb done);
/* leadership.c: who leads, and libraft's ticks. */
void leadership_init(struct consensus *self, const struct consensus_options *options);
/* After raft_start. */
void leadership_start(struct consensus *self);
void leadership_turn(struct consensus *self);
void leadership_on_tick(void *owner);
void leadership_let_tick(struct consensus *self);
/* What libraft is told of the time between heartbeats. */
unsigned leadership_beat_ms(const struct consensus *self);
/* Looks at each message before libraft gets it. */
void leadership_on_receive(struct raft_io *io, struct raft_message *message);
/* For how long nothing was heard of this node; UINT64_MAX = nothing yet. */
uint64_t leadership_silent_ms(const struct consensus *self, uint64_t node_id);

/* configuration.c: after raft_uv_init, before raft_init; after raft_start; when a snapshot has
 * come. */
void configuration_init(struct consensus *self);
void configuration_start(struct consensus *self);
void configuration_forget(struct consensus *self);

/* votes.c: after raft_uv_init, before raft_init; before each of libraft's ticks. */
void votes_init(struct consensus *self);
void votes_before_tick(struct consensus *self);
/* Only this node votes, of several. */
bool votes_is_alone(const struct consensus *self);
/* Gives libraft a RAFT_REQUEST_VOTE. */
void votes_asked(struct consensus *self, struct raft_message *message);
/* What is to be sent in place of this message: itself or `room`. */
const struct raft_message *votes_to_send(const struct consensus *self,
                                         const struct raft_message *message,
                                         struct raft_message *room);

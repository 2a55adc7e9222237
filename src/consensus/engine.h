/* Inside of consensus: the one struct, and what its files call of each other. Nobody outside the
 * folder includes this. */
#pragma once

#include "consensus/consensus.h"
#include "consensus/directory.h"
#include "loop/deferred.h"
#include <raft.h>
#include <raft/uv.h>

/* A group that is being filled, waits, or is on its way. */
struct group {
    struct raft_apply request;
    struct consensus *consensus; /* borrowed */
    uint8_t *buffer;             /* of raft_malloc, owned until libraft took it */
    size_t capacity, length;     /* of the whole entry: prefix, group header, records */
    size_t record_bytes;
    uint64_t index; /* in the log, once submitted */
    uint8_t header[CONSENSUS_GROUP_HEADER_BYTES];
};

enum stop_stage { STOP_NOT, STOP_DRAINING, STOP_SNAPSHOT, STOP_CLOSING };

/* A snapshot that libraft is writing. */
struct snapshot_writing {
    bool is_active;
    struct consensus_snapshot pieces;
    struct raft_buffer *buffers; /* owned */
    uint8_t *header;             /* owned */
    uint64_t index, bytes, log_bytes;
};

struct consensus {
    /* Given. */
    struct loop *loop;
    char *directory, *address;
    uint64_t node_id, snapshot_log_bytes;
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
    struct timer *retry;  /* while the disk is full */
    struct timer *stop_limit;
    struct group *current; /* being filled, or NULL */
    GQueue waiting;        /* of struct group: full ones */
    GQueue in_flight;      /* of struct group: submitted, not yet applied; oldest first */
    uint32_t requests;     /* that libraft holds */
    size_t in_flight_bytes, pending_bytes;
    bool is_allocation_failing;
    bool is_cancel_announced;

    /* Snapshots (snapshot.c). */
    struct snapshot_writing writing;
    uint64_t log_bytes, snapshot_bytes, snapshot_index;
    uint64_t refused_log_bytes;   /* no new try before the log has grown past this */
    uint64_t looked_at_log_bytes; /* when snapshot_rest was started */
    uint64_t snapshot_begun_ms;   /* loop time of the last one; 0 = none yet */
    struct timer *snapshot_rest;  /* while one is due but the last was a moment ago */
    bool is_snapshot_asked;
};

/* life.c: nothing more is acknowledged; on_fatal at the end of the turn. */
void consensus_fail(struct consensus *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void consensus_set_state(struct consensus *self, enum consensus_state state);
void consensus_schedule(struct consensus *self);

/* group.c */
void group_submit_all(struct consensus *self);
/* The entry at `index` was applied: whether it was one of ours does not matter. */
void group_applied(struct consensus *self, uint64_t index);
/* Refuses everything that was not submitted yet. */
void group_refuse_all(struct consensus *self, int error);
bool group_is_idle(const struct consensus *self);
void group_on_retry(void *owner);
/* An empty entry of libraft's: 0, or a RAFT_ error. */
int group_barrier(struct consensus *self, raft_barrier_cb done);

/* snapshot.c: libraft's state machine interface. */
void snapshot_init(struct consensus *self);
void snapshot_on_rested(void *owner);
/* After raft_init: from now on libraft takes snapshots when we want them. */
void snapshot_arm(struct consensus *self);
/* Takes one at once when there is anything to put into it; whether one is being written now. */
bool snapshot_take(struct consensus *self);
bool snapshot_is_worthwhile_at_stop(const struct consensus *self);
/* Looks how a finished one ended, and starts one that was asked for. */
void snapshot_turn(struct consensus *self);

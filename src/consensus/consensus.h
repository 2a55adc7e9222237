/* The replicated log: records go in, come back in order once they are on disk (and, with several
 * nodes, on a majority), and are still there after SIGKILL. Wraps libraft; nobody else sees it.
 * Single-threaded, on the loop. With one voter there are no ports, no periodic timers and no disk
 * writes while idle.
 *
 * Happy path: consensus_append gives room for a record in the current group; at the end of the
 * loop's turn the group is handed to libraft as one entry; when it is on disk `on_apply` gets it.
 * The proposer knows its own records again by the group header that it wrote itself
 * (`on_group_begin`). */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct consensus;
struct loop;

#define CONSENSUS_ERROR (consensus_error_quark())
GQuark consensus_error_quark(void);
enum consensus_error {
    CONSENSUS_ERROR_DAMAGED, /* a file does not hold what it held */
    CONSENSUS_ERROR_NEWER,   /* written by a newer version */
    CONSENSUS_ERROR_FOREIGN, /* the directory is not ours, or another node's */
    CONSENSUS_ERROR_EMPTY,   /* nothing there, and founding was not asked for */
    CONSENSUS_ERROR_ACCESS,  /* rights, missing directory, input and output errors */
    CONSENSUS_ERROR_BUSY,    /* another process has it */
    CONSENSUS_ERROR_ENGINE,  /* libraft refused to start */
};

/* Written by the owner at the start of each group; handed back by on_apply as the first bytes of
 * the entry. */
#define CONSENSUS_GROUP_HEADER_BYTES 40
/* A group is submitted when it has reached this size; a larger record gets a group of its own. */
#define CONSENSUS_GROUP_BYTES_MAX (64 * 1024)
/* The largest record. */
#define CONSENSUS_RECORD_BYTES_MAX (2 * 1024 * 1024)
/* Entries on their way to the disk at once; more wait as groups. */
#define CONSENSUS_IN_FLIGHT_MAX 8
/* ... and their bytes, unless it is a single one. */
#define CONSENSUS_IN_FLIGHT_BYTES_MAX (1024 * 1024)
/* What waits (not yet submitted, and in flight) in all; above it consensus_append refuses. */
#define CONSENSUS_PENDING_BYTES_MAX (16 * 1024 * 1024)
/* A snapshot larger than this is refused when it is taken or restored (consensus.md, rule 6). */
#define CONSENSUS_SNAPSHOT_BYTES_MAX (1024ull * 1024 * 1024)

/* One piece of a snapshot: immutable from on_snapshot until `release`. */
struct consensus_piece {
    const void *base;
    size_t length;
};

/* Filled by on_snapshot by reference: no copying of payloads, as it runs inside the loop. */
struct consensus_snapshot {
    const struct consensus_piece *pieces; /* owner's, until `release` */
    uint32_t count;
    void (*release)(void *release_owner); /* runs exactly once, on the loop, when the pieces are no
                                             longer read; may be NULL */
    void *release_owner;
};

enum consensus_state {
    CONSENSUS_STOPPED,
    CONSENSUS_LOADING,   /* the log is being replayed */
    CONSENSUS_LEADING,   /* everything in the log has been applied; writes are taken */
    CONSENSUS_FOLLOWING, /* another node leads, and all that it had committed when we first heard of
                            it has been applied; writes are forwarded to it */
    CONSENSUS_DISK_FULL, /* leads, but writes are refused with -ENOSPC until there is room again */
    CONSENSUS_ELECTING,  /* no leader is known, or we are behind: writes wait */
    CONSENSUS_FAILED,    /* on_fatal was called */
};

/* What a node is in the cluster: only voters count for a majority; stand-bys have the log, spares
 * do not even have that. */
enum consensus_role { CONSENSUS_SPARE, CONSENSUS_STANDBY, CONSENSUS_VOTER };

/* The way to other nodes, all on the loop. Nothing here is believed: who is at the other end has
 * been found out before (cluster/). */
struct consensus_network {
    /* A connection to this node for libraft's own messages is wanted: consensus_connected with the
     * same token, once, later. */
    void (*connect)(void *owner, uint64_t node_id, uint64_t token);
    /* A group of this node for the leader of this term, to whom consensus_receive gives it. Copied
     * before it returns. 0; -EAGAIN: until consensus_network_writable; -ENOTCONN: until
     * consensus_reachable. */
    int (*forward)(void *owner, uint64_t leader_id, uint64_t term, struct bytes group);
    /* A heartbeat or its answer for this node, to whom consensus_beat gives it; copied before it
     * returns. Negative errno: it goes by libraft's own connection, as it does when this is NULL.
     */
    int (*beat)(void *owner, uint64_t node_id, struct bytes beat);
    /* Leading: a round of heartbeats is on its way; what goes out in the same turn of the loop
     * costs the others no further wake-up. May be NULL. */
    void (*on_beats)(void *owner);
    void *owner;
};

/* All run on the loop, none from inside a call of this header except on_group_begin. `owner` is the
 * one of the options. */
struct consensus_events {
    /* One entry in log order: the group header, then the records as they were appended, nothing
     * added. Also on replay at start. `entry` is valid during the call, 8-byte aligned. */
    void (*on_apply)(void *owner, uint64_t index, struct bytes entry);
    /* Called from consensus_append when it starts a group: the record that it makes room for is the
     * first of the group. */
    void (*on_group_begin)(void *owner, uint8_t header[CONSENSUS_GROUP_HEADER_BYTES]);
    /* The group that begins with this header and all groups that were begun after it were refused
     * and will never be applied: -ENOSPC (disk full), -ECANCELED (stopping; groups in flight may
     * still be found in the log at the next start). */
    void (*on_group_failed)(void *owner, const uint8_t header[CONSENSUS_GROUP_HEADER_BYTES],
                            int error);
    /* 0, or a negative errno: no snapshot now, it is asked for again later. */
    int (*on_snapshot)(void *owner, struct consensus_snapshot *out);
    /* The content of a snapshot, verified; it replaces all that was applied before. At start, and
     * when this node was so far behind that the leader sent its own. Negative errno:
     * consensus_start fails with `error`, later the log fails. */
    int (*on_restore)(void *owner, struct bytes snapshot, GError **error);
    /* See consensus_state(). */
    void (*on_state)(void *owner, enum consensus_state state);
    /* Another leader (0 = none), or the same in a new term. May be NULL. */
    void (*on_leader)(void *owner, uint64_t leader_id, uint64_t term);
    /* Nodes were added, removed, or have another role. May be NULL. */
    void (*on_members)(void *owner);
    /* The disk failed, or libraft did: nothing more is acknowledged. The process has to end in it,
     * and be started again (rule 10): what libraft does next may harm the log. */
    void (*on_fatal)(void *owner, const char *message);
};

struct consensus_options {
    struct loop *loop;
    const char *directory; /* `raft/`; must exist, belongs to consensus alone */
    uint64_t node_id;      /* not 0 */
    const char *address;   /* of this node, for the other nodes: a name, nothing is opened */
    bool found;    /* an empty directory founds a cluster of one; without it an empty directory is
                      refused */
    bool is_small; /* little disk: shorter files of the log, as a witness has them */
    uint64_t snapshot_log_bytes; /* log bytes after which a snapshot is worthwhile, should half the
                                    last snapshot not be more; 0 = 2 MiB */
    const struct consensus_events *events; /* caller's, for the whole life */
    void *owner;

    /* Several nodes; all 0 for one that is alone. */
    const struct consensus_network *network; /* caller's, for the whole life */
    bool join;   /* an empty directory is that of a node which the leader will add */
    bool rescue; /* the majority is gone for good: this node is the only one from now on */
    uint32_t election_timeout_ms; /* 0 = 300 */
    uint32_t heartbeat_ms;        /* 0 = a quarter of it */
    uint32_t write_wait_ms;       /* how long writes wait for a leader; 0 = 10,000 */
};

/* Looks at the files (files.h), founds if asked for, does not read the log yet. NULL with an error
 * that names the file and says what to do: damage, a newer format, foreign files, no rights, no
 * space. Strings are copied. */
struct consensus *consensus_new(const struct consensus_options *options, GError **error);
/* Only before start, after `done` of stop, or after a failed start. NULL is fine. */
void consensus_free(struct consensus *consensus);

/* Restores the snapshot (on_restore runs inside this call) and starts. Replay follows on the loop
 * as on_apply; then on_state(CONSENSUS_LEADING). */
int consensus_start(struct consensus *consensus, GError **error);
/* Finishes what was submitted, takes a snapshot when that makes the next start cheaper, closes the
 * files, calls `done` once. Nothing may be appended any more. Works in every state but a second
 * stop. */
void consensus_stop(struct consensus *consensus, void (*done)(void *owner), void *owner);

/* Room for one record of `length` bytes (1 .. CONSENSUS_RECORD_BYTES_MAX) at the end of the current
 * group; fill it before returning to the loop. NULL with the reason in `error` (may be NULL):
 * -EAGAIN (CONSENSUS_PENDING_BYTES_MAX is reached), -ENOSPC (disk full), -EMSGSIZE, -ENOTCONN
 * (stopping, or not started). */
uint8_t *consensus_append(struct consensus *consensus, size_t length, int *error);

/* Bytes appended that are not yet applied. */
size_t consensus_pending_bytes(const struct consensus *consensus);
/* Asks for a snapshot soon (backup, tests), whatever the log's size. */
void consensus_snapshot_soon(struct consensus *consensus);

struct consensus_status {
    enum consensus_state state;
    uint64_t node_id, leader_id; /* leader 0 = none known */
    uint64_t term, commit_index, applied_index, last_index, snapshot_index;
    uint64_t log_bytes;      /* since the last snapshot */
    uint64_t snapshot_bytes; /* of the last one */
    uint32_t in_flight;      /* entries */
    size_t pending_bytes;
    const char *engine; /* "libraft 0.22.1" */
};
void consensus_status(const struct consensus *consensus, struct consensus_status *status);
const char *consensus_state_to_string(enum consensus_state state);

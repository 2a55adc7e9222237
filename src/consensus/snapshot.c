/* libraft's state machine interface: apply, take a snapshot, restore one.
 *
 * libraft takes a snapshot when it sees more entries since the last one than its threshold,
 * whatever their size; so the threshold is out of reach until we want one (the log has grown past
 * snapshot_log_bytes and past half the last snapshot, and some more), then 1. One entry is kept
 * behind a snapshot (libraft treats 0 as an installed snapshot and removes too much); followers
 * that are behind get the snapshot.
 *
 * The pieces are handed over by reference and read by a pool thread; only their checksum is
 * computed here. */
#include "consensus/engine.h"

#include "base/log.h"
#include "consensus/checksum.h"
#include "consensus/entry.h"
#include "consensus/snapshot_file.h"
#include "loop/loop.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>

#define THRESHOLD_NEVER            UINT_MAX
#define TRAILING_ALONE             1
#define TRAILING_BYTES_MAX         (8 * 1024 * 1024)
#define TRAILING_LEAST             64
#define TRAILING_MOST              8192
#define SNAPSHOT_LOG_BYTES_DEFAULT (2 * 1024 * 1024)
/* Under load snapshots come at most this often: they share the disk with the log, and each costs
 * its syncs. */
#define SNAPSHOT_REST_MS 2000
/* ... unless the log has grown to this, for it stands in memory, or has not grown for a moment. */
#define SNAPSHOT_LOG_BYTES_MOST (32 * 1024 * 1024)
#define SNAPSHOT_QUIET_MS       40
/* What libraft keeps in memory for an entry besides its bytes. */
#define ENTRY_OVERHEAD_BYTES 128
/* After a refused or failed snapshot the log grows by this much before the next try. */
#define RETRY_LOG_BYTES (256 * 1024)
/* Less log than this is replayed faster than a snapshot is written. */
#define STOP_LOG_BYTES_MIN (64 * 1024)

/* While one begins libraft writes no entries. Nodes that had applied the same and began at the same
 * moment would leave nobody to acknowledge: so each lets its log grow by something else first. */
static uint64_t patience_bytes(const struct consensus *self, uint64_t limit)
{
    uint64_t mixed = (self->node_id ^ self->snapshot_index) * 0x9E3779B97F4A7C15u;

    return self->has_others ? limit / 2 * (mixed >> 48) / 65536 : 0;
}

static bool is_due(const struct consensus *self)
{
    uint64_t limit = MAX(self->snapshot_bytes / 2, self->snapshot_log_bytes);

    limit += patience_bytes(self, limit);
    return self->log_bytes > limit && self->log_bytes >= self->refused_log_bytes;
}

static bool has_rested(const struct consensus *self)
{
    return self->snapshot_begun_ms == 0 || self->log_bytes > SNAPSHOT_LOG_BYTES_MOST ||
           loop_now_ms(self->loop) >= self->snapshot_begun_ms + SNAPSHOT_REST_MS;
}

static void look_again(struct consensus *self)
{
    self->looked_at_log_bytes = self->log_bytes;
    timer_start(self->snapshot_rest, SNAPSHOT_QUIET_MS);
}

/* Due, but the last one was a moment ago: the timer comes back to it. */
static bool rests(struct consensus *self)
{
    if (has_rested(self)) {
        return false;
    }
    if (!timer_is_active(self->snapshot_rest)) {
        look_again(self);
    }
    return true;
}

/* Not while this node is behind: then a snapshot of the leader's may come (rule 7). */
static bool is_ready(const struct consensus *self)
{
    return self->state == CONSENSUS_LEADING || self->state == CONSENSUS_DISK_FULL ||
           (self->state == CONSENSUS_FOLLOWING &&
            raft_last_applied((struct raft *)&self->raft) ==
                raft_commit_index((struct raft *)&self->raft));
}

void snapshot_on_rested(void *owner)
{
    struct consensus *self = owner;

    if (!is_ready(self) || !is_due(self)) {
        return;
    }
    if (has_rested(self) || self->log_bytes == self->looked_at_log_bytes) {
        consensus_snapshot_soon(self);
    } else {
        look_again(self);
    }
}

/* What stays of the log behind a snapshot, for followers that are a little behind: in entries, as
 * libraft counts, but bounded in bytes, for it stands in memory. */
static unsigned trailing_entries(const struct consensus *self)
{
    uint64_t entries = self->logged_entries > 0 ? self->logged_entries : 1;
    uint64_t fitting = TRAILING_BYTES_MAX / (self->log_bytes / entries + 1);

    return !self->has_others ? TRAILING_ALONE
                             : (unsigned)CLAMP(fitting, TRAILING_LEAST, TRAILING_MOST);
}

/* libraft takes one as soon as it looks. */
static void arm(struct consensus *self)
{
    raft_set_snapshot_trailing(&self->raft, trailing_entries(self));
    raft_set_snapshot_threshold(&self->raft, 1);
}

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result)
{
    struct consensus *self = fsm->data;
    uint64_t index = raft_last_applied(&self->raft) + 1;
    struct bytes entry = {buffer->base, buffer->len};
    struct bytes content;
    uint64_t own_index;

    *result = NULL;
    if (self->state == CONSENSUS_FAILED) {
        return RAFT_SHUTDOWN;
    }
    if (entry_prefix_read(entry, &content, &own_index) != ENTRY_FINE || own_index != index ||
        content.length < CONSENSUS_GROUP_HEADER_BYTES) {
        consensus_fail(self, "entry %" PRIu64 " of the log cannot be read", index);
        return RAFT_CORRUPT;
    }
    self->log_bytes += buffer->len + ENTRY_OVERHEAD_BYTES;
    self->logged_entries++;
    self->events->on_apply(self->owner, index, content);
    group_applied(self, content.at);
    if (self->state != CONSENSUS_LOADING && !self->writing.is_active && is_due(self) &&
        !rests(self)) {
        arm(self);
    }
    return 0;
}

static void refuse(struct consensus *self)
{
    raft_set_snapshot_threshold(&self->raft, THRESHOLD_NEVER);
    self->refused_log_bytes = self->log_bytes + RETRY_LOG_BYTES;
}

static void pieces_release(struct consensus_snapshot *pieces)
{
    if (pieces->release) {
        pieces->release(pieces->release_owner);
    }
}

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *buffers[], unsigned *count)
{
    struct consensus *self = fsm->data;
    struct snapshot_writing *writing = &self->writing;
    struct consensus_snapshot pieces = {0};
    struct checksum checksum;
    uint64_t length = 0;

    raft_set_snapshot_threshold(&self->raft, THRESHOLD_NEVER);
    if (!is_ready(self) || writing->is_active) {
        return RAFT_BUSY; /* rule 7 */
    }
    if (self->events->on_snapshot(self->owner, &pieces) < 0) {
        refuse(self);
        return RAFT_BUSY;
    }
    checksum_init(&checksum);
    for (uint32_t i = 0; i < pieces.count; i++) {
        length += pieces.pieces[i].length;
        checksum_add(&checksum, pieces.pieces[i].base, pieces.pieces[i].length);
    }
    if (length > CONSENSUS_SNAPSHOT_BYTES_MAX) {
        log_error("the state is too large for a snapshot", "bytes=%" PRIu64 " bytes_max=%llu",
                  length, CONSENSUS_SNAPSHOT_BYTES_MAX);
        pieces_release(&pieces);
        refuse(self);
        return RAFT_TOOBIG;
    }
    self->snapshot_begun_ms = loop_now_ms(self->loop);
    *writing = (struct snapshot_writing){
        .is_active = true,
        .pieces = pieces,
        .buffers = g_new(struct raft_buffer, pieces.count + 1),
        .header = g_malloc(SNAPSHOT_HEADER_BYTES),
        .index = raft_last_applied(&self->raft),
        .bytes = length + SNAPSHOT_HEADER_BYTES,
        .log_bytes = self->log_bytes,
        .entries = self->logged_entries,
    };
    snapshot_header_write(writing->header, length, checksum_value(&checksum));
    writing->buffers[0] = (struct raft_buffer){writing->header, SNAPSHOT_HEADER_BYTES};
    for (uint32_t i = 0; i < pieces.count; i++) {
        writing->buffers[i + 1] =
            (struct raft_buffer){(void *)pieces.pieces[i].base, pieces.pieces[i].length};
    }
    *buffers = writing->buffers;
    *count = pieces.count + 1;
    return 0;
}

/* libraft no longer reads the pieces; whether the snapshot is there is seen at the end of the turn.
 */
static int on_finalize(struct raft_fsm *fsm, struct raft_buffer *buffers[], unsigned *count)
{
    struct consensus *self = fsm->data;
    struct snapshot_writing *writing = &self->writing;

    pieces_release(&writing->pieces);
    g_clear_pointer(&writing->buffers, g_free);
    g_clear_pointer(&writing->header, g_free);
    writing->is_active = false;
    *buffers = NULL;
    *count = 0;
    consensus_schedule(self);
    return 0;
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    struct consensus *self = fsm->data;
    struct bytes file = {buffer->base, buffer->len};
    struct bytes content;
    GError *error = NULL;

    if (snapshot_verify(file, &content, &error) < 0 ||
        self->events->on_restore(self->owner, content, &error) < 0) {
        error = error ? error
                      : g_error_new_literal(CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED,
                                            "the snapshot cannot be read");
        if (self->state != CONSENSUS_LOADING) {
            consensus_fail(self, "a snapshot of the leader cannot be taken: %s", error->message);
        }
        g_clear_error(&self->restore_error);
        self->restore_error = error;
        return RAFT_CORRUPT;
    }
    self->snapshot_bytes = buffer->len;
    if (self->state != CONSENSUS_LOADING) { /* it was behind, and got the leader's */
        log_info("snapshot of the leader taken", "bytes=%zu", buffer->len);
        self->log_bytes = self->logged_entries = 0;
        self->snapshot_index = self->raft.trail.snapshot.index;
        configuration_forget(self);
        group_send_anew(self);
    }
    raft_free(buffer->base);
    return 0;
}

void snapshot_init(struct consensus *self)
{
    self->fsm = (struct raft_fsm){
        .version = 2,
        .data = self,
        .apply = on_apply,
        .snapshot = on_snapshot,
        .restore = on_restore,
        .snapshot_finalize = on_finalize,
    };
    if (self->snapshot_log_bytes == 0) {
        self->snapshot_log_bytes = SNAPSHOT_LOG_BYTES_DEFAULT;
    }
}

void snapshot_arm(struct consensus *self)
{
    raft_set_snapshot_threshold(&self->raft, THRESHOLD_NEVER);
    raft_set_snapshot_trailing(&self->raft, TRAILING_ALONE);
}

bool snapshot_take(struct consensus *self)
{
    if (!self->writing.is_active) {
        /* A tick writes nothing with one voter; it only makes libraft look. */
        arm(self);
        leadership_let_tick(self);
        raft_set_snapshot_threshold(&self->raft, THRESHOLD_NEVER);
    }
    return self->writing.is_active;
}

bool snapshot_is_worthwhile_at_stop(const struct consensus *self)
{
    return is_ready(self) && self->log_bytes > STOP_LOG_BYTES_MIN &&
           self->log_bytes > self->snapshot_bytes / 4;
}

void snapshot_turn(struct consensus *self)
{
    struct snapshot_writing *writing = &self->writing;

    if (writing->is_active) {
        return;
    }
    if (writing->index != 0) {
        if (self->raft.trail.snapshot.index >= writing->index) {
            self->snapshot_index = writing->index;
            self->snapshot_bytes = writing->bytes;
            self->log_bytes -= MIN(writing->log_bytes, self->log_bytes);
            self->logged_entries -= MIN(writing->entries, self->logged_entries);
            self->refused_log_bytes = 0;
            malloc_trim(0); /* the log that was in memory */
        } else if (self->stop_stage == STOP_NOT) {
            log_warning("a snapshot could not be written", "directory=%s error=\"%s\"",
                        self->directory, self->io.errmsg);
            refuse(self);
        }
        writing->index = 0;
        /* What came meanwhile: perhaps nothing more is applied that would look. */
        self->is_snapshot_asked |= is_due(self) && !rests(self);
    }
    if (self->is_snapshot_asked && is_ready(self) && self->stop_stage == STOP_NOT) {
        self->is_snapshot_asked = false;
        snapshot_take(self);
    }
}

void consensus_snapshot_soon(struct consensus *self)
{
    self->is_snapshot_asked = true;
    consensus_schedule(self);
}

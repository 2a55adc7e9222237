/* Group commit. Happy path: append puts records into the current group; at the end of the turn the
 * groups are given to libraft, oldest first, while fewer than CONSENSUS_IN_FLIGHT_MAX entries are
 * on their way; when one is applied there is room for the next. So a lone record leaves at the end
 * of its turn, and under load all that arrives while the disk is busy goes out together.
 *
 * Failures: no room on the disk (RAFT_NOSPACE): while a new segment is merely late, groups wait;
 * when allocating one has failed, all that was not submitted is refused with -ENOSPC and the state
 * is CONSENSUS_DISK_FULL until there is room. Entries in flight are kept by libraft and go on then.
 * Anything else that libraft refuses is fatal. */
#include "consensus/engine.h"

#include "base/log.h"
#include "consensus/entry.h"
#include "loop/loop.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#define GROUP_PREFIX_BYTES (ENTRY_PREFIX_BYTES + CONSENSUS_GROUP_HEADER_BYTES)
#define GROUP_CAPACITY_MIN 1024
/* How soon to look again: for a segment that is being allocated, for a disk that is full. */
#define SEGMENT_LATE_MS 10
#define DISK_FULL_MS    500
/* libraft's own threshold, in KiB: below it it refuses (rule 11). */
#define CAPACITY_MIN_KIB 4096
/* Free bytes on a disk that is worth another try. */
#define DISK_FREE_MIN (24ull * 1024 * 1024)

static_assert(GROUP_PREFIX_BYTES % ENTRY_ALIGNMENT == 0, "entries are aligned");
static_assert(CONSENSUS_RECORD_BYTES_MAX + GROUP_CAPACITY_MIN < 8 * 1024 * 1024,
              "a record fits into a segment");

static size_t align_up(size_t length)
{
    return (length + ENTRY_ALIGNMENT - 1) / ENTRY_ALIGNMENT * ENTRY_ALIGNMENT;
}

static struct group *group_new(struct consensus *self, size_t record_bytes)
{
    struct group *group = g_new0(struct group, 1);
    size_t needed = align_up(GROUP_PREFIX_BYTES + record_bytes);

    group->consensus = self;
    group->capacity = needed > GROUP_CAPACITY_MIN ? needed : GROUP_CAPACITY_MIN;
    group->buffer = raft_malloc(group->capacity);
    if (!group->buffer) {
        g_error("out of memory");
    }
    group->length = GROUP_PREFIX_BYTES;
    return group;
}

static void group_free(struct group *group)
{
    raft_free(group->buffer);
    g_free(group);
}

static void group_reserve(struct group *group, size_t length)
{
    size_t needed = align_up(group->length + length);
    if (needed <= group->capacity) {
        return;
    }
    size_t doubled = group->capacity * 2;
    group->capacity = needed > doubled ? needed : doubled;
    group->buffer = raft_realloc(group->buffer, group->capacity);
    if (!group->buffer) {
        g_error("out of memory");
    }
}

static int append_check(const struct consensus *self, size_t length)
{
    if (length == 0 || length > CONSENSUS_RECORD_BYTES_MAX) {
        return -EMSGSIZE;
    }
    if (self->state == CONSENSUS_DISK_FULL) {
        return -ENOSPC;
    }
    if (self->state != CONSENSUS_LEADING || self->stop_stage != STOP_NOT) {
        return -ENOTCONN;
    }
    return self->pending_bytes + length > CONSENSUS_PENDING_BYTES_MAX ? -EAGAIN : 0;
}

uint8_t *consensus_append(struct consensus *self, size_t length, int *error)
{
    int r = append_check(self, length);
    if (r < 0) {
        if (error) {
            *error = r;
        }
        return NULL;
    }
    if (self->current && self->current->length + length > CONSENSUS_GROUP_BYTES_MAX) {
        g_queue_push_tail(&self->waiting, TAKE(self->current));
    }
    if (!self->current) {
        self->current = group_new(self, length);
        self->events->on_group_begin(self->owner, self->current->header);
    }
    struct group *group = self->current;
    group_reserve(group, length);
    uint8_t *room = group->buffer + group->length;
    group->length += length;
    group->record_bytes += length;
    self->pending_bytes += length;
    consensus_schedule(self);
    return room;
}

size_t consensus_pending_bytes(const struct consensus *self)
{
    return self->pending_bytes;
}

/* libraft is done with it, after apply or, at the end, without. */
static void on_request_done(struct raft_apply *request, int status, void *result)
{
    struct group *group = request->data;
    struct consensus *self = group->consensus;

    self->requests--;
    if (status != 0) {
        g_queue_remove(&self->in_flight, group);
        if (!self->is_cancel_announced && !self->is_orphan) {
            self->is_cancel_announced = true;
            self->events->on_group_failed(self->owner, group->header, -ECANCELED);
        }
    }
    group_free(group);
    consensus_schedule(self);
}

static int group_submit(struct consensus *self, struct group *group)
{
    struct raft_buffer buffer = {group->buffer, align_up(group->length)};

    group->index = raft_last_index(&self->raft) + 1;
    group->request.data = group;
    entry_prefix_write(group->buffer, (uint32_t)(group->length - ENTRY_PREFIX_BYTES), group->index);
    memcpy(group->buffer + ENTRY_PREFIX_BYTES, group->header, sizeof group->header);
    memset(group->buffer + group->length, 0, buffer.len - group->length);
    int r = raft_apply(&self->raft, &group->request, &buffer, 1, on_request_done);
    if (r == 0) {
        group->buffer = NULL;
        self->requests++;
        self->in_flight_bytes += group->length;
        g_queue_push_tail(&self->in_flight, group);
    }
    return r;
}

void group_applied(struct consensus *self, uint64_t index)
{
    struct group *group = g_queue_peek_head(&self->in_flight);

    if (group && group->index == index) {
        g_queue_pop_head(&self->in_flight);
        self->in_flight_bytes -= group->length;
        self->pending_bytes -= group->record_bytes;
        consensus_schedule(self);
    }
}

void group_refuse_all(struct consensus *self, int error)
{
    if (self->current) {
        g_queue_push_tail(&self->waiting, TAKE(self->current));
    }
    GQueue refused = self->waiting;
    g_queue_init(&self->waiting);
    struct group *first = g_queue_peek_head(&refused);
    if (!first) {
        return;
    }
    uint8_t header[CONSENSUS_GROUP_HEADER_BYTES];
    memcpy(header, first->header, sizeof header);
    struct group *group;
    while ((group = g_queue_pop_head(&refused)) != NULL) {
        self->pending_bytes -= group->record_bytes;
        group_free(group);
    }
    self->events->on_group_failed(self->owner, header, error);
}

/* libraft has too little room prepared for more entries. */
static void on_no_space(struct consensus *self)
{
    if (!self->is_allocation_failing && self->io.capacity > 0) {
        timer_start(self->retry, SEGMENT_LATE_MS);
        return;
    }
    log_warning("the disk is full: writes are refused", "directory=%s", self->directory);
    consensus_set_state(self, CONSENSUS_DISK_FULL);
    group_refuse_all(self, -ENOSPC);
    timer_start(self->retry, DISK_FULL_MS);
}

static bool may_submit(const struct consensus *self)
{
    bool is_room = self->in_flight.length < CONSENSUS_IN_FLIGHT_MAX &&
                   self->in_flight_bytes < CONSENSUS_IN_FLIGHT_BYTES_MAX;
    return self->state == CONSENSUS_LEADING && (is_room || self->in_flight.length == 0);
}

void group_submit_all(struct consensus *self)
{
    while (may_submit(self)) {
        bool is_current = g_queue_is_empty(&self->waiting);
        struct group *group = is_current ? self->current : g_queue_peek_head(&self->waiting);
        if (!group) {
            return;
        }
        int r = group_submit(self, group);
        if (r == RAFT_NOSPACE) {
            on_no_space(self);
            return;
        }
        if (r != 0) {
            consensus_fail(self, "the log refused an entry: %s", raft_strerror(r));
            return;
        }
        if (is_current) {
            self->current = NULL;
        } else {
            g_queue_pop_head(&self->waiting);
        }
    }
}

bool group_is_idle(const struct consensus *self)
{
    return !self->current && self->waiting.length == 0 && self->in_flight.length == 0 &&
           self->requests == 0;
}

struct barrier {
    struct raft_barrier request;
    struct consensus *consensus;
    raft_barrier_cb done; /* or NULL */
};

static void on_barrier_done(struct raft_barrier *request, int status)
{
    struct barrier *barrier = request->data;
    struct consensus *self = barrier->consensus;

    self->requests--;
    if (barrier->done) {
        request->data = self;
        barrier->done(request, status);
    }
    g_free(barrier);
    consensus_schedule(self);
}

int group_barrier(struct consensus *self, raft_barrier_cb done)
{
    struct barrier *barrier = g_new0(struct barrier, 1);
    barrier->consensus = self;
    barrier->done = done;
    barrier->request.data = barrier;
    int r = raft_barrier(&self->raft, &barrier->request, on_barrier_done);
    if (r != 0) {
        g_free(barrier);
        return r;
    }
    self->requests++;
    return 0;
}

static bool has_free_bytes(const struct consensus *self)
{
    struct statvfs disk;
    return statvfs(self->directory, &disk) == 0 &&
           (uint64_t)disk.f_bavail * disk.f_frsize >= DISK_FREE_MIN;
}

/* libraft prepares segments only when it needs one; when it could not prepare any at start, it
 * would refuse for ever. An entry that it must take makes it try. */
static void provoke_allocation(struct consensus *self)
{
    raft_set_capacity_threshold(&self->raft, 0);
    int r = group_barrier(self, NULL);
    raft_set_capacity_threshold(&self->raft, CAPACITY_MIN_KIB);
    if (r != 0) {
        consensus_fail(self, "the log refused an entry: %s", raft_strerror(r));
    }
}

void group_on_retry(void *owner)
{
    struct consensus *self = owner;

    if (self->state == CONSENSUS_DISK_FULL) {
        if (self->io.capacity >= CAPACITY_MIN_KIB) {
            log_info("there is room on the disk again", "directory=%s", self->directory);
            self->is_allocation_failing = false;
            consensus_set_state(self, CONSENSUS_LEADING);
        } else {
            if (self->io.capacity == 0 && self->requests == 0 && has_free_bytes(self)) {
                provoke_allocation(self);
            }
            timer_start(self->retry, DISK_FULL_MS);
        }
    }
    consensus_schedule(self);
}

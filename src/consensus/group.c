/* Group commit. Happy path: append puts records into the current group; at the end of the turn the
 * groups go out, oldest first: to libraft when this node leads, else over the link to the leader,
 * while fewer than CONSENSUS_IN_FLIGHT_MAX entries are on their way; when one is applied there is
 * room for the next. So a lone record leaves at the end of its turn, and under load all that
 * arrives while the disk is busy goes out together.
 *
 * A group stays with its origin until it has been seen applied: whoever had it may lose it (a
 * leader that is deposed, a link that breaks). Then all that were not applied go out anew, oldest
 * first, to the leader of now; whoever applies them knows again what he has applied before.
 *
 * Failures: no room on the disk (RAFT_NOSPACE): while a new segment is merely late, groups wait;
 * when allocating one has failed, all that was not submitted is refused with -ENOSPC and the state
 * is CONSENSUS_DISK_FULL until there is room. Entries in flight are kept by libraft and go on then.
 * No leader for write_wait_ms: all that waits is refused with -ETIMEDOUT. Anything else that
 * libraft refuses is fatal. */
#include "consensus/engine.h"
#include "consensus/members.h"
#include "consensus/segment.h"
#include "consensus/transport.h"

#include "base/log.h"
#include "consensus/entry.h"
#include "loop/loop.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#define GROUP_PREFIX_BYTES (ENTRY_PREFIX_BYTES + CONSENSUS_GROUP_HEADER_BYTES)
#define GROUP_CAPACITY_MIN 1024
/* Groups of others that wait here: each origin has at most CONSENSUS_IN_FLIGHT_BYTES_MAX, or one
 * record, on the way. */
#define FOREIGN_BYTES_MAX (64 * 1024 * 1024)
/* All records of a group have one time, that of its beginning: where nobody leads it would be
 * filled for seconds, and what ended at last would have ended at first. */
#define GROUP_AGE_MS 1000
/* How soon to look again: for a segment that is being allocated, for a disk that is full. */
#define SEGMENT_LATE_MS 10
#define DISK_FULL_MS    500
/* Free bytes on a disk that is worth another try. */
#define DISK_FREE_MIN (24ull * 1024 * 1024)

static_assert(GROUP_PREFIX_BYTES % ENTRY_ALIGNMENT == 0, "entries are aligned");
static_assert(CONSENSUS_RECORD_BYTES_MAX + GROUP_CAPACITY_MIN < CAPACITY_MIN_KIB * 1024 &&
                  CAPACITY_MIN_KIB * 1024 < SEGMENT_BYTES_SMALL,
              "a record fits into a segment");

static size_t align_up(size_t length)
{
    return (length + ENTRY_ALIGNMENT - 1) / ENTRY_ALIGNMENT * ENTRY_ALIGNMENT;
}

static struct group *group_new(const struct consensus *self, size_t record_bytes)
{
    struct group *group = g_new0(struct group, 1);
    size_t needed = align_up(GROUP_PREFIX_BYTES + record_bytes);

    group->begun_ms = loop_now_ms(self->loop);
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
    bool is_open = self->state == CONSENSUS_LEADING || self->state == CONSENSUS_FOLLOWING ||
                   self->state == CONSENSUS_ELECTING;
    if (!is_open || self->stop_stage != STOP_NOT) {
        return -ENOTCONN;
    }
    return self->pending_bytes + length > CONSENSUS_PENDING_BYTES_MAX ? -EAGAIN : 0;
}

static void close_current(struct consensus *self)
{
    struct group *group = self->current;
    if (group) {
        memcpy(group->buffer + ENTRY_PREFIX_BYTES, group->header, sizeof group->header);
        g_queue_push_tail(&self->own, TAKE(self->current));
    }
}

static bool has_room(const struct consensus *self, size_t length)
{
    const struct group *group = self->current;

    return group->length + length <= CONSENSUS_GROUP_BYTES_MAX &&
           loop_now_ms(self->loop) < group->begun_ms + GROUP_AGE_MS;
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
    if (self->current && !has_room(self, length)) {
        close_current(self);
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

/* ---- to libraft ---- */

struct submission {
    struct raft_apply request;
    struct consensus *consensus;
    size_t length;
};

/* Applied, or (status) this node has been deposed: then the group's origin sends it anew. */
static void on_request_done(struct raft_apply *request, int status, void *result)
{
    struct submission *submission = request->data;
    struct consensus *self = submission->consensus;

    self->requests--;
    self->entries_in_flight--;
    self->in_flight_bytes -= submission->length;
    g_free(submission);
    consensus_schedule(self);
}

/* libraft gets the buffer; with other nodes a group of our own keeps a copy. 0, or a RAFT_ error
 * and nothing has happened. */
static int submit(struct consensus *self, struct group *group, bool keeps_copy)
{
    struct raft_buffer buffer = {group->buffer, align_up(group->length)};
    struct submission *submission = g_new0(struct submission, 1);

    if (keeps_copy) {
        buffer.base = raft_malloc(buffer.len);
        if (!buffer.base) {
            g_error("out of memory");
        }
        memcpy(buffer.base, group->buffer, group->length);
    }
    submission->request.data = submission;
    submission->consensus = self;
    submission->length = group->length;
    entry_prefix_write(buffer.base, (uint32_t)(group->length - ENTRY_PREFIX_BYTES),
                       raft_last_index(&self->raft) + 1);
    memset((uint8_t *)buffer.base + group->length, 0, buffer.len - group->length);
    int r = raft_apply(&self->raft, &submission->request, &buffer, 1, on_request_done);
    if (r != 0) {
        if (keeps_copy) {
            raft_free(buffer.base);
        }
        g_free(submission);
        return r;
    }
    group->buffer = keeps_copy ? group->buffer : NULL;
    self->requests++;
    self->entries_in_flight++;
    self->in_flight_bytes += group->length;
    return 0;
}

void group_applied(struct consensus *self, const uint8_t *header)
{
    GList *link = self->own.head;

    while (link && memcmp(((struct group *)link->data)->header, header,
                          CONSENSUS_GROUP_HEADER_BYTES) != 0) {
        struct group *other = link->data;
        link = other->is_sent ? link->next : NULL; /* what nobody has cannot be it */
    }
    if (!link) {
        return;
    }
    const struct group *applied = link->data;
    bool is_applied = false;
    while (
        !is_applied) { /* those before it were lost, and a later one overtook them: over as well */
        struct group *group = g_queue_pop_head(&self->own);
        is_applied = group == applied;
        if (group->is_sent && self->forwarded > 0) {
            self->forwarded--;
            self->forwarded_bytes -= group->length;
        }
        self->pending_bytes -= group->record_bytes;
        group_free(group);
    }
    self->own_applied_ms = loop_now_ms(self->loop);
    consensus_schedule(self);
}

void group_refuse_own(struct consensus *self, bool with_sent, int error)
{
    uint8_t header[CONSENSUS_GROUP_HEADER_BYTES];
    bool is_any = false;

    close_current(self);
    while (self->own.length > 0) {
        struct group *group = g_queue_peek_tail(&self->own);
        if (group->is_sent && !with_sent) {
            break;
        }
        g_queue_pop_tail(&self->own);
        memcpy(header, group->header, sizeof header);
        is_any = true;
        self->pending_bytes -= group->record_bytes;
        group_free(group);
    }
    if (with_sent) {
        self->forwarded = 0;
        self->forwarded_bytes = 0;
    }
    if (is_any) {
        self->events->on_group_failed(self->owner, header, error);
    }
}

static bool leads_in(const struct consensus *self, uint64_t term)
{
    struct raft *raft = (struct raft *)&self->raft;
    return raft_state(raft) == RAFT_LEADER && raft_current_term(raft) == term;
}

static void drop_foreign(struct consensus *self)
{
    struct group *group = g_queue_pop_head(&self->foreign);

    self->foreign_bytes -= group->length;
    group_free(group);
}

void group_drop_foreign(struct consensus *self)
{
    while (self->foreign.length > 0) {
        drop_foreign(self);
    }
}

void group_send_anew(struct consensus *self)
{
    const struct group *foreign;

    for (GList *link = self->own.head; link; link = link->next) {
        struct group *group = link->data;
        /* Without its bytes it was given to libraft while nobody else could depose us. */
        group->is_sent = group->is_sent && !group->buffer;
    }
    self->forwarded = 0;
    self->forwarded_bytes = 0;
    self->is_forward_blocked = false;
    /* Those of this term may have come before we noticed that we lead. */
    while ((foreign = g_queue_peek_head(&self->foreign)) != NULL &&
           !leads_in(self, foreign->term)) {
        drop_foreign(self);
    }
    consensus_schedule(self);
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
    group_refuse_own(self, false, -ENOSPC);
    timer_start(self->retry, DISK_FULL_MS);
}

static struct group *first_unsent(const struct consensus *self)
{
    GList *link = self->own.head;
    while (link && ((struct group *)link->data)->is_sent) {
        link = link->next;
    }
    return link ? link->data : NULL;
}

static struct group *next_for_libraft(struct consensus *self)
{
    struct group *own = first_unsent(self);
    struct group *foreign = g_queue_peek_head(&self->foreign);
    bool is_foreign = foreign && (!own || self->is_foreign_next);

    self->is_foreign_next = !is_foreign; /* in turns */
    return is_foreign ? foreign : own;
}

/* libraft's refusal of one entry. */
static void on_refusal(struct consensus *self, int r)
{
    if (r == RAFT_NOSPACE) {
        on_no_space(self);
    } else if (r == RAFT_NOTLEADER) {
        timer_start(self->retry, SEGMENT_LATE_MS); /* leadership is being handed over */
    } else {
        consensus_fail(self, "the log refused an entry: %s", raft_strerror(r));
    }
}

static void submit_all(struct consensus *self)
{
    while (
        self->state == CONSENSUS_LEADING &&
        (self->entries_in_flight == 0 || (self->entries_in_flight < CONSENSUS_IN_FLIGHT_MAX &&
                                          self->in_flight_bytes < CONSENSUS_IN_FLIGHT_BYTES_MAX))) {
        if (!first_unsent(self)) {
            close_current(self);
        }
        struct group *group = next_for_libraft(self);
        if (!group) {
            return;
        }
        bool is_foreign = group == g_queue_peek_head(&self->foreign);
        int r = submit(self, group, !is_foreign && self->has_others);
        if (r != 0) {
            on_refusal(self, r);
            return;
        }
        group->is_sent = true;
        if (is_foreign) {
            drop_foreign(self);
        }
    }
}

/* ---- to the leader ---- */

static void forward_all(struct consensus *self)
{
    while (self->state == CONSENSUS_FOLLOWING && !self->is_forward_blocked &&
           (self->forwarded == 0 || (self->forwarded < CONSENSUS_IN_FLIGHT_MAX &&
                                     self->forwarded_bytes < CONSENSUS_IN_FLIGHT_BYTES_MAX))) {
        if (!first_unsent(self)) {
            close_current(self);
        }
        struct group *group = first_unsent(self);
        if (!group) {
            return;
        }
        struct bytes content = {group->buffer + ENTRY_PREFIX_BYTES,
                                group->length - ENTRY_PREFIX_BYTES};
        int r = self->network->forward(self->network->owner, self->leader_id, self->leader_term,
                                       content);
        if (r < 0) {
            self->is_forward_blocked = true;
            return;
        }
        group->is_sent = true;
        self->forwarded++;
        self->forwarded_bytes += group->length;
    }
}

void consensus_reachable(struct consensus *self, uint64_t node_id)
{
    transport_probe(self, node_id);
    beats_check_soon(self); /* it may have missed what was told to all */
    if (node_id == self->leader_id && !self->is_leader) {
        group_send_anew(self);
    }
}

void consensus_network_writable(struct consensus *self)
{
    self->is_forward_blocked = false;
    consensus_schedule(self);
}

int consensus_receive(struct consensus *self, uint64_t term, struct bytes content)
{
    if (content.length < CONSENSUS_GROUP_HEADER_BYTES ||
        content.length > CONSENSUS_RECORD_BYTES_MAX + CONSENSUS_GROUP_HEADER_BYTES) {
        return -EBADMSG;
    }
    if (!self->is_engine_open || self->stop_stage != STOP_NOT || !leads_in(self, term)) {
        return -ENOTCONN;
    }
    if (self->foreign_bytes + content.length > FOREIGN_BYTES_MAX) {
        return -ENOBUFS;
    }
    struct group *group = group_new(self, content.length - CONSENSUS_GROUP_HEADER_BYTES);
    memcpy(group->buffer + ENTRY_PREFIX_BYTES, content.at, content.length);
    memcpy(group->header, content.at, sizeof group->header);
    group->length = ENTRY_PREFIX_BYTES + content.length;
    group->term = term;
    g_queue_push_tail(&self->foreign, group);
    self->foreign_bytes += group->length;
    consensus_schedule(self);
    return 0;
}

/* ---- both ---- */

void group_submit_all(struct consensus *self)
{
    submit_all(self);
    forward_all(self);
    bool is_waiting = self->own.length > 0 || self->current;
    if (is_waiting && self->has_others && !timer_is_active(self->patience)) {
        timer_start(self->patience, self->write_wait_ms);
    }
}

/* Runs out again and again while writes are busy; what counts is for how long nothing of what waits
 * went on. On a slow disk the last of many may wait for longer, and is not refused. */
void group_on_patience(void *owner)
{
    struct consensus *self = owner;
    const struct group *oldest = g_queue_peek_head(&self->own);
    uint64_t now_ms = loop_now_ms(self->loop);

    oldest = oldest ? oldest : self->current;
    if (!oldest) {
        return;
    }
    uint64_t end_ms = MAX(oldest->begun_ms, self->own_applied_ms) + self->write_wait_ms;
    if (end_ms > now_ms) {
        timer_start(self->patience, end_ms - now_ms);
        return;
    }
    log_warning("no leader took what was written: it is refused", "directory=%s", self->directory);
    group_refuse_own(self, true, -ETIMEDOUT);
}

bool group_is_idle(const struct consensus *self)
{
    return !self->current && self->own.length == 0 && self->foreign.length == 0 &&
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

/* Life of the log: new looks at the files and locks them, start lets libraft load them (snapshot,
 * then every entry, inside the call), stop drains, snapshots, closes.
 *
 *   STOPPED --start--> LOADING --> ELECTING, LEADING, FOLLOWING (leadership.c), DISK_FULL (group.c)
 *                         |           |--consensus_fail--> FAILED
 *                         '--------> (start failed) --> STOPPED
 *   any --stop--> draining --> snapshot --> closing --> STOPPED, `done`
 *
 * Failures: a write that the disk refuses is retried by libraft with the wrong timer (its callback
 * then reads a wrong struct), so the tracer tells us of it first and we end: disk errors are
 * fail-stop (rule 10). */
#include "consensus/engine.h"

#include "base/log.h"
#include "consensus/segment.h"
#include "consensus/transport.h"
#include "loop/loop.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* libraft's retry of what failed for want of space. */
#define DISK_RETRY_MS 500
/* A stop that takes longer gives up finishing. */
#define STOP_MS_MAX 5000
/* The ticks that count come from leadership.c. */
#define TICK_OF_LIBRAFT_MS (24u * 3600 * 1000)
/* More log than this on disk stays in memory, file by file, until a snapshot lets go of it. */
#define START_LOG_BYTES_MAX (256 * 1024)

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)
#define ENGINE_NAME                                                                                \
    "libraft " STRINGIFY(RAFT_VERSION_MAJOR) "." STRINGIFY(RAFT_VERSION_MINOR) "." STRINGIFY(      \
        RAFT_VERSION_RELEASE)

GQuark consensus_error_quark(void)
{
    return g_quark_from_static_string("consensus-error");
}

const char *consensus_state_to_string(enum consensus_state state)
{
    static const char *const names[] = {"stopped",   "loading",  "leading", "following",
                                        "disk_full", "electing", "failed"};
    assert((unsigned)state < G_N_ELEMENTS(names));
    return names[state];
}

void consensus_schedule(struct consensus *self)
{
    if (!self->is_orphan) {
        deferred_schedule(self->loop, &self->turn);
    }
}

void consensus_set_state(struct consensus *self, enum consensus_state state)
{
    if (self->state != state && (self->state != CONSENSUS_FAILED || state == CONSENSUS_STOPPED)) {
        self->state = state;
        consensus_schedule(self);
    }
}

void consensus_fail(struct consensus *self, const char *format, ...)
{
    if (self->fatal_message) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    self->fatal_message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    consensus_set_state(self, CONSENSUS_FAILED);
}

/* libraft 0.22 forgets that it could not take entries back that another leader has overruled
 * (uv->errored is never read), and writes the new ones behind them: two of one index on the disk, a
 * log that nobody can read any more. So the process ends before it goes on. */
static void on_truncated(struct consensus *self)
{
    if (!self->is_truncated) {
        consensus_fail(self, "%s: entries could not be taken back: is the disk full?",
                       self->directory);
        self->is_fatal_announced = true;
        self->events->on_fatal(self->owner, self->fatal_message);
    }
}

/* libraft tells of what it does only here; what it does to files, on another thread. */
static void on_trace(struct raft_tracer *tracer, int type, const void *info)
{
    struct consensus *self = tracer->impl;
    const struct raft_tracer_info *trace = info;

    if (type != RAFT_TRACER_DIAGNOSTIC) {
        return;
    }
    const char *message = trace->diagnostic.message;
    if (g_str_has_prefix(message, "retry failed write")) {
        consensus_fail(self, "%s: cannot write the log: %s", self->directory, self->io.errmsg);
    } else if (g_str_has_prefix(message, "retry creating segment")) {
        self->is_allocation_failing = true;
    } else if (g_str_has_prefix(message, "completed creation of")) {
        self->is_allocation_failing = false;
    } else if (g_str_has_prefix(message, "set truncate work")) {
        self->is_truncated = false;
    } else if (g_str_has_prefix(message, "uv truncate work cb ok")) {
        self->is_truncated = true;
    } else if (g_str_has_prefix(message, "uv truncate after work cb")) {
        on_truncated(self);
    }
    log_debug("libraft", "message=\"%s\"", message);
}

static int on_start_io(struct raft_io *io, unsigned milliseconds, raft_io_tick_cb tick,
                       raft_io_recv_cb receive)
{
    struct raft *raft = io->data;
    struct consensus *self = raft->fsm->data;
    self->tick = tick;
    self->receive = receive;
    return self->start_io(io, TICK_OF_LIBRAFT_MS, tick, leadership_on_receive);
}

static void destroy(struct consensus *self)
{
    deferred_deinit(&self->turn);
    timer_free(self->retry);
    timer_free(self->snapshot_rest);
    timer_free(self->stop_limit);
    timer_free(self->ticks);
    timer_free(self->patience);
    g_array_unref(self->heard);
    if (self->lock_fd >= 0) {
        close(self->lock_fd);
    }
    configuration_forget(self);
    beats_deinit(self);
    g_clear_error(&self->restore_error);
    g_free(self->fatal_message);
    g_free(self->directory);
    g_free(self->address);
    g_free(self);
}

static void on_closed(struct raft *raft)
{
    struct consensus *self = raft->fsm->data;
    void (*done)(void *owner) = self->stop_done;
    void *owner = self->stop_owner;

    raft_uv_close(&self->io);
    self->is_engine_open = false;
    close(self->lock_fd);
    self->lock_fd = -1;
    self->state = self->announced_state = CONSENSUS_STOPPED;
    if (self->is_orphan) {
        destroy(self);
    } else if (done) {
        done(owner);
    }
}

static void close_engine(struct consensus *self)
{
    self->stop_stage = STOP_CLOSING;
    group_drop_foreign(self);
    members_stop(self);
    timer_stop(self->retry);
    timer_stop(self->stop_limit);
    timer_stop(self->ticks);
    timer_stop(self->patience);
    raft_close(&self->raft, on_closed);
}

static void stop_turn(struct consensus *self)
{
    if (self->stop_stage == STOP_DRAINING) {
        if (self->state == CONSENSUS_LEADING && (!group_is_idle(self) || self->writing.is_active)) {
            return;
        }
        bool is_writing = snapshot_is_worthwhile_at_stop(self) && snapshot_take(self);
        self->stop_stage = is_writing ? STOP_SNAPSHOT : STOP_CLOSING;
    } else if (self->stop_stage == STOP_SNAPSHOT && !self->writing.is_active) {
        self->stop_stage = STOP_CLOSING;
    } else {
        return;
    }
    if (self->stop_stage == STOP_CLOSING) {
        group_refuse_own(self, true, -ECANCELED);
        close_engine(self);
    }
}

/* The end of a turn of the loop in which something happened. */
static void on_turn(void *owner)
{
    struct consensus *self = owner;

    if (self->stop_stage == STOP_CLOSING || !self->is_engine_open) {
        return;
    }
    leadership_turn(self);
    members_turn(self);
    group_submit_all(self);
    snapshot_turn(self);
    if (self->announced_state != self->state) {
        self->announced_state = self->state;
        self->events->on_state(self->owner, self->state);
    }
    if (self->fatal_message && !self->is_fatal_announced) {
        self->is_fatal_announced = true;
        self->events->on_fatal(self->owner, self->fatal_message);
    }
    stop_turn(self);
}

static void on_stop_limit(void *owner)
{
    struct consensus *self = owner;
    log_warning("stopping without waiting for the disk any longer", "directory=%s",
                self->directory);
    group_refuse_own(self, true, -ECANCELED);
    close_engine(self);
}

struct consensus *consensus_new(const struct consensus_options *options, GError **error)
{
    struct directory_report files;

    assert(options->node_id != 0 && options->events && options->loop);
    int lock_fd = directory_lock(options->directory, error);
    if (lock_fd < 0) {
        return NULL;
    }
    enum directory_use use = options->found  ? DIRECTORY_FOUND
                             : options->join ? DIRECTORY_JOIN
                                             : DIRECTORY_EXISTING;
    uint64_t only_voter = options->network ? 0 : options->node_id;
    if (directory_prepare(options->directory, only_voter, use, &files, error) < 0) {
        close(lock_fd);
        return NULL;
    }
    struct consensus *self = g_new0(struct consensus, 1);
    self->loop = options->loop;
    self->directory = g_strdup(options->directory);
    self->address = g_strdup(options->address);
    self->node_id = options->node_id;
    self->snapshot_log_bytes = options->snapshot_log_bytes;
    self->is_small = options->is_small;
    self->events = options->events;
    self->owner = options->owner;
    self->lock_fd = lock_fd;
    self->files = files;
    self->snapshot_index = files.snapshot_index;
    self->retry = timer_new(self->loop, group_on_retry, self);
    self->snapshot_rest = timer_new(self->loop, snapshot_on_rested, self);
    self->stop_limit = timer_new(self->loop, on_stop_limit, self);
    g_queue_init(&self->own);
    g_queue_init(&self->foreign);
    leadership_init(self, options);
    deferred_init(&self->turn, on_turn, self);
    return self;
}

void consensus_free(struct consensus *self)
{
    if (!self) {
        return;
    }
    if (self->is_engine_open) {
        assert(self->stop_stage == STOP_CLOSING);
        self->is_orphan = true;
        return;
    }
    destroy(self);
}

static int engine_fail(GError **error, const struct consensus *self, int r, const char *what,
                       const char *detail)
{
    g_set_error(
        error, CONSENSUS_ERROR, r == RAFT_NOSPACE ? CONSENSUS_ERROR_ACCESS : CONSENSUS_ERROR_ENGINE,
        "%s: %s: %s%s%s", self->directory, what, raft_strerror(r), *detail ? ": " : "", detail);
    return -EIO;
}

static int engine_init(struct consensus *self, GError **error)
{
    transport_init(self);
    self->tracer = (struct raft_tracer){.impl = self, .version = 2, .emit = on_trace};
    int r = raft_uv_init(&self->io, loop_native(self->loop), self->directory, &self->transport);
    if (r != 0) {
        return engine_fail(error, self, r, "cannot open the log", self->io.errmsg);
    }
    raft_uv_set_tracer(&self->io, &self->tracer);
    raft_uv_set_auto_recovery(&self->io, false);
    raft_uv_set_segment_size(&self->io, self->is_small ? SEGMENT_BYTES_SMALL : SEGMENT_BYTES);
    raft_uv_set_disk_retry(&self->io, DISK_RETRY_MS);
    snapshot_send_init(self);
    beats_init(self);
    configuration_init(self);
    votes_init(self);
    snapshot_init(self);
    r = raft_init(&self->raft, &self->io, &self->fsm, self->node_id, self->address);
    if (r != 0) {
        raft_uv_close(&self->io);
        return engine_fail(error, self, r, "cannot open the log", self->io.errmsg);
    }
    raft_set_capacity_threshold(&self->raft, CAPACITY_MIN_KIB);
    self->is_engine_open = true;
    self->raft.tracer = NULL; /* it would format every message for nobody */
    self->start_io = self->io.start;
    self->io.start = on_start_io;
    leadership_start(self);
    snapshot_arm(self);
    return 0;
}

/* This node is the only one: from the beginning, or because the majority is gone for good. */
static int engine_found(struct consensus *self, GError **error)
{
    struct raft_configuration configuration;

    raft_configuration_init(&configuration);
    int r = raft_configuration_add(&configuration, self->node_id, self->address, RAFT_VOTER);
    if (r == 0) {
        r = self->files.is_empty ? raft_bootstrap(&self->raft, &configuration)
                                 : raft_recover(&self->raft, &configuration);
    }
    raft_configuration_close(&configuration);
    return r == 0 ? 0 : engine_fail(error, self, r, "cannot found a cluster", self->io.errmsg);
}

/* The only voter votes for itself once: so the files say whose they are, and that founding was
 * finished. */
static int engine_vote(struct consensus *self, GError **error)
{
    int r = self->io.set_vote(&self->io, self->node_id);
    return r == 0 ? 0 : engine_fail(error, self, r, "cannot found a cluster", self->io.errmsg);
}

static int engine_start(struct consensus *self, GError **error)
{
    int r = raft_start(&self->raft);
    if (self->restore_error) {
        g_propagate_prefixed_error(error, g_steal_pointer(&self->restore_error),
                                   "%s: ", self->directory);
        return -EBADMSG;
    }
    if (r != 0) {
        return engine_fail(error, self, r, "cannot load the log", raft_errmsg(&self->raft));
    }
    if (self->fatal_message) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED, "%s: %s", self->directory,
                    self->fatal_message);
        return -EBADMSG;
    }
    if (!self->network && (raft_state(&self->raft) != RAFT_LEADER ||
                           raft_last_applied(&self->raft) != raft_last_index(&self->raft))) {
        g_set_error(
            error, CONSENSUS_ERROR, CONSENSUS_ERROR_FOREIGN,
            "%s: the log belongs to another cluster, or its term cannot be written: node %" PRIu64
            " is not its only voter (%s)",
            self->directory, self->node_id, raft_errmsg(&self->raft));
        return -EINVAL;
    }
    return 0;
}

static void on_start_barrier(struct raft_barrier *request, int status)
{
    if (status == 0) {
        consensus_snapshot_soon(request->data);
    }
}

int consensus_start(struct consensus *self, GError **error)
{
    assert(!self->is_engine_open && self->state == CONSENSUS_STOPPED);
    int r = engine_init(self, error);
    if (r < 0) {
        return r;
    }
    self->state = self->announced_state = CONSENSUS_LOADING;
    bool is_founding = self->files.is_empty && !self->join;
    r = is_founding || self->rescue ? engine_found(self, error) : 0;
    r = r < 0 || self->files.has_vote || (self->network && !is_founding) ? r
                                                                         : engine_vote(self, error);
    r = r < 0 ? r : engine_start(self, error);
    if (r < 0) {
        close_engine(self);
        return r;
    }
    configuration_start(self);
    leadership_turn(self);
    /* A snapshot behind an entry of this life lets go of the files that libraft has read into
     * memory. */
    if (self->state == CONSENSUS_LEADING && self->files.log_bytes > START_LOG_BYTES_MAX &&
        group_barrier(self, on_start_barrier) != 0) {
        log_debug("no room yet for a snapshot at start", "directory=%s", self->directory);
    }
    return 0;
}

void consensus_stop(struct consensus *self, void (*done)(void *owner), void *owner)
{
    assert(self->is_engine_open && self->stop_stage == STOP_NOT);
    self->stop_stage = STOP_DRAINING;
    self->stop_done = done;
    self->stop_owner = owner;
    timer_start(self->stop_limit, STOP_MS_MAX);
    consensus_schedule(self);
}

void consensus_status(const struct consensus *self, struct consensus_status *status)
{
    struct raft *raft = (struct raft *)&self->raft;
    const char *address;
    raft_id leader = 0;

    *status = (struct consensus_status){
        .state = self->state,
        .node_id = self->node_id,
        .snapshot_index = self->snapshot_index,
        .log_bytes = self->log_bytes,
        .snapshot_bytes = self->snapshot_bytes,
        .in_flight = self->entries_in_flight + self->forwarded,
        .pending_bytes = self->pending_bytes,
        .engine = ENGINE_NAME,
    };
    if (self->is_engine_open) {
        raft_leader(raft, &leader, &address);
        status->leader_id = self->state == CONSENSUS_ELECTING ? self->leader_id : leader;
        status->term = raft_current_term(raft);
        status->commit_index = raft_commit_index(raft);
        status->applied_index = raft_last_applied(raft);
        status->last_index = raft_last_index(raft);
    }
}

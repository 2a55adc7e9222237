/* Who leads, and what that means for writes.
 *
 *   ELECTING: no leader is known or heard; or it had more when we first heard of it than we have
 *   LEADING: libraft leads and all of its log is applied (what it found at its election included)
 *   FOLLOWING: another leads
 *
 * libraft's word is looked at once at the end of each turn in which it did something. Its ticks
 * come from a timer of ours, when it has something to do at one, and only while there are other
 * nodes: alone it never wakes up, and a follower only when its leader is silent.
 */
#include "consensus/engine.h"
#include "consensus/members.h"

#include "base/clock.h"
#include "base/log.h"
#include "consensus/checksum.h"
#include "loop/loop.h"
#include <inttypes.h>
#include <uv.h>

#define ELECTION_DEFAULT_MS 300
/* In tenths of an election timeout: one may be late by seven before anybody elects. The lease
 * (cluster/lease.h) lasts for three quarters, so it outlives one that is late by nearly half. More
 * of them would make an idle cluster dearer, and no surer: TCP delays, it does not lose. */
#define HEARTBEAT_TENTHS 3
/* One without a vote hears its leader once a second (beats.c): three times nothing is silence. */
#define SILENT_TIMES          3
#define SILENT_MS             1000
#define WRITE_WAIT_DEFAULT_MS 10000
/* libraft connects again to a node that is away. */
#define CONNECT_RETRY_MS 250
/* Alone: libraft has nothing to do at its ticks. */
#define HEARTBEAT_ALONE_MS (24u * 3600 * 1000)
#define ELECTION_ALONE_MS  (2 * HEARTBEAT_ALONE_MS)

static uint32_t heartbeat_of(uint32_t election_ms)
{
    return MAX(election_ms * HEARTBEAT_TENTHS / 10, 1);
}

void leadership_init(struct consensus *self, const struct consensus_options *options)
{
    self->other_ms = clock_now_ms();
    self->network = options->network;
    self->join = options->join;
    self->rescue = options->rescue;
    self->election_timeout_ms =
        options->election_timeout_ms ? options->election_timeout_ms : ELECTION_DEFAULT_MS;
    self->heartbeat_ms =
        options->heartbeat_ms ? options->heartbeat_ms : heartbeat_of(self->election_timeout_ms);
    self->write_wait_ms = options->write_wait_ms ? options->write_wait_ms : WRITE_WAIT_DEFAULT_MS;
    self->ticks = timer_new(self->loop, leadership_on_tick, self);
    self->patience = timer_new(self->loop, group_on_patience, self);
    self->heard = g_array_new(FALSE, FALSE, sizeof(struct heard));
}

void consensus_set_timeouts(struct consensus *self, uint32_t election_ms, uint32_t write_wait_ms)
{
    self->election_timeout_ms = election_ms;
    self->heartbeat_ms = heartbeat_of(election_ms);
    self->write_wait_ms = write_wait_ms;
    if (timer_is_active(self->patience)) {
        timer_start(self->patience, 0); /* set for the limit before; it looks anew */
    }
    if (self->is_engine_open && self->has_others) {
        raft_set_heartbeat_timeout(&self->raft, leadership_beat_ms(self));
        raft_set_election_timeout(&self->raft, self->election_timeout_ms);
        consensus_schedule(self);
    }
}

static void on_step(struct raft *raft)
{
    struct consensus *self = raft->fsm->data;
    consensus_schedule(self);
}

void leadership_start(struct consensus *self)
{
    raft_set_election_timeout(&self->raft, ELECTION_ALONE_MS);
    raft_set_heartbeat_timeout(&self->raft, HEARTBEAT_ALONE_MS);
    raft_set_pre_vote(&self->raft, true);
    raft_uv_set_connect_retry_delay(&self->io, CONNECT_RETRY_MS);
    self->raft.legacy.step_cb = on_step;
}

/* ---- libraft's ticks ---- */

/* At a tick it sends to whom it has sent nothing for so long. Half of what lies between two ticks:
 * who got an entry since the last one may be left out once, so nobody waits for longer than one and
 * a half. */
unsigned leadership_beat_ms(const struct consensus *self)
{
    return MAX(self->heartbeat_ms / 2, 1);
}

/* When libraft has something to do if nothing happens before (its time is the loop's): a leader
 * sends heartbeats, a voter elects. An election that cannot begin yet is tried again. */
static uint64_t next_tick_ms(const struct consensus *self)
{
    const struct raft *raft = &self->raft;
    uint64_t again_ms = self->ticked_ms + leadership_beat_ms(self);

    if (raft->state == RAFT_LEADER) {
        return self->ticked_ms + self->heartbeat_ms;
    }
    uint64_t patience_ms = raft->state == RAFT_CANDIDATE
                               ? raft->candidate_state.randomized_election_timeout
                               : raft->follower_state.randomized_election_timeout;
    return MAX(raft->election_timer_start + patience_ms, again_ms);
}

/* libraft takes a follower for unreachable that has not answered since the tick before, and gives
 * it no more entries than one message a tick: it thinks that a tick is a round which all answer,
 * but ours come with commits too, and a round does not ask all (beats.c). So it looks back over an
 * election timeout, after which a leader that no majority has answered gives up. */
void leadership_let_tick(struct consensus *self)
{
    struct raft *raft = &self->raft;

    if (raft->state == RAFT_LEADER) {
        uint64_t now_ms = loop_now_ms(self->loop), back_ms = raft->election_timeout;
        if (self->led_term != raft_current_term(raft)) {
            self->led_term = raft_current_term(raft);
            self->led_ms = raft->election_timer_start;
        }
        raft->election_timer_start = MAX(self->led_ms, now_ms - MIN(now_ms, back_ms));
    }
    votes_before_tick(self);
    self->tick(&self->io);
}

static void plan_tick(struct consensus *self)
{
    uint64_t now_ms = loop_now_ms(self->loop), next_ms = next_tick_ms(self);

    if (!timer_is_active(self->ticks) || next_ms != self->tick_ms) {
        self->tick_ms = next_ms;
        timer_start(self->ticks, next_ms > now_ms ? next_ms - now_ms : 0);
    }
}

void leadership_on_tick(void *owner)
{
    struct consensus *self = owner;

    if (!self->is_engine_open || self->stop_stage == STOP_CLOSING) {
        return;
    }
    self->ticked_ms = loop_now_ms(self->loop);
    beats_round(self);
    plan_tick(self);
    if (self->is_leader && self->network && self->network->on_beats) {
        self->network->on_beats(self->network->owner);
    }
}

/* ---- what comes from others ---- */

/* libraft crashes when a snapshot comes while it takes one of its own (rule 7), and forgets to free
 * one that comes while it installs another. */
static bool drop_snapshot(const struct consensus *self, struct raft_install_snapshot *snapshot)
{
    if (!self->writing.is_active && !self->raft.snapshot.installing) {
        return false;
    }
    raft_configuration_close(&snapshot->conf);
    raft_free(snapshot->data.base);
    return true;
}

/* Entries for places where others stand already, which may have to be taken back: that needs room,
 * and libraft must not try without (consensus.c). */
static bool drop_entries(struct consensus *self, const struct raft_append_entries *append)
{
    bool is_overlap =
        append->n_entries > 0 && append->prev_log_index < raft_last_index(&self->raft);

    if (!is_overlap || directory_has_room(self->directory)) {
        self->is_waiting_for_room &= !is_overlap;
        return false;
    }
    if (!self->is_waiting_for_room) {
        log_warning("the disk is full: what the leader sends has to wait", "directory=%s",
                    self->directory);
        self->is_waiting_for_room = true;
    }
    raft_free(append->entries[0].batch);
    raft_free(append->entries);
    return true;
}

/* The leader sends it again. */
static bool is_dropped(struct consensus *self, struct raft_message *message)
{
    if (message->type == RAFT_APPEND_ENTRIES) {
        return drop_entries(self, &message->append_entries);
    }
    if (message->type == RAFT_TIMEOUT_NOW) {
        return votes_is_alone(self); /* it begins a term at its next tick */
    }
    return message->type == RAFT_INSTALL_SNAPSHOT &&
           drop_snapshot(self, &message->install_snapshot);
}

static void set_heard(struct consensus *self, uint64_t node_id, uint64_t at_ms)
{
    if (self->heard_id != 0 && self->heard_id != node_id) {
        self->other_ms = self->heard_ms;
    }
    self->heard_id = node_id;
    self->heard_term = raft_current_term(&self->raft);
    self->heard_ms = at_ms;
}

/* libraft counts from the beginning of the loop's turn. */
static void note_heard(struct consensus *self, uint64_t node_id)
{
    const char *address;
    raft_id leader_id = 0;

    raft_leader(&self->raft, &leader_id, &address);
    if (leader_id == node_id) {
        uint64_t turn_ms = uv_hrtime() / 1000000 - loop_now_ms(self->loop);
        set_heard(self, node_id, clock_now_ms() - turn_ms);
    }
}

static struct heard *find_heard(const struct consensus *self, uint64_t node_id)
{
    for (guint i = 0; i < self->heard->len; i++) {
        struct heard *heard = &g_array_index(self->heard, struct heard, i);
        if (heard->node_id == node_id) {
            return heard;
        }
    }
    return NULL;
}

static void note_message(struct consensus *self, uint64_t node_id)
{
    struct heard *known = find_heard(self, node_id);
    struct heard now = {node_id, clock_now_ms()};

    if (known) {
        *known = now;
    } else {
        g_array_append_val(self->heard, now);
    }
}

uint64_t leadership_silent_ms(const struct consensus *self, uint64_t node_id)
{
    const struct heard *heard = find_heard(self, node_id);

    if (node_id == self->node_id) {
        return 0;
    }
    return heard ? clock_now_ms() - heard->at_ms : UINT64_MAX;
}

uint64_t consensus_heard_ms(const struct consensus *self)
{
    bool is_current = self->heard_id != 0 && self->heard_id == self->leader_id &&
                      self->heard_term == self->leader_term;

    return is_current ? self->heard_ms : 0;
}

uint64_t consensus_heard_other_ms(const struct consensus *self, uint64_t node_id)
{
    return self->heard_id != 0 && self->heard_id != node_id ? self->heard_ms : self->other_ms;
}

/* All that may be committed is in the log of whoever leads, but one that was just elected does not
 * know yet how far: so what counts is the end of its log, as its first word shows it. */
static void note_end(struct consensus *self, const struct raft_append_entries *first)
{
    raft_index end = first->prev_log_index + first->n_entries;

    if (!self->has_caught_up && (self->heard_end == 0 || first->term > self->heard_end_term)) {
        self->heard_end = MAX(end, first->leader_commit);
        self->heard_end_term = first->term;
    }
}

void leadership_on_receive(struct raft_io *io, struct raft_message *message)
{
    struct raft *raft = io->data;
    struct consensus *self = raft->fsm->data;

    if (message->type == RAFT_APPEND_ENTRIES &&
        message->append_entries.term >= raft_current_term(raft)) {
        note_end(self, &message->append_entries);
    }
    uint64_t node_id = message->server_id;
    note_message(self, node_id);
    if (is_dropped(self, message)) {
        return;
    }
    uint64_t term = message->type == RAFT_APPEND_ENTRIES     ? message->append_entries.term
                    : message->type == RAFT_INSTALL_SNAPSHOT ? message->install_snapshot.term
                                                             : 0;
    if (message->type == RAFT_REQUEST_VOTE) {
        votes_asked(self, message);
    } else {
        self->receive(io, message);
    }
    if (term != 0 && term == raft_current_term(raft)) {
        note_heard(self, node_id);
    }
}

/* ---- the configuration ---- */

static uint64_t digest_of_members(const struct consensus *self)
{
    const struct raft_configuration *configuration = &self->raft.configuration;
    struct checksum checksum;

    checksum_init(&checksum);
    for (unsigned i = 0; i < configuration->n; i++) {
        uint64_t words[] = {configuration->servers[i].id, (uint64_t)configuration->servers[i].role};
        checksum_add(&checksum, words, sizeof words);
    }
    return checksum_value(&checksum);
}

static void look_at_members(struct consensus *self)
{
    bool has_others = self->raft.configuration.n > 1;
    uint64_t digest = digest_of_members(self);

    if (has_others != self->has_others) {
        self->has_others = has_others;
        raft_set_heartbeat_timeout(&self->raft,
                                   has_others ? leadership_beat_ms(self) : HEARTBEAT_ALONE_MS);
        raft_set_election_timeout(&self->raft,
                                  has_others ? self->election_timeout_ms : ELECTION_ALONE_MS);
        if (has_others) {
            leadership_on_tick(self);
        } else {
            timer_stop(self->ticks);
            timer_stop(self->patience);
        }
    }
    if (digest != self->members_digest) {
        self->members_digest = digest;
        if (self->events->on_members) {
            self->events->on_members(self->owner);
        }
    }
}

/* ---- leaders ---- */

static void tell_leader(struct consensus *self, uint64_t leader_id)
{
    uint64_t term = raft_current_term(&self->raft);

    if (leader_id == self->leader_id && (leader_id == 0 || term == self->leader_term)) {
        return;
    }
    self->leader_id = leader_id;
    self->leader_term = term;
    group_send_anew(self);
    if (self->events->on_leader) {
        self->events->on_leader(self->owner, leader_id, term);
    }
}

/* One that does not vote never stands for election, so libraft keeps its last leader for ever. */
static bool is_silent(const struct consensus *self, uint64_t leader_id)
{
    uint64_t each_ms = MAX(SILENT_MS, self->election_timeout_ms);

    return leader_id != 0 && !beats_has_vote(self, self->node_id) && self->heard_id == leader_id &&
           clock_now_ms() > self->heard_ms + SILENT_TIMES * each_ms;
}

static enum consensus_state state_of_follower(struct consensus *self, uint64_t leader_id)
{
    if (leader_id == 0) {
        return CONSENSUS_ELECTING;
    }
    self->has_caught_up |=
        self->heard_end != 0 && raft_last_applied(&self->raft) >= self->heard_end;
    return self->has_caught_up ? CONSENSUS_FOLLOWING : CONSENSUS_ELECTING;
}

/* libraft tells the followers what is committed with the next entry or heartbeat. What nobody
 * writes behind would reach their state only then: so the heartbeat goes out now. */
static void tell_commit(struct consensus *self)
{
    uint64_t commit = self->raft.commit_index;

    if (self->is_leader && self->has_others && self->stop_stage != STOP_CLOSING &&
        commit > self->told_commit && commit == raft_last_index(&self->raft)) {
        self->told_commit = commit;
        raft_set_heartbeat_timeout(&self->raft, 0);
        leadership_let_tick(self);
        raft_set_heartbeat_timeout(&self->raft, leadership_beat_ms(self));
    }
}

void leadership_turn(struct consensus *self)
{
    bool is_leader = raft_state(&self->raft) == RAFT_LEADER;
    const char *address;
    raft_id leader_id = 0;

    if (self->state == CONSENSUS_FAILED || self->state == CONSENSUS_STOPPED) {
        return;
    }
    look_at_members(self);
    raft_leader(&self->raft, &leader_id, &address);
    if (is_leader && !self->is_leader) {
        self->lead_index = raft_last_index(&self->raft);
    }
    if (self->is_leader && !is_leader) {
        set_heard(self, self->node_id, clock_now_ms()); /* until now it was itself */
    }
    self->is_leader = is_leader;
    leader_id = !is_leader && is_silent(self, leader_id) ? 0 : leader_id;
    tell_leader(self, leader_id);
    tell_commit(self);
    if (!is_leader) {
        consensus_set_state(self, state_of_follower(self, leader_id));
    } else if (raft_last_applied(&self->raft) < self->lead_index) {
        consensus_set_state(self, CONSENSUS_ELECTING);
    } else if (self->state != CONSENSUS_DISK_FULL) {
        self->has_caught_up = true;
        consensus_set_state(self, CONSENSUS_LEADING);
    }
    if (self->has_others) {
        plan_tick(self);
    }
}

bool consensus_leader_ended(struct consensus *self)
{
    struct raft_message message = {
        .type = RAFT_TIMEOUT_NOW,
        .server_id = self->leader_id,
        .server_address = "",
        .timeout_now = {.term = raft_current_term(&self->raft)},
    };
    uint64_t index, term;

    if (!self->is_engine_open || self->stop_stage == STOP_CLOSING || self->is_leader ||
        self->leader_id == 0 || votes_is_alone(self)) {
        return false;
    }
    consensus_last_entry(self, &index, &term);
    message.timeout_now.last_log_index = index;
    message.timeout_now.last_log_term = term;
    self->receive(&self->io, &message);
    return raft_state(&self->raft) != RAFT_FOLLOWER;
}

void consensus_last_entry(const struct consensus *self, uint64_t *index, uint64_t *term)
{
    struct raft *raft = (struct raft *)&self->raft;
    const struct raft_trail *trail = &raft->trail;
    bool has_records = trail->records && trail->front != trail->back;

    *index = raft_last_index(raft);
    *term = has_records ? trail->records[(trail->back + trail->size - 1) % trail->size].term
                        : trail->snapshot.term;
}

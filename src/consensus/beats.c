/* Heartbeats, as few and as cheap as may be. libraft's own way costs each of them a hop through a
 * socket pair on both sides, and its owner has more to say to the same node at the same pace (the
 * lease): so a heartbeat that carries nothing new is given to network.beat, and its answer goes
 * back the same way. Who has no vote elects nobody, so it needs none but every OTHERS_MS, to know
 * that there is a leader: in between libraft is answered here, for it would think such a node away,
 * and hold back the next entry.
 *
 *   on_send (leader) --beat--> consensus_beat --> libraft --> on_send (follower) --beat--> ...
 *
 * A round goes to as many voters in turn as make a majority with the leader, so each hears it in
 * every second one; to all as soon as one that was asked has not answered until the next round.
 * Between two rounds commits are told, which needs no answer but what libraft has to know.
 *
 * Only to who has all of the log: a heartbeat that overtakes an entry on the other connection would
 * be refused, and the entry sent again. Every CHECK_MS one round goes to all, libraft's way:
 * otherwise nobody would notice that a connection has died before an entry is lost in it. (Both
 * ends of a node that dies are closed by its owner, so this is for what no end tells.)
 *
 * A frame is 64-bit words, big endian:
 *   BEAT_ASK     term, index and term of the last entry, commit index
 *   BEAT_TELL    the same
 *   BEAT_ANSWER  term, index that was refused (0 = none), last index, version << 32 | features <<
 * 16 | capacity */
#include "consensus/engine.h"
#include "consensus/members.h"

#include "base/clock.h"
#include "loop/loop.h"
#include <string.h>

#define CHECK_MS  3000
#define OTHERS_MS 1000
#define WORDS     5

enum beat_type { BEAT_ASK = 1, BEAT_ANSWER = 2, BEAT_TELL = 3 };

static struct consensus *consensus_of(struct raft_io *io)
{
    const struct raft *raft = io->data;

    return raft->fsm->data;
}

/* ---- sending ---- */

static int send_words(struct consensus *self, uint64_t node_id, const uint64_t words[WORDS])
{
    uint64_t frame[WORDS];

    for (unsigned i = 0; i < WORDS; i++) {
        frame[i] = GUINT64_TO_BE(words[i]);
    }
    return self->network->beat(self->network->owner, node_id,
                               (struct bytes){(const uint8_t *)frame, sizeof frame});
}

static bool has_all(struct consensus *self, const struct raft_message *message)
{
    raft_index last = raft_last_index(&self->raft), match = 0;

    return message->append_entries.n_entries == 0 &&
           message->append_entries.prev_log_index == last &&
           raft_match_index(&self->raft, message->server_id, &match) == 0 && match == last;
}

bool beats_has_vote(const struct consensus *self, uint64_t node_id)
{
    const struct raft_configuration *configuration = &self->raft.configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == node_id) {
            return configuration->servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

/* Who has no vote is left out of a round, and a voter whose turn it is not. What is committed is
 * told outside of the rounds (leadership.c), to all. */
static bool is_left_out(struct consensus *self, uint64_t node_id)
{
    if (!self->beats.is_round || consensus_is_asked(self, node_id)) {
        return false;
    }
    if (!beats_has_vote(self, node_id)) {
        g_array_append_val(self->beats.spared, node_id);
    }
    return true;
}

static bool send_ask(struct consensus *self, const struct raft_message *message)
{
    const struct raft_append_entries *ask = &message->append_entries;
    uint64_t words[] = {self->beats.is_round ? BEAT_ASK : BEAT_TELL, ask->term, ask->prev_log_index,
                        ask->prev_log_term, ask->leader_commit};

    return is_left_out(self, message->server_id) ||
           send_words(self, message->server_id, words) == 0;
}

/* All went as the leader thinks: it hears so when it asks. */
static bool is_needless(const struct consensus *self,
                        const struct raft_append_entries_result *answer)
{
    return self->beats.told && answer->rejected == 0 && answer->term == self->beats.told->term &&
           answer->last_log_index == self->beats.told->prev_log_index;
}

static bool send_answer(struct consensus *self, const struct raft_message *message)
{
    const struct raft_append_entries_result *answer = &message->append_entries_result;
    uint64_t room =
        (uint64_t)answer->version << 32 | (uint64_t)answer->features << 16 | answer->capacity;
    uint64_t words[] = {BEAT_ANSWER, answer->term, answer->rejected, answer->last_log_index, room};

    return is_needless(self, answer) || send_words(self, message->server_id, words) == 0;
}

/* False: libraft is to send it. */
static bool send_by_link(struct consensus *self, const struct raft_message *message)
{
    if (!self->network || !self->network->beat) {
        return false;
    }
    if (message->type == RAFT_APPEND_ENTRIES && !self->beats.is_checking &&
        has_all(self, message)) {
        return send_ask(self, message);
    }
    if (message->type == RAFT_APPEND_ENTRIES_RESULT &&
        self->beats.answering_id == message->server_id) {
        return send_answer(self, message);
    }
    return false;
}

/* libraft does not look at the request again after its callback, from wherever that comes. */
static int on_send(struct raft_io *io, struct raft_io_send *request,
                   const struct raft_message *message, raft_io_send_cb done)
{
    struct consensus *self = consensus_of(io);
    struct raft_message room;

    if (send_by_link(self, message)) {
        done(request, 0);
        return 0;
    }
    return self->beats.send(io, request, votes_to_send(self, message, &room), done);
}

/* ---- receiving ---- */

/* libraft would believe it (rule 12): that there are two leaders in a term, or entries of ours that
 * we do not have. */
static bool is_sound(struct consensus *self, const uint64_t words[WORDS])
{
    bool is_leader = raft_state(&self->raft) == RAFT_LEADER;

    switch (words[0]) {
    case BEAT_ASK:
    case BEAT_TELL:
        return !is_leader || words[1] != raft_current_term(&self->raft);
    case BEAT_ANSWER:
        return !is_leader || words[3] <= raft_last_index(&self->raft);
    default:
        return false;
    }
}

static void ask_received(struct raft_message *message, const uint64_t words[WORDS])
{
    message->type = RAFT_APPEND_ENTRIES;
    message->append_entries = (struct raft_append_entries){.term = words[1],
                                                           .prev_log_index = words[2],
                                                           .prev_log_term = words[3],
                                                           .leader_commit = words[4]};
}

static void answer_received(struct raft_message *message, const uint64_t words[WORDS])
{
    message->type = RAFT_APPEND_ENTRIES_RESULT;
    message->append_entries_result =
        (struct raft_append_entries_result){.version = (unsigned char)(words[4] >> 32),
                                            .term = words[1],
                                            .rejected = words[2],
                                            .last_log_index = words[3],
                                            .features = (unsigned short)(words[4] >> 16),
                                            .capacity = (unsigned short)words[4]};
}

void consensus_beat(struct consensus *self, uint64_t node_id, struct bytes beat)
{
    struct raft_message message = {.server_id = node_id, .server_address = ""};
    uint64_t words[WORDS];

    if (beat.length != sizeof words || !self->is_engine_open || self->stop_stage == STOP_CLOSING ||
        self->state == CONSENSUS_LOADING || self->state == CONSENSUS_FAILED) {
        return;
    }
    memcpy(words, beat.at, sizeof words);
    for (unsigned i = 0; i < WORDS; i++) {
        words[i] = GUINT64_FROM_BE(words[i]);
    }
    if (!is_sound(self, words)) {
        return;
    }
    if (words[0] == BEAT_ANSWER) {
        answer_received(&message, words);
    } else {
        ask_received(&message, words);
        self->beats.answering_id = node_id;
    }
    struct raft_append_entries ask = message.append_entries;
    self->beats.told = words[0] == BEAT_TELL ? &ask : NULL;
    leadership_on_receive(&self->io, &message);
    self->beats.answering_id = 0;
    self->beats.told = NULL;
}

/* ---- rounds ---- */

static bool is_late(const struct consensus *self)
{
    for (guint i = 0; i < self->beats.asked->len; i++) {
        uint64_t node_id = g_array_index(self->beats.asked, uint64_t, i);
        if (beats_has_vote(self, node_id) &&
            leadership_silent_ms(self, node_id) > clock_now_ms() - self->beats.asked_ms) {
            return true;
        }
    }
    return false;
}

static void find_others(const struct consensus *self, bool has_vote, GArray *nodes)
{
    const struct raft_configuration *configuration = &self->raft.configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        uint64_t node_id = configuration->servers[i].id;
        if ((configuration->servers[i].role == RAFT_VOTER) == has_vote &&
            node_id != self->node_id) {
            g_array_append_val(nodes, node_id);
        }
    }
}

/* Of so many other voters; a leader that has just lost its vote needs them all the more. */
static guint majority_of(const struct consensus *self, guint others)
{
    return beats_has_vote(self, self->node_id) ? (others + 1) / 2 : MIN(others / 2 + 1, others);
}

static void choose_asked(struct consensus *self)
{
    g_autoptr(GArray) voters = g_array_new(false, false, sizeof(uint64_t));
    uint64_t now_ms = clock_now_ms();

    find_others(self, true, voters);
    guint needed = is_late(self) ? voters->len : majority_of(self, voters->len);
    g_array_set_size(self->beats.asked, 0);
    for (guint i = 0; i < needed; i++) {
        guint at = (guint)(self->beats.asked_count++ % voters->len);
        g_array_append_val(self->beats.asked, g_array_index(voters, uint64_t, at));
    }
    if (now_ms >= self->beats.others_ms + OTHERS_MS) {
        find_others(self, false, self->beats.asked);
        self->beats.others_ms = now_ms;
    }
    self->beats.asked_ms = now_ms;
}

bool consensus_is_asked(const struct consensus *self, uint64_t node_id)
{
    for (guint i = 0; i < self->beats.asked->len; i++) {
        if (g_array_index(self->beats.asked, uint64_t, i) == node_id) {
            return true;
        }
    }
    return false;
}

/* That it still has what it had: counts for nothing but that it is not taken for away. */
static void answer_for(struct consensus *self, uint64_t node_id)
{
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .server_id = node_id,
        .server_address = "",
        .append_entries_result = {.term = raft_current_term(&self->raft),
                                  .last_log_index = raft_last_index(&self->raft)}};

    self->receive(&self->io, &message);
}

void beats_round(struct consensus *self)
{
    uint64_t now_ms = loop_now_ms(self->loop);

    if (raft_state(&self->raft) == RAFT_LEADER) {
        choose_asked(self);
    }
    self->beats.is_round = true;
    self->beats.is_checking = now_ms >= self->beats.checked_ms + CHECK_MS;
    self->beats.checked_ms = self->beats.is_checking ? now_ms : self->beats.checked_ms;
    leadership_let_tick(self);
    self->beats.is_round = self->beats.is_checking = false;
    for (guint i = 0; i < self->beats.spared->len && raft_state(&self->raft) == RAFT_LEADER; i++) {
        answer_for(self, g_array_index(self->beats.spared, uint64_t, i));
    }
    g_array_set_size(self->beats.spared, 0);
}

void beats_check_soon(struct consensus *self)
{
    self->beats.checked_ms = 0;
}

/* ---- life ---- */

void beats_init(struct consensus *self)
{
    self->beats.send = self->io.send;
    self->io.send = on_send;
    self->beats.spared = g_array_new(false, false, sizeof(uint64_t));
    self->beats.asked = g_array_new(false, false, sizeof(uint64_t));
}

void beats_deinit(struct consensus *self)
{
    g_clear_pointer(&self->beats.spared, g_array_unref);
    g_clear_pointer(&self->beats.asked, g_array_unref);
}

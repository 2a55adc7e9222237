/* Faults of libraft 0.22 in elections: two that it never ends (somebody is needed who does not know
 * yet that it votes; the only two that are left want different terms), and one that is none. */
#include "consensus/engine.h"
#include "loop/loop.h"

static struct raft_server *find_own(struct consensus *self)
{
    const struct raft_configuration *configuration = &self->raft.configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == self->node_id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

/* Who is made a voter may be needed for the election of a leader before it has the entry that says
 * so: of one that votes and one that stands by, when the first dies in between. libraft's gives no
 * vote by its own log, and never forgets its leader, so that nobody would ever lead again. Whether
 * a vote counts is up to the candidate's log, of which this one must know no better (Raft's thesis,
 * 4.2.2). A leader that was heard a moment ago is still preferred. */
void votes_asked(struct consensus *self, struct raft_message *message)
{
    struct raft *raft = &self->raft;
    struct raft_server *own = find_own(self);
    raft_term term = raft_current_term(raft);

    if (raft_state(raft) != RAFT_FOLLOWER || !own || own->role == RAFT_VOTER) {
        self->receive(&self->io, message);
        return;
    }
    int role = own->role;
    raft_id leader_id = raft->follower_state.current_leader.id;
    bool is_silent = leader_id == message->server_id || /* it leads no more */
                     leadership_silent_ms(self, leader_id) >= self->election_timeout_ms;
    own->role = RAFT_VOTER;
    raft->follower_state.current_leader.id = is_silent ? 0 : leader_id;
    self->receive(&self->io, message);
    own->role = role; /* no vote changes the configuration */
    if (term == raft_current_term(raft)) {
        raft->follower_state.current_leader.id = leader_id;
    }
}

/* libraft refuses to consider a candidate of an older term with that term instead of its own, so
 * that the candidate never learns of it. A node that stood for election alone comes back with a
 * newer term and an older log: when it is needed for a majority nobody would ever lead again. */
const struct raft_message *votes_to_send(const struct consensus *self,
                                         const struct raft_message *message,
                                         struct raft_message *room)
{
    raft_term term = raft_current_term((struct raft *)&self->raft);

    if (message->type != RAFT_REQUEST_VOTE_RESULT || message->request_vote_result.term >= term) {
        return message;
    }
    *room = *message;
    room->request_vote_result.term = term;
    return room;
}

/* ---- who votes alone ---- */

/* libraft lets the only one that votes lead without a new term. Before it went down it may have
 * sent entries to those that stand by which it had not on its own disk; the next ones would have
 * their index and their term, so that the others would take them for the same. So the term begins
 * before libraft looks. */

static bool votes_alone(const struct raft_configuration *configuration, raft_id id)
{
    unsigned voters = 0;
    bool is_own = false;

    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].role == RAFT_VOTER) {
            voters++;
            is_own |= configuration->servers[i].id == id;
        }
    }
    return is_own && voters == 1 && configuration->n > 1;
}

/* By the last change in the log, or by the snapshot. */
static bool votes_alone_in_log(raft_id id, const struct raft_snapshot *snapshot,
                               const struct raft_entry *entries, size_t count)
{
    struct raft_configuration configuration;

    raft_configuration_init(&configuration);
    for (size_t i = count; i > 0; i--) {
        if (entries[i - 1].type == RAFT_CHANGE) {
            bool is_alone = raft_configuration_decode(&entries[i - 1].buf, &configuration) == 0 &&
                            votes_alone(&configuration, id);
            raft_configuration_close(&configuration);
            return is_alone;
        }
    }
    return snapshot && votes_alone(&snapshot->configuration, id);
}

static int on_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *count)
{
    struct raft *raft = io->data;
    struct consensus *self = raft->fsm->data;
    int r = self->load(io, term, voted_for, snapshot, start_index, entries, count);

    if (r == 0 && votes_alone_in_log(self->node_id, *snapshot, *entries, *count)) {
        r = io->set_term(io, *term + 1);
        *term += 1;
        *voted_for = 0;
    }
    return r;
}

bool votes_is_alone(const struct consensus *self)
{
    return votes_alone(&self->raft.configuration, self->node_id);
}

void votes_before_tick(struct consensus *self)
{
    struct raft *raft = &self->raft;
    bool is_due =
        raft->state == RAFT_FOLLOWER && self->io.time(&self->io) - raft->election_timer_start >=
                                            raft->follower_state.randomized_election_timeout;

    if (is_due && votes_is_alone(self) &&
        self->io.set_term(&self->io, raft->current_term + 1) == 0) {
        raft->current_term++;
        raft->voted_for = 0;
    }
}

void votes_init(struct consensus *self)
{
    self->load = self->io.load;
    self->io.load = on_load;
}

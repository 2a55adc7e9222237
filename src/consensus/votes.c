/* Two elections that libraft 0.22 never ends: one in which somebody is needed who does not know yet
 * that it votes, and one in which the only two that are left want different terms. */
#include "consensus/engine.h"

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

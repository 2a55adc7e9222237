/* What libraft 0.22 notes of a change of the membership that a follower gets. It takes for its
 * index that of the first entry which came with it, and does not know it again when it is
 * committed: for ever after such a node refuses to change anything when it leads, and its snapshots
 * say who voted before. And of two that come before the first is applied it forgets the first, to
 * which it has to go back when the second is overruled. So both are put right as soon as the
 * entries are appended, before libraft looks whether they are committed. */
#include "consensus/engine.h"

#include <assert.h>

/* ---- what comes among others ---- */

static void remember(struct consensus *self, raft_index index, const struct raft_buffer *content)
{
    g_clear_pointer(&self->change, g_bytes_unref);
    self->change = g_bytes_new(content->base, content->len);
    self->change_index = index;
}

void configuration_forget(struct consensus *self)
{
    g_clear_pointer(&self->change, g_bytes_unref);
    self->change_index = 0;
}

/* Nobody begins a change before the one before is committed. */
static void commit_last(struct consensus *self)
{
    struct raft *raft = &self->raft;
    struct raft_configuration configuration;
    struct raft_buffer content;

    if (!self->change || self->change_index <= raft->configuration_committed_index) {
        return;
    }
    content.base = (void *)g_bytes_get_data(self->change, &content.len);
    int r = raft_configuration_decode(&content, &configuration);
    assert(r == 0); /* libraft has read it before */
    raft_configuration_close(&raft->configuration_committed);
    raft->configuration_committed = configuration;
    raft->configuration_committed_index = self->change_index;
}

static int on_append(struct raft_io *io, struct raft_io_append *request,
                     const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    struct raft *raft = io->data;
    struct consensus *self = raft->fsm->data;
    raft_index first = raft_last_index(raft) - count + 1;

    if (self->change_index >= first) { /* another leader has overruled it */
        configuration_forget(self);
    }
    for (unsigned i = 0; i < count; i++) {
        if (entries[i].type == RAFT_CHANGE) {
            commit_last(self);
            remember(self, first + i, &entries[i].buf);
            raft->configuration_uncommitted_index = first + i;
        }
    }
    return self->append(io, request, entries, count, done);
}

/* ---- votes ---- */

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
void configuration_asked_for_vote(struct consensus *self, struct raft_message *message)
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

/* ---- life ---- */

void configuration_init(struct consensus *self)
{
    self->append = self->io.append;
    self->io.append = on_append;
}

/* It may have been read from the log. */
void configuration_start(struct consensus *self)
{
    struct raft_buffer content;

    if (self->raft.configuration_uncommitted_index != 0 &&
        raft_configuration_encode(&self->raft.configuration, &content) == 0) {
        remember(self, self->raft.configuration_uncommitted_index, &content);
        raft_free(content.base);
    }
}

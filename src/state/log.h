/* Joins the state with consensus: commands go down as records, come back up as groups, the whole
 * state goes down as a snapshot and comes back at start. What the state cannot read when it comes
 * back ends the node through `on_fatal`. */
#pragma once

#include "consensus/consensus.h"
#include "state/state.h"

struct state_log_link;

struct state_log_events {
    /* See consensus_events: passed on. all but on_fatal may be NULL. */
    void (*on_state)(void *owner, enum consensus_state state);
    void (*on_leader)(void *owner, uint64_t leader_id, uint64_t term);
    void (*on_members)(void *owner);
    /* The disk failed, or an entry cannot be read: the process should end. */
    void (*on_fatal)(void *owner, const char *message);
    /* Calendar time for a new group; 0 = not known: then it is as late as the one before. NULL =
     * the machine's. */
    uint64_t (*unix_ms)(void *owner);
    void *owner;
};

struct state_log_options {
    struct state_options state;
    struct consensus_options consensus; /* events and owner are set here, whatever they are */
    struct state_log_events events;
};

/* Makes the state and the consensus below it. NULL with an error as from consensus_new. */
struct state_log_link *state_log_link_new(const struct state_log_options *options, GError **error);
/* Frees both. Only when consensus may be freed (consensus_free). NULL is fine. */
void state_log_link_free(struct state_log_link *link);
/* Borrowed. Start and stop go to the consensus itself. */
struct state *state_log_link_state(const struct state_log_link *link);
struct consensus *state_log_link_consensus(const struct state_log_link *link);

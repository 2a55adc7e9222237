/* Heartbeats of the log by the links; inside of consensus (engine.h). */
#pragma once

#include <glib.h>
#include <raft.h>

struct consensus;

struct beats {
    int (*send)(struct raft_io *io, struct raft_io_send *request,
                const struct raft_message *message, raft_io_send_cb done); /* libraft's */
    /* Following: whose heartbeat is being looked at, 0 = none; and if it wants no answer, itself.
     */
    uint64_t answering_id;
    const struct raft_append_entries *told;
    /* Leading, of the last round. */
    GArray *asked;        /* of uint64_t: who is to answer */
    uint64_t asked_ms;    /* when that was */
    uint64_t others_ms;   /* when those were asked that have no vote */
    uint64_t asked_count; /* over all rounds */
    uint64_t checked_ms;  /* loop time of the last round by libraft's connections */
    bool is_round;        /* libraft is at a tick */
    bool is_checking;     /* which is such a round */
    GArray *spared;       /* of uint64_t: who has no vote and was left out */
};

/* After raft_uv_init, before raft_init. */
void beats_init(struct consensus *self);
void beats_deinit(struct consensus *self);
/* Lets libraft tick: as a leader it sends heartbeats. */
void beats_round(struct consensus *self);
/* The next round goes by libraft's connections. */
void beats_check_soon(struct consensus *self);
bool beats_has_vote(const struct consensus *self, uint64_t node_id);

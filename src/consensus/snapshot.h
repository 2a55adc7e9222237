/* libraft's state machine interface; inside of consensus (engine.h). */
#pragma once

#include "consensus/consensus.h"
#include <raft.h>

struct consensus;

/* A snapshot that libraft is writing. */
struct snapshot_writing {
    bool is_active;
    struct consensus_snapshot pieces;
    struct raft_buffer *buffers; /* owned */
    uint8_t *header;             /* owned */
    uint64_t index, bytes, log_bytes, entries;
};

void snapshot_init(struct consensus *self);
void snapshot_on_rested(void *owner);
/* After raft_init: from now on libraft takes snapshots when we want them. */
void snapshot_arm(struct consensus *self);
/* Takes one at once when there is anything to put into it; whether one is being written now. */
bool snapshot_take(struct consensus *self);
bool snapshot_is_worthwhile_at_stop(const struct consensus *self);
/* Looks how a finished one ended, and starts one that was asked for. */
void snapshot_turn(struct consensus *self);

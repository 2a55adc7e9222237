/* Of the log (engine.h): snapshots that are sent. */
#pragma once

#include <raft.h>

struct consensus;

struct snapshot_send {
    int (*get)(struct raft_io *io, struct raft_io_snapshot_get *request,
               raft_io_snapshot_get_cb done); /* libraft's */
    int (*send)(struct raft_io *io, struct raft_io_send *request,
                const struct raft_message *message, raft_io_send_cb done); /* libraft's */
    raft_term term; /* of the one that is sent now; 0 = none is */
};

/* After raft_uv_init, before raft_init. */
void snapshot_send_init(struct consensus *self);

/* A fault of libraft 0.22 in sending a snapshot. It says which one it sends, then asks for the
 * newest on disk; when that is a newer one it puts its index right, but not its term. Who takes it
 * holds its last entry for one of an older leader: votes for candidates that lack it, and refuses
 * what comes behind it, which libraft does not survive. So the term is put right as it is sent,
 * which is inside the callback that brings the snapshot. */
#include "consensus/snapshot_send.h"

#include "consensus/engine.h"

struct loading {
    struct raft_io_snapshot_get request;
    struct consensus *self;
    struct raft_io_snapshot_get *asked; /* libraft's */
    raft_io_snapshot_get_cb done;
};

static struct consensus *consensus_of(const struct raft_io *io)
{
    struct raft *raft = io->data;

    return raft->fsm->data;
}

static void on_loaded(struct raft_io_snapshot_get *request, struct raft_snapshot *snapshot,
                      int status)
{
    g_autofree struct loading *loading = request->data;
    struct consensus *self = loading->self;

    self->sent.term = status == 0 ? snapshot->term : 0;
    loading->done(loading->asked, snapshot, status);
    self->sent.term = 0;
}

static int on_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *asked,
                           raft_io_snapshot_get_cb done)
{
    struct consensus *self = consensus_of(io);
    struct loading *loading = g_new(struct loading, 1);

    *loading = (struct loading){{.data = loading}, self, asked, done};
    int r = self->sent.get(io, &loading->request, on_loaded);
    if (r != 0) {
        g_free(loading);
    }
    return r;
}

static int on_send(struct raft_io *io, struct raft_io_send *request,
                   const struct raft_message *message, raft_io_send_cb done)
{
    struct consensus *self = consensus_of(io);
    struct raft_message right = *message;

    if (message->type == RAFT_INSTALL_SNAPSHOT && self->sent.term != 0) {
        right.install_snapshot.last_term = self->sent.term;
    }
    return self->sent.send(io, request, &right, done);
}

void snapshot_send_init(struct consensus *self)
{
    self->sent.get = self->io.snapshot_get;
    self->io.snapshot_get = on_snapshot_get;
    self->sent.send = self->io.send;
    self->io.send = on_send;
}

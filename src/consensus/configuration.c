/* What libraft 0.22 notes of a change of the membership that a follower gets. It takes for its
 * index that of the first entry which came with it, and does not know it again when it is
 * committed: for ever after such a node refuses to change anything when it leads, and its snapshots
 * say who voted before. And of two that come before the first is applied it forgets the first, to
 * which it has to go back when the second is overruled. So both are put right as soon as the
 * entries are appended, before libraft looks whether they are committed. */
#include "consensus/engine.h"

#include <assert.h>

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

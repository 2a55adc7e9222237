/* Changes of the membership, asked of libraft one at a time, and handing leadership over.
 *
 * libraft may tell the one that is to lead to begin (TimeoutNow) while that one still writes an
 * entry, and then it ignores it (recvTimeoutNow); so nothing new is given to libraft until all that
 * was is applied and the other has it, and only then it is asked. */
#include "consensus/members.h"
#include "consensus/engine.h"

#include "loop/loop.h"
#include <errno.h>

/* For a successor to have all of the log. */
#define TRANSFER_WAIT_MS 1000

static const int raft_roles[] = {
    [CONSENSUS_SPARE] = RAFT_SPARE,
    [CONSENSUS_STANDBY] = RAFT_STANDBY,
    [CONSENSUS_VOTER] = RAFT_VOTER,
};

struct change {
    struct raft_change request;
    struct raft_transfer transfer;
    struct consensus *consensus;
    consensus_done done;
    void *owner;
    uint64_t target;      /* of a transfer; 0 = any voter */
    uint64_t deadline_ms; /* loop time */
};

static int error_of(int r)
{
    switch (r) {
    case 0:
        return 0;
    case RAFT_NOTLEADER:
    case RAFT_LEADERSHIPLOST:
    case RAFT_NOCONNECTION:
        return -ENOTCONN;
    case RAFT_CANTCHANGE:
        return -EBUSY;
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
        return -EEXIST;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return -ENOENT;
    case RAFT_BADROLE:
        return -EALREADY;
    case RAFT_NOSPACE:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

static void finish(struct change *change, int error)
{
    struct consensus *self = change->consensus;

    self->requests--;
    self->is_changing = false;
    self->handing_over = self->handing_over == change ? NULL : self->handing_over;
    if (change->done && !self->is_orphan) {
        change->done(change->owner, error);
    }
    g_free(change);
    consensus_schedule(self);
}

static void on_changed(struct raft_change *request, int status)
{
    finish(request->data, error_of(status));
}

static void on_transferred(struct raft_transfer *request)
{
    struct change *change = request->data;

    finish(change, raft_state(&change->consensus->raft) == RAFT_LEADER ? -ETIMEDOUT : 0);
}

static struct change *change_new(struct consensus *self, consensus_done done, void *owner,
                                 int *error)
{
    *error = !self->is_engine_open || self->stop_stage == STOP_CLOSING ||
                     raft_state(&self->raft) != RAFT_LEADER
                 ? -ENOTCONN
             : self->is_changing ? -EBUSY
                                 : 0;
    if (*error < 0) {
        return NULL;
    }
    struct change *change = g_new0(struct change, 1);
    change->request.data = change->transfer.data = change;
    change->consensus = self;
    change->done = done;
    change->owner = owner;
    return change;
}

static int begun(struct change *change, int r)
{
    struct consensus *self = change->consensus;

    if (r != 0) {
        g_free(change);
        return error_of(r);
    }
    self->is_changing = true;
    self->requests++;
    return 0;
}

int consensus_add(struct consensus *self, uint64_t node_id, const char *address,
                  consensus_done done, void *owner)
{
    int error;
    struct change *change = change_new(self, done, owner, &error);

    return change ? begun(change,
                          raft_add(&self->raft, &change->request, node_id, address, on_changed))
                  : error;
}

int consensus_assign(struct consensus *self, uint64_t node_id, enum consensus_role role,
                     consensus_done done, void *owner)
{
    int error;
    struct change *change = change_new(self, done, owner, &error);

    return change ? begun(change, raft_assign(&self->raft, &change->request, node_id,
                                              raft_roles[role], on_changed))
                  : error;
}

int consensus_remove(struct consensus *self, uint64_t node_id, consensus_done done, void *owner)
{
    int error;
    struct change *change = change_new(self, done, owner, &error);

    return change ? begun(change, raft_remove(&self->raft, &change->request, node_id, on_changed))
                  : error;
}

int consensus_transfer(struct consensus *self, uint64_t node_id, consensus_done done, void *owner)
{
    int error;
    struct change *change = change_new(self, done, owner, &error);

    if (!change) {
        return error;
    }
    if (!self->has_others) {
        g_free(change);
        return -ENOENT;
    }
    change->target = node_id;
    change->deadline_ms = loop_now_ms(self->loop) + TRANSFER_WAIT_MS;
    self->handing_over = change;
    consensus_schedule(self);
    return begun(change, 0);
}

/* The voter that has all of the log; 0 when there is none, or the one that is meant has not. */
static uint64_t find_successor(struct consensus *self, uint64_t wanted)
{
    const struct raft_configuration *configuration = &self->raft.configuration;

    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        raft_index match = 0;
        if (server->id != self->node_id && server->role == RAFT_VOTER &&
            (wanted == 0 || wanted == server->id) &&
            raft_match_index(&self->raft, server->id, &match) == 0 &&
            match == raft_last_index(&self->raft)) {
            return server->id;
        }
    }
    return 0;
}

void members_turn(struct consensus *self)
{
    struct change *change = self->handing_over;

    if (!change || change->transfer.cb) {
        return;
    }
    uint64_t successor =
        self->is_leader && self->entries_in_flight == 0 ? find_successor(self, change->target) : 0;
    if (successor != 0) {
        int r = raft_transfer(&self->raft, &change->transfer, successor, on_transferred);
        if (r != 0) {
            finish(change, error_of(r));
        }
    } else if (!self->is_leader || loop_now_ms(self->loop) > change->deadline_ms) {
        finish(change, self->is_leader ? -ETIMEDOUT : 0);
    }
}

void members_stop(struct consensus *self)
{
    if (self->handing_over && !self->handing_over->transfer.cb) { /* libraft does not know of it */
        finish(self->handing_over, -ENOTCONN);
    }
}

static enum consensus_role role_of(int role)
{
    return role == RAFT_VOTER     ? CONSENSUS_VOTER
           : role == RAFT_STANDBY ? CONSENSUS_STANDBY
                                  : CONSENSUS_SPARE;
}

void consensus_for_each_member(const struct consensus *self,
                               void (*fn)(void *owner, const struct consensus_member *member),
                               void *owner)
{
    struct raft *raft = (struct raft *)&self->raft;
    const struct raft_configuration *configuration = &raft->configuration;
    /* While libraft closes it still says that it leads, and has forgotten how far the others are.
     */
    bool is_open = self->is_engine_open && self->stop_stage != STOP_CLOSING;

    for (unsigned i = 0; is_open && i < configuration->n; i++) {
        struct consensus_member member = {
            .node_id = configuration->servers[i].id,
            .role = role_of(configuration->servers[i].role),
        };
        raft_index index = 0;
        member.match_index = raft_match_index(raft, member.node_id, &index) == 0 ? index : 0;
        member.silent_ms = leadership_silent_ms(self, member.node_id);
        fn(owner, &member);
    }
}

/* Waiting for the others: a client that has its SUBACK may rely on it, whichever node it is
 * published on; one that comes from another node finds everything done that it asked for there.
 * Each turn's new waiters share one SYNC to every peer; a peer that has gone, or has come after it,
 * is not waited for, one that is frozen only for what is in the log (late.c), and nobody for longer
 * than REMOTE_SYNC_MS; who did not answer in that time, or is known to be silent, is not waited for
 * again before he says something. */
#include "base/cleanup.h"
#include "mqtt/remote/remote_private.h"

#define ASKED_MAX 1024

struct remote_waiter {
    struct list link; /* in remote.waiters, oldest first */
    uint64_t token, due_ms;
    bool is_of_log;
    void (*fn)(void *owner);
    void *owner;
};

bool remote_sync(struct remote *remote, bool is_of_log, void (*fn)(void *owner), void *owner)
{
    if (remote->up == 0) {
        return false;
    }
    struct remote_waiter *waiter = g_new0(struct remote_waiter, 1);
    *waiter = (struct remote_waiter){.token = remote->sync_token + 1,
                                     .due_ms = loop_now_ms(remote->broker->loop) + REMOTE_SYNC_MS,
                                     .is_of_log = is_of_log,
                                     .fn = fn,
                                     .owner = owner};
    list_append(&remote->waiters, &waiter->link);
    if (!timer_is_active(remote->timer)) {
        timer_start(remote->timer, REMOTE_SYNC_MS);
    }
    remote->is_sync_wanted = true;
    remote_touch(remote);
    return true;
}

void sync_ask(struct remote *remote)
{
    if (!remote->is_sync_wanted) {
        return;
    }
    remote->is_sync_wanted = false;
    remote->sync_token++;
    remote_for_each(peer, remote)
    {
        if (peer->is_ready) {
            remote_put_sync(peer_frame(peer, 64), remote->sync_token,
                            state_applied_index(remote->broker->state));
            late_expect(peer);
        }
    }
    sync_look(remote);
}

static bool is_reached(const struct remote *remote, const struct remote_waiter *waiter)
{
    if (waiter->token > remote->sync_token) {
        return false;
    }
    bool may_be_frozen = !waiter->is_of_log && late_hears_majority(remote);
    remote_for_each(peer, remote)
    {
        bool is_frozen = peer->lateness == LATE_FROZEN;
        bool is_awaited = peer->is_ready && !peer->is_silent && !(is_frozen && may_be_frozen);
        if (is_awaited && peer->synced < waiter->token) {
            return false;
        }
    }
    return true;
}

/* So that the next ones need not wait for it as long. */
static void note_silent(const struct remote *remote, uint64_t token)
{
    remote_for_each(peer, remote)
    {
        peer->is_silent |= token <= remote->sync_token && peer->synced < token;
    }
}

void sync_look(struct remote *remote)
{
    uint64_t now_ms = loop_now_ms(remote->broker->loop);

    while (!list_is_empty(&remote->waiters)) {
        struct remote_waiter *waiter = list_entry(remote->waiters.next, struct remote_waiter, link);
        if (waiter->due_ms > now_ms && !is_reached(remote, waiter)) {
            if (!timer_is_active(remote->timer)) {
                timer_start(remote->timer, waiter->due_ms - now_ms);
            }
            return;
        }
        if (waiter->due_ms <= now_ms) {
            note_silent(remote, waiter->token);
        }
        list_remove(&waiter->link);
        waiter->fn(waiter->owner);
        g_free(waiter);
    }
    timer_stop(remote->timer);
}

/* The broker goes: what they wait for is answered, nobody hears it. */
void sync_drop(struct remote *remote)
{
    while (!list_is_empty(&remote->waiters)) {
        struct remote_waiter *waiter = list_entry(remote->waiters.next, struct remote_waiter, link);
        list_remove(&waiter->link);
        waiter->fn(waiter->owner);
        g_free(waiter);
    }
}

/* ---- the other side ---- */

void sync_receive(struct remote_peer *peer, uint64_t token, uint64_t index)
{
    struct remote *remote = peer->remote;
    struct remote_sync_asked asked = {token, index, state_last_proposed(remote->broker->state),
                                      remote->number};

    if (peer->syncs->len >= ASKED_MAX) { /* the answer to a later one answers it too */
        g_array_remove_index(peer->syncs, 0);
    }
    g_array_append_val(peer->syncs, asked);
    remote_for_each(other, remote)
    {
        if (forward_is_owing(other)) {
            late_expect(other);
        }
    }
}

static bool is_done(const struct remote *remote, const struct remote_sync_asked *asked)
{
    const struct broker *broker = remote->broker;

    return asked->index <= state_applied_index(broker->state) &&
           state_is_answered(broker->state, asked->proposed) && list_is_empty(&broker->closings) &&
           remote_may_acknowledge(remote, asked->number);
}

void sync_answer(struct remote_peer *peer)
{
    uint64_t token = 0;
    guint done = 0;

    while (done < peer->syncs->len &&
           is_done(peer->remote, &g_array_index(peer->syncs, struct remote_sync_asked, done))) {
        token = g_array_index(peer->syncs, struct remote_sync_asked, done).token;
        done++;
    }
    if (done > 0) {
        g_array_remove_range(peer->syncs, 0, done);
        remote_put_number(peer_frame(peer, 64), REMOTE_SYNCED, token);
    }
}

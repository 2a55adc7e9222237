/* Peers that are frozen. A box whose process is stopped, or waits for a disk that hangs, ends no
 * link, and seconds pass until one is given up. Whoever waits for such a peer's word waits for one
 * of these promises:
 *
 *  - PUBACK and PUBREC of what went over links: what was acknowledged is not lost when one box
 *    dies. What has come to the kernel of a frozen peer's box is read when it goes on, and kept
 *    here as well until it says so. So its publisher is told.
 *  - What goes through the log behind it waits all the same (ingest.c): it might come there first,
 *    and one publisher's messages keep their order whichever way each took.
 *  - CONNACK: a client that comes from another node finds done what it asked for there. SUBACK of a
 *    session that ends with its connection: from now on it gets what is published on any node. A
 *    frozen peer has no client that publishes or waits for anything, and what was asked stands
 *    before all that comes to it later.
 *  - SUBACK of a session that is kept: a peer that goes on reads publishes before it has applied
 *    the subscription, and would take them for nobody's. It is waited for, frozen or not, as long
 *    as anybody is (sync.c).
 *
 * A peer that is slow, or far away, or behind with the log, is not frozen. So it is looked at from
 * step to step, each at least two usual round trips, while it owes something:
 *
 *   LATE_OWING --nothing heard for a step: probed--> LATE_PROBED --all sent--> LATE_SENT
 *      ^                                                                         |
 *      |                                                               it is in its kernel
 *      |                                                                         v
 *      +--- something is heard --- LATE_FROZEN <--still nothing heard-- LATE_ARRIVED
 *
 * To whom most nodes are frozen, he was it himself, or is alone: CONNACK and SUBACK wait, since
 * what he asks of the log would come late. */
#include "mqtt/remote/remote_private.h"

#define UNKNOWN_TRIP_STEP_MS (REMOTE_SYNC_MS / 4)

static struct broker_link look(const struct remote_peer *peer)
{
    const struct broker_links *links = peer->remote->broker->options.links;
    struct broker_link link = {0};

    links->look(links->owner, peer->node_id, &link);
    return link;
}

static uint64_t step_ms_of(const struct broker_link *link)
{
    return link->round_trip_us == 0 ? UNKNOWN_TRIP_STEP_MS
                                    : MAX(REMOTE_LATE_STEP_MS, link->round_trip_us / 1000 * 2);
}

static bool is_owing(const struct remote_peer *peer)
{
    const struct remote *remote = peer->remote;
    bool is_asked = peer->is_ready && peer->synced < remote->sync_token;

    return forward_is_owing(peer) || (is_asked && !list_is_empty(&remote->waiters));
}

void late_expect(struct remote_peer *peer)
{
    if (peer->is_ready && !timer_is_active(peer->late_timer)) {
        timer_start(peer->late_timer, REMOTE_LATE_STEP_MS);
    }
}

void late_reset(struct remote_peer *peer)
{
    peer->lateness = LATE_OWING;
    peer->arrived = 0;
    timer_stop(peer->late_timer);
}

bool late_has(const struct remote_peer *peer, uint64_t number)
{
    bool has_all = peer->arrived >= peer->last_sent && !peer->unsent;

    return peer->lateness == LATE_FROZEN && (peer->arrived >= number || has_all);
}

bool late_hears_majority(const struct remote *remote)
{
    unsigned heard = 1, all = 1;

    remote_for_each(peer, remote)
    {
        heard += peer->is_ready && peer->lateness != LATE_FROZEN && !peer->is_silent;
        all++;
    }
    return 2 * heard > all;
}

static void probe(struct remote_peer *peer)
{
    const struct broker_links *links = peer->remote->broker->options.links;

    peer->lateness = LATE_PROBED;
    peer->probed_ms = loop_now_ms(peer->remote->broker->loop);
    links->probe(links->owner, peer->node_id);
}

/* All that was sent until now; false when something is still to be sent. */
static bool note_sent(struct remote_peer *peer, const struct broker_link *link)
{
    if (peer->is_blocked || peer->frame->len > 0 || link->sent_bytes == UINT64_MAX) {
        return false;
    }
    peer->noted_bytes = link->sent_bytes;
    peer->noted_number = peer->last_sent;
    return true;
}

static bool has_arrived(struct remote_peer *peer, const struct broker_link *link)
{
    if (link->arrived_bytes < peer->noted_bytes) {
        return false;
    }
    peer->arrived = peer->noted_number;
    peer->remote->has_progress = true;
    remote_touch(peer->remote);
    return true;
}

static void find_frozen(struct remote_peer *peer)
{
    peer->lateness = LATE_FROZEN;
    peer->remote->has_progress = true;
    sync_look(peer->remote);
    remote_touch(peer->remote);
}

/* Nothing was heard for a step. */
static void go_on(struct remote_peer *peer, const struct broker_link *link)
{
    switch (peer->lateness) {
    case LATE_OWING:
        probe(peer);
        break;
    case LATE_PROBED:
        peer->lateness = note_sent(peer, link) ? LATE_SENT : LATE_PROBED;
        break;
    case LATE_SENT:
        peer->lateness = has_arrived(peer, link) ? LATE_ARRIVED : LATE_SENT;
        break;
    case LATE_ARRIVED:
        find_frozen(peer);
        break;
    case LATE_FROZEN:
        if (has_arrived(peer, link)) {
            note_sent(peer, link);
        }
        break;
    }
}

void late_on_timer(void *owner)
{
    struct remote_peer *peer = owner;

    if (peer->lateness != LATE_FROZEN && !is_owing(peer)) {
        peer->lateness = LATE_OWING;
        return;
    }
    struct broker_link link = look(peer);
    uint64_t now_ms = loop_now_ms(peer->remote->broker->loop), step_ms = step_ms_of(&link);
    if (peer->lateness != LATE_OWING && link.heard_ms >= peer->probed_ms) {
        peer->lateness = LATE_OWING;
    }
    if (peer->lateness == LATE_OWING && now_ms < link.heard_ms + step_ms) {
        step_ms -= now_ms - link.heard_ms;
    } else {
        go_on(peer, &link);
    }
    timer_start(peer->late_timer, step_ms);
}

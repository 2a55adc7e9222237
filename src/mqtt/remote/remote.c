/* Peers come and go, frames come in and go out.
 *
 *   (unknown) --peer_up--> UP: HELLO, interest, claims go out --its HELLO--> READY: publishes go
 * out ^                                                  |
 *                           +------------------- peer_up ---- DOWN <--peer_down-+
 *
 * While it is down its interest stays as it was: what it wants with QoS > 0 is kept for it, until
 * it comes back (with the same epoch: then all that it has not had is sent), or comes back anew, or
 * is forgotten, or too much is kept. A member that was never heard may want anything: its
 * subscribers may be older than this broker, which serves as soon as it has the log, and one link
 * may be there long before another. */
#include "mqtt/remote/remote.h"
#include "base/log.h"
#include "mqtt/ingest.h"
#include "mqtt/remote/remote_private.h"
#include "state/state.h"
#include <errno.h>

struct remote_peer *remote_find(const struct remote *remote, uint64_t node_id)
{
    remote_for_each(peer, remote)
    {
        if (peer->node_id == node_id) {
            return peer;
        }
    }
    return NULL;
}

struct remote_peer *remote_find_by_connection(const struct remote *remote,
                                              uint64_t connection_number)
{
    uint64_t node = connection_number >> 52;

    if (connection_number == 0 || node == (remote->broker->options.node_id & 0xfff)) {
        return NULL;
    }
    remote_for_each(peer, remote)
    {
        if ((peer->node_id & 0xfff) == node) {
            return peer;
        }
    }
    return NULL;
}

uint64_t remote_node_id(const struct remote *remote, unsigned slot)
{
    return remote->peers[slot]->node_id;
}

void remote_touch(struct remote *remote)
{
    broker_touch(remote->broker);
}

/* ---- output ---- */

void peer_flush(struct remote_peer *peer)
{
    const struct broker_links *links = peer->remote->broker->options.links;

    peer->run_at = 0;
    while (peer->is_up && !peer->is_blocked) {
        GByteArray *frame = g_queue_peek_head(&peer->frames);
        frame = frame ? frame : peer->frame;
        if (frame->len == 0) {
            return;
        }
        if (links->send(links->owner, peer->node_id, (struct bytes){frame->data, frame->len}) ==
            -EAGAIN) {
            peer->is_blocked = true;
        } else if (frame ==
                   peer->frame) { /* on any other error the link's end is on its way here */
            g_byte_array_set_size(frame, 0);
        } else {
            peer->queued_bytes -= frame->len;
            g_byte_array_unref(g_queue_pop_head(&peer->frames));
        }
    }
}

static void drop_frames(struct remote_peer *peer)
{
    g_byte_array_set_size(peer->frame, 0);
    peer->run_at = peer->queued_bytes = 0;
    while (!g_queue_is_empty(&peer->frames)) {
        g_byte_array_unref(g_queue_pop_head(&peer->frames));
    }
}

GByteArray *peer_frame(struct remote_peer *peer, size_t bytes)
{
    size_t length = peer->frame->len + bytes;

    peer->run_at = 0;
    if (length > REMOTE_FLUSH_BYTES && peer->frame->len > 0) {
        peer_flush(peer);
    }
    if (length > REMOTE_FLUSH_BYTES && peer->frame->len > 0) { /* the link is full */
        peer->queued_bytes += peer->frame->len;
        g_queue_push_tail(&peer->frames, peer->frame);
        peer->frame = g_byte_array_sized_new((guint)REMOTE_FLUSH_BYTES);
    }
    remote_touch(peer->remote);
    return peer->frame;
}

static void put_filter(void *owner, struct bytes filter, uint32_t count)
{
    struct remote_peer *peer = owner;

    remote_put_interest(peer_frame(peer, filter.length + 64), filter, count);
}

static void say_hello(struct remote_peer *peer)
{
    struct remote *remote = peer->remote;
    struct remote_hello hello = {.epoch = remote->broker->options.epoch,
                                 .known_epoch = peer->epoch,
                                 .received = peer->delivered,
                                 .stamp = remote->stamp};

    remote_put_hello(peer_frame(peer, 64), &hello);
    session_store_for_each_filter(remote->broker->live, put_filter, peer);
    remote_put_number(peer_frame(peer, 64), REMOTE_INTEREST_END, 0);
    claims_tell(peer);
}

/* ---- interest ---- */

static void on_filter(void *owner, char *filter)
{
    struct remote *remote = owner;

    if (remote->linked != 0) {
        g_hash_table_add(remote->changed, filter);
        remote_touch(remote);
    } else {
        g_free(filter); /* HELLO tells all */
    }
}

static void tell_changes(struct remote *remote)
{
    GHashTableIter iter;
    gpointer key;

    if (g_hash_table_size(remote->changed) == 0) {
        return;
    }
    g_hash_table_iter_init(&iter, remote->changed);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        struct bytes filter = bytes_from_string(key);
        uint32_t count = session_store_filter_count(remote->broker->live, filter);
        remote_for_each(peer, remote)
        {
            if (peer->is_up) {
                put_filter(peer, filter, count);
            }
        }
    }
    g_hash_table_remove_all(remote->changed);
}

/* ---- input ---- */

/* Its broker is another one than before: nothing of the old one goes on. What has come from that is
 * delivered all the same, since nobody sends it again. What is kept for one that was only expected
 * is for whichever broker comes. */
static void begin_anew(struct remote_peer *peer, uint64_t epoch)
{
    if (peer->epoch != 0) {
        forward_drop_kept(peer);
    }
    peer->waiting_old = g_queue_get_length(&peer->waiting);
    peer->epoch = epoch;
    peer->seen = peer->delivered = peer->told = 0;
    peer->acknowledged = 0;
}

void peer_set_ready(struct remote_peer *peer, bool is_ready, bool is_syncing)
{
    struct remote *remote = peer->remote;
    uint64_t bit = INTEREST_BIT(peer->slot);

    peer->is_ready = is_ready;
    peer->is_syncing = is_syncing;
    remote->up = is_ready ? remote->up | bit : remote->up & ~bit;
    remote->syncing = is_syncing ? remote->syncing | bit : remote->syncing & ~bit;
}

static void on_hello(struct remote_peer *peer, const struct remote_hello *hello)
{
    struct remote *remote = peer->remote;

    if (hello->epoch != peer->epoch) {
        begin_anew(peer, hello->epoch);
    }
    if (hello->known_epoch == remote->broker->options.epoch) {
        forward_acknowledged(peer, hello->received);
    }
    remote->stamp = MAX(remote->stamp, hello->stamp);
    interest_clear(&remote->interest, peer->slot);
    peer_set_ready(peer, true, true);
    peer->synced = remote->sync_token;
    peer->last_sent = peer->acknowledged;
    peer->unsent = peer->kept.head;
    late_reset(peer);
    if (peer->unsent) {
        late_expect(peer);
    }
    forward_pump(peer);
}

static void on_record(struct remote_peer *peer, const struct remote_record *record)
{
    struct remote *remote = peer->remote;

    switch (record->kind) {
    case REMOTE_HELLO:
        on_hello(peer, &record->hello);
        break;
    case REMOTE_INTEREST:
        interest_set(&remote->interest, peer->slot, record->text,
                     (uint32_t)MIN(record->index, UINT32_MAX));
        break;
    case REMOTE_INTEREST_END:
        peer_set_ready(peer, peer->is_ready, false);
        break;
    case REMOTE_ACK:
        forward_acknowledged(peer, record->number);
        break;
    case REMOTE_CLAIM:
        claims_receive(remote, record);
        break;
    case REMOTE_SYNC:
        sync_receive(peer, record->number, record->index);
        break;
    case REMOTE_SYNCED:
        peer->synced = MIN(MAX(peer->synced, record->number), remote->sync_token);
        sync_look(remote);
        break;
    case REMOTE_HOLD:
    case REMOTE_RELEASE:
        holds_receive(peer, record->text, record->kind == REMOTE_HOLD);
        break;
    case REMOTE_KICK:
        claims_kicked(remote, record->text);
        break;
    default:
        break; /* of a newer version */
    }
}

void broker_peer_silent(struct broker *broker, uint64_t node_id)
{
    struct remote_peer *peer = broker->remote ? remote_find(broker->remote, node_id) : NULL;

    if (peer && peer->is_up) {
        peer->is_silent = true;
        sync_look(broker->remote);
    }
}

int broker_peer_frame(struct broker *broker, uint64_t node_id, struct bytes frame)
{
    struct remote_peer *peer = broker->remote ? remote_find(broker->remote, node_id) : NULL;
    struct remote_record record;
    size_t at = 0, from = 0;
    int r;

    if (!peer || !peer->is_up || broker->is_stopping) {
        return 0;
    }
    peer->is_silent = false;
    peer->lateness = LATE_OWING;
    while ((r = remote_record_next(frame, &at, &record)) == 1) {
        if (record.kind != REMOTE_HELLO && !peer->is_ready) {
            r = -EBADMSG;
            break;
        }
        from = MAX(from, 1);
        if (record.kind != REMOTE_PUBLISH && record.kind != REMOTE_RUN) {
            on_record(peer, &record);
        } else if ((r = forward_receive(peer, &record,
                                        (struct bytes){frame.at + from, at - from})) < 0) {
            break;
        }
        from = at;
    }
    if (r < 0) {
        log_warning("frame of a peer not understood", "node=%llx error=\"%s\"",
                    (unsigned long long)node_id, g_strerror(-r));
    }
    remote_touch(broker->remote);
    return r;
}

/* ---- up and down ---- */

static struct remote_peer *peer_new(struct remote *remote, uint64_t node_id)
{
    unsigned slot = 0;

    while (slot < REMOTE_PEERS_MAX && remote->peers[slot]) {
        slot++;
    }
    if (slot == REMOTE_PEERS_MAX) {
        return NULL;
    }
    struct remote_peer *peer = g_new0(struct remote_peer, 1);
    peer->remote = remote;
    peer->node_id = node_id;
    peer->slot = slot;
    peer->frame = g_byte_array_sized_new((guint)REMOTE_FLUSH_BYTES);
    peer->syncs = g_array_new(FALSE, FALSE, sizeof(struct remote_sync_asked));
    peer->hold_timer = timer_new(remote->broker->loop, holds_on_timer, peer);
    peer->late_timer = timer_new(remote->broker->loop, late_on_timer, peer);
    list_init(&peer->holding);
    g_queue_init(&peer->kept);
    g_queue_init(&peer->frames);
    g_queue_init(&peer->waiting);
    return remote->peers[slot] = peer;
}

static void peer_free(struct remote_peer *peer)
{
    forward_drop_kept(peer);
    forward_drop_waiting(peer);
    drop_frames(peer);
    holds_release(peer);
    timer_free(peer->hold_timer);
    timer_free(peer->late_timer);
    g_byte_array_unref(peer->frame);
    g_array_unref(peer->syncs);
    peer->remote->peers[peer->slot] = NULL;
    g_free(peer);
}

static struct remote_peer *find_or_add(struct remote *remote, uint64_t node_id)
{
    struct remote_peer *peer = remote_find(remote, node_id);

    peer = peer ? peer : peer_new(remote, node_id);
    if (!peer) {
        log_warning("too many nodes for the broker", "node=%llx", (unsigned long long)node_id);
    }
    return peer;
}

void broker_peer_expect(struct broker *broker, uint64_t node_id)
{
    struct remote *remote = broker->remote;
    struct remote_peer *peer = remote ? find_or_add(remote, node_id) : NULL;

    if (peer && peer->epoch == 0) {
        peer_set_ready(peer, false, true);
        timer_start(remote->expected_timer, REMOTE_EXPECTED_MS);
    }
}

/* Who was not there for so long was away when this broker began, or is cut off besides. */
static void on_expected_timer(void *owner)
{
    const struct remote *remote = owner;

    remote_for_each(peer, remote)
    {
        if (peer->epoch == 0) {
            forward_give_up(peer);
        }
    }
}

void broker_peer_up(struct broker *broker, uint64_t node_id)
{
    struct remote *remote = broker->remote;

    if (!remote || broker->is_stopping) {
        return;
    }
    struct remote_peer *peer = find_or_add(remote, node_id);
    if (!peer) {
        return;
    }
    if (peer->is_up) {
        broker_peer_down(broker, node_id);
    }
    peer->is_up = true;
    remote->linked |= INTEREST_BIT(peer->slot);
    say_hello(peer);
}

void broker_peer_down(struct broker *broker, uint64_t node_id)
{
    struct remote *remote = broker->remote;
    struct remote_peer *peer = remote ? remote_find(remote, node_id) : NULL;

    if (!peer || !peer->is_up) {
        return;
    }
    peer->is_up = peer->is_blocked = false;
    remote->linked &= ~INTEREST_BIT(peer->slot);
    peer_set_ready(peer, false, peer->is_syncing);
    peer->unsent = NULL;
    drop_frames(peer);
    g_array_set_size(peer->syncs, 0);
    holds_release(peer);
    holds_forget(peer);
    late_reset(peer);
    sync_look(remote);
    remote->has_progress = true;
    remote_touch(remote);
}

void broker_peer_forget(struct broker *broker, uint64_t node_id)
{
    struct remote *remote = broker->remote;
    struct remote_peer *peer = remote ? remote_find(remote, node_id) : NULL;

    if (!peer) {
        return;
    }
    broker_peer_down(broker, node_id);
    peer_set_ready(peer, false, false);
    interest_clear(&remote->interest, peer->slot);
    peer_free(peer);
}

void broker_peer_writable(struct broker *broker, uint64_t node_id)
{
    struct remote_peer *peer = broker->remote ? remote_find(broker->remote, node_id) : NULL;

    if (peer && peer->is_blocked) {
        peer->is_blocked = false;
        peer_flush(peer);
        if (!peer->is_blocked) {
            holds_release(peer);
        }
        forward_pump(peer);
        remote_touch(broker->remote);
    }
}

/* ---- life ---- */

static void on_timer(void *owner)
{
    sync_look(owner);
}

struct remote *remote_new(struct broker *broker)
{
    struct remote *remote = g_new0(struct remote, 1);

    remote->broker = broker;
    remote->changed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    remote->holds = g_hash_table_new(g_str_hash, g_str_equal);
    remote->timer = timer_new(broker->loop, on_timer, remote);
    remote->expected_timer = timer_new(broker->loop, on_expected_timer, remote);
    list_init(&remote->waiters);
    interest_init(&remote->interest);
    session_store_watch_filters(broker->live, on_filter, remote);
    return remote;
}

void remote_free(struct remote *remote)
{
    if (!remote) {
        return;
    }
    session_store_watch_filters(remote->broker->live, NULL, NULL);
    remote_for_each(peer, remote)
    {
        peer->is_up = false;
        peer_set_ready(peer, false, false);
        peer_free(peer);
    }
    sync_drop(remote);
    interest_deinit(&remote->interest);
    g_hash_table_unref(remote->changed);
    g_hash_table_unref(remote->holds);
    timer_free(remote->timer);
    timer_free(remote->expected_timer);
    g_free(remote);
}

void remote_end_of_turn(struct remote *remote)
{
    remote_for_each(peer, remote)
    {
        forward_deliver_waiting(peer);
        sync_answer(peer);
    }
    if (remote->has_progress) {
        remote->has_progress = false;
        ingest_look_again(remote->broker);
    }
    tell_changes(remote);
    sync_ask(remote);
    remote_for_each(peer, remote)
    {
        if (peer->is_ready && peer->told != peer->delivered) {
            peer->told = peer->delivered;
            remote_put_number(peer_frame(peer, 64), REMOTE_ACK, peer->delivered);
        }
        forward_pump(peer);
        peer_flush(peer);
    }
}

/* Publishes from here to peers, and from peers to subscribers here.
 *
 * Out: one number for each, growing over all peers. With QoS > 0 it is kept until the peer says
 * that it has delivered all up to that number, and sent again after a cut; with QoS 0 it is dropped
 * when the link is full or not there. In: what was had already is passed over; what stands behind
 * entries of the log that are not applied here yet waits for them, so that a publisher's messages
 * keep their order whichever way each takes. */
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/deliver.h"
#include "mqtt/remote/remote_private.h"
#include "packet/packet.h"
#include "session/route_cache.h"
#include "state/state.h"
#include "topic/name.h"
#include <errno.h>

#define WAITING_BYTES_MAX ((uint64_t)16 * 1024 * 1024) /* above it QoS 0 does not wait */

/* ---- what is kept ---- */

static uint64_t kept_bytes(const struct remote_kept *kept)
{
    return message_bytes(kept->message) + sizeof *kept + 64;
}

static void kept_free(struct remote_kept *kept)
{
    message_unref(kept->message);
    g_bytes_unref(kept->publisher);
    g_bytes_unref(kept->shares);
    g_free(kept);
}

static void drop_first(struct remote_peer *peer)
{
    struct remote_kept *kept = peer->kept.head->data;

    if (peer->unsent == peer->kept.head) {
        peer->unsent = peer->unsent->next;
    }
    peer->kept_bytes -= kept_bytes(kept);
    g_queue_pop_head(&peer->kept);
    kept_free(kept);
}

void forward_drop_kept(struct remote_peer *peer)
{
    while (!g_queue_is_empty(&peer->kept)) {
        drop_first(peer);
    }
}

void forward_acknowledged(struct remote_peer *peer, uint64_t number)
{
    struct remote *remote = peer->remote;

    if (number > remote->number || number <= peer->acknowledged) {
        return;
    }
    peer->acknowledged = number;
    while (!g_queue_is_empty(&peer->kept) &&
           ((struct remote_kept *)peer->kept.head->data)->number <= number) {
        drop_first(peer);
    }
    remote->has_progress = true;
    remote_touch(remote);
}

bool remote_is_linked(const struct remote *remote)
{
    return remote->up != 0;
}

bool forward_is_owing(const struct remote_peer *peer)
{
    return peer->is_ready && (peer->acknowledged < peer->last_sent || peer->unsent);
}

static bool is_flushed(const struct remote_peer *peer, uint64_t number)
{
    return !forward_is_owing(peer) || (peer->acknowledged >= number && !peer->unsent);
}

bool remote_is_flushed(const struct remote *remote, uint64_t number)
{
    remote_for_each(peer, remote)
    {
        if (!is_flushed(peer, number)) {
            return false;
        }
    }
    return true;
}

bool remote_may_acknowledge(const struct remote *remote, uint64_t number)
{
    remote_for_each(peer, remote)
    {
        if (!late_has(peer, number) && !is_flushed(peer, number)) {
            return false;
        }
    }
    return true;
}

/* ---- out ---- */

static struct bytes view(GBytes *bytes)
{
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(bytes, &length);

    return (struct bytes){at, length};
}

/* False when it has expired. */
static bool set_left(const struct remote *remote, struct remote_publish *record,
                     uint64_t expires_unix_ms)
{
    uint64_t now = expires_unix_ms != 0 ? loop_unix_ms(remote->broker->loop) : 0;

    record->left_ms = expires_unix_ms > now ? expires_unix_ms - now : 0;
    return expires_unix_ms == 0 || expires_unix_ms > now;
}

static void write_record(struct remote_peer *peer, const struct remote_publish *record)
{
    size_t bytes = record->topic.length + record->properties.length + record->payload.length +
                   record->shares.length + record->publisher.length + 128;

    if (remote_put_publish(peer_frame(peer, bytes), record)) {
        peer->last_sent = record->number;
    } else {
        peer->remote->broker->counters.publish_dropped++;
        log_warning("message too long for a link", "node=%llx", (unsigned long long)peer->node_id);
    }
}

static void write_kept(struct remote_peer *peer, const struct remote_kept *kept)
{
    const struct message *message = kept->message;
    struct remote_publish record = {
        .number = kept->number,
        .after_index = kept->after_index,
        .publisher = view(kept->publisher),
        .shares = view(kept->shares),
        .topic = message_topic(message),
        .properties = message_properties(message),
        .payload = message_payload(message),
        .qos = message->qos,
        .retain = message->retain,
    };

    if (set_left(peer->remote, &record, message->expires_unix_ms)) {
        write_record(peer, &record);
    }
}

/* As it came, which costs less than making a record of it. False when it must be made. */
static bool write_run(struct remote_peer *peer, const struct remote_publish *record)
{
    size_t bytes = record->publisher.length + record->packet.length + 128;

    if (record->packet.length == 0 || record->left_ms != 0 || record->shares.length > 0) {
        return false;
    }
    bool has_room = peer->run_at != 0 && peer->frame->len + bytes <= REMOTE_FLUSH_BYTES;
    if (!has_room || !remote_extend_run(peer->frame, peer->run_at, record)) {
        GByteArray *frame = peer_frame(peer, bytes);
        size_t at = MAX(frame->len, 1);
        if (!remote_put_run(frame, record)) {
            return false;
        }
        peer->run_at = at;
    }
    peer->last_sent = record->number;
    return true;
}

void forward_pump(struct remote_peer *peer)
{
    while (peer->is_ready && peer->unsent && !peer->is_blocked) {
        const struct remote_kept *kept = peer->unsent->data;
        peer->unsent = peer->unsent->next;
        write_kept(peer, kept);
        if (peer->frame->len > REMOTE_FLUSH_BYTES) {
            peer_flush(peer);
        }
    }
}

/* A link that is full takes a little more until its publishers have stopped. */
static bool is_sending(const struct remote_peer *peer, uint8_t qos)
{
    bool has_room = !peer->is_blocked || (peer->queued_bytes < REMOTE_QUEUED_BYTES_MAX &&
                                          (qos > 0 || !peer->is_dropping));

    return peer->is_ready && has_room && !peer->unsent;
}

void forward_give_up(struct remote_peer *peer)
{
    guint count = g_queue_get_length(&peer->kept);

    if (count > 0) {
        log_warning("messages for a node that is not linked dropped", "node=%llx count=%u",
                    (unsigned long long)peer->node_id, count);
    }
    peer->remote->broker->counters.publish_dropped += count;
    forward_drop_kept(peer);
    interest_clear(&peer->remote->interest, peer->slot);
    peer_set_ready(peer, false, false);
}

/* It cannot wait for ever for a peer that is not there. */
static void keep_within_limit(struct remote_peer *peer)
{
    if (!peer->is_ready && peer->kept_bytes > REMOTE_KEPT_BYTES_MAX) {
        forward_give_up(peer);
    }
}

static void keep(struct remote_peer *peer, struct publication *publication,
                 const struct remote_publish *record)
{
    struct remote_kept *kept = g_new0(struct remote_kept, 1);

    kept->message = message_ref(publication_message(publication));
    kept->number = record->number;
    kept->after_index = record->after_index;
    kept->publisher = g_bytes_new(record->publisher.at, record->publisher.length);
    kept->shares = g_bytes_new(record->shares.at, record->shares.length);
    g_queue_push_tail(&peer->kept, kept);
    peer->kept_bytes += kept_bytes(kept);
    keep_within_limit(peer);
}

/* True when the peer is to acknowledge it. */
static bool send(struct remote_peer *peer, struct publication *publication,
                 struct remote_publish *record)
{
    bool is_sent = is_sending(peer, publication->qos);

    if (is_sent && publication->qos == 0 && peer->is_blocked) {
        publication->full_links |= INTEREST_BIT(peer->slot);
    }
    if (is_sent && !write_run(peer, record)) {
        write_record(peer, record);
    }
    if (!is_sent && publication->qos == 0) {
        peer->remote->broker->counters.publish_dropped++;
        return false;
    }
    if (publication->qos > 0) {
        keep(peer, publication, record);
        if (!is_sent && !peer->unsent && peer->is_ready) {
            peer->unsent = peer->kept.tail;
        }
        late_expect(peer);
    }
    return peer->is_ready;
}

/* Nodes where it goes to a persistent session with QoS 0, which the log does not do. */
static uint64_t persistent_mask(const struct remote *remote, const struct publication *publication,
                                const struct route *route)
{
    uint64_t mask = 0;

    for (uint32_t i = 0; i < route->target_count; i++) {
        const struct route_target *target = &route->targets[i];
        if (MIN(publication->qos, target->qos) > 0 || target->session->connection) {
            continue;
        }
        const struct remote_peer *peer =
            remote_find_by_connection(remote, target->session->connection_number);
        mask |= peer && peer->is_ready ? INTEREST_BIT(peer->slot) : 0;
    }
    return mask;
}

static void collect_shares(const struct share_choices *choices, unsigned slot, GByteArray *shares)
{
    g_byte_array_set_size(shares, 0);
    for (uint32_t i = 0; i < choices->remote_count; i++) {
        if (choices->remote[i].slot == slot) {
            remote_share_append(shares, bytes_from_string(choices->remote[i].filter));
        }
    }
}

const struct interest_route *remote_route(struct remote *remote, struct bytes topic)
{
    return interest_find(&remote->interest, topic);
}

bool remote_is_wanted(struct remote *remote, struct bytes topic)
{
    const struct interest_route *route = interest_find(&remote->interest, topic);

    return remote->syncing != 0 || route->mask != 0 || (route->shares && route->shares->len > 0);
}

uint64_t remote_forward(struct remote *remote, struct publication *publication,
                        const struct routes *routes, const struct share_choices *choices)
{
    uint64_t unknown = publication->qos > 0 ? remote->syncing : remote->syncing & remote->up;
    uint64_t mask = unknown | interest_find(&remote->interest, publication->topic)->mask |
                    persistent_mask(remote, publication, &routes->persistent);
    bool is_awaited = false;

    for (uint32_t i = 0; i < choices->remote_count; i++) {
        mask |= INTEREST_BIT(choices->remote[i].slot);
    }
    if (mask == 0) {
        return 0;
    }
    bool is_5 = publication->encoded[1].length > 0;
    struct remote_publish record = {
        .number = ++remote->number,
        .after_index = state_applied_index(remote->broker->state),
        .publisher = publication->publisher,
        .topic = publication->topic,
        .properties = publication->properties,
        .payload = publication->payload,
        .packet = publication->encoded[is_5], /* of QoS 0, as it came; else there is none */
        .version = is_5 ? PACKET_MQTT_5 : PACKET_MQTT_3_1_1,
        .qos = publication->qos,
        .retain = publication->retain,
    };
    if (!set_left(remote, &record, publication->expires_unix_ms)) {
        return 0;
    }
    g_autoptr(GByteArray) shares = choices->remote_count > 0 ? g_byte_array_new() : NULL;
    for (; mask != 0; mask &= mask - 1) {
        struct remote_peer *peer = remote->peers[__builtin_ctzll(mask)];
        if (shares) {
            collect_shares(choices, peer->slot, shares);
            record.shares = (struct bytes){shares->data, shares->len};
        }
        is_awaited |= send(peer, publication, &record);
        publication->matched += peer->is_ready || publication->qos > 0;
    }
    return is_awaited ? record.number : 0;
}

/* ---- in ---- */

static void deliver(struct remote_peer *peer, const struct remote_publish *publish,
                    const struct routes *routes)
{
    struct broker *broker = peer->remote->broker;
    _cleanup_(share_choices_clear) struct share_choices choices = {0};
    struct publication publication = {
        .topic = publish->topic,
        .properties = publish->properties,
        .payload = publish->payload,
        .publisher = publish->publisher,
        .expires_unix_ms =
            publish->left_ms != 0 ? loop_unix_ms(broker->loop) + publish->left_ms : 0,
        .qos = publish->qos,
        .retain = publish->retain,
    };

    if (publish->qos == 0 && !publish->retain) {
        publication.encoded[publish->version == PACKET_MQTT_5] = publish->packet;
    }
    if (publish->shares.length > 0) {
        deliver_choose_named(broker, publish->shares, publish->qos, &choices);
    }
    deliver_now(broker, &publication, routes, &choices);
    if (publication.congested && publish->publisher.length > 0) {
        remote_hold(peer->remote, publish->publisher, publication.congested, peer->slot);
    }
    publication_deinit(&publication);
}

/* False when a packet of it is none that may be in a run: the rest is not looked at. */
static bool deliver_run(struct remote_peer *peer, const struct remote_publish *run)
{
    struct remote_publish publish = *run;
    size_t at = 0;
    int r;

    while ((r = remote_run_next(run, &at, &publish)) == 1) {
        const struct routes *routes =
            route_cache_find(&peer->remote->broker->routes, publish.topic, TOPIC_BYTES_MAX);
        if (!routes) {
            return false;
        }
        deliver(peer, &publish, routes);
    }
    return r == 0;
}

static bool deliver_record(struct remote_peer *peer, const struct remote_record *record)
{
    const struct remote_publish *publish = &record->publish;
    bool is_understood = true;

    if (record->kind == REMOTE_RUN) {
        is_understood = deliver_run(peer, publish);
    } else {
        deliver(peer, publish,
                route_cache_find(&peer->remote->broker->routes, publish->topic, TOPIC_BYTES_MAX));
    }
    peer->delivered = MAX(peer->delivered, publish->number);
    return is_understood;
}

static bool is_due(const struct remote_peer *peer, const struct remote_publish *publish)
{
    return publish->after_index <= state_applied_index(peer->remote->broker->state);
}

int forward_receive(struct remote_peer *peer, const struct remote_record *record,
                    struct bytes bytes)
{
    const struct remote_publish *publish = &record->publish;

    if (publish->number <= peer->seen) { /* sent again though it had come */
        return 0;
    }
    peer->seen = publish->number;
    if (g_queue_is_empty(&peer->waiting) && is_due(peer, publish)) {
        return deliver_record(peer, record) ? 0 : -EBADMSG;
    }
    if (publish->qos == 0 && peer->waiting_bytes > WAITING_BYTES_MAX) {
        peer->remote->broker->counters.publish_dropped++;
        return 0;
    }
    uint8_t *copy = g_malloc(1 + bytes.length); /* a frame of its own */
    copy[0] = REMOTE_VERSION;
    memcpy(copy + 1, bytes.at, bytes.length);
    g_queue_push_tail(&peer->waiting, g_bytes_new_take(copy, 1 + bytes.length));
    peer->waiting_bytes += bytes.length;
    return 0;
}

void forward_deliver_waiting(struct remote_peer *peer)
{
    GBytes *first;

    while ((first = g_queue_peek_head(&peer->waiting)) != NULL) {
        struct remote_record record;
        uint64_t delivered = peer->delivered;
        size_t at = 0;
        int r = remote_record_next(view(first), &at, &record);
        g_assert(r == 1); /* it was read before */
        if (!is_due(peer, &record.publish)) {
            return;
        }
        g_queue_pop_head(&peer->waiting);
        peer->waiting_bytes -= g_bytes_get_size(first) - 1;
        if (!deliver_record(peer, &record)) {
            log_warning("publish of a peer not understood", "node=%llx",
                        (unsigned long long)peer->node_id);
        }
        if (peer->waiting_old > 0) {
            peer->waiting_old--;
            peer->delivered = delivered;
        }
        g_bytes_unref(first);
    }
}

void forward_drop_waiting(struct remote_peer *peer)
{
    GBytes *bytes;

    while ((bytes = g_queue_pop_head(&peer->waiting)) != NULL) {
        g_bytes_unref(bytes);
    }
    peer->waiting_bytes = peer->waiting_old = 0;
}

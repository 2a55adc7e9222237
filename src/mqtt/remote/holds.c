/* A slow subscriber here holds publishers of other nodes back as it does those of this one
 * (mqtt/flow.h): the node of the publisher is told to stop reading it, and told again when it may
 * go on. A publisher whose message came through the log may be anywhere: then every node is told.
 *
 * A link that is full holds publishers of QoS 0 here, for a moment: a burst is not lost, and a node
 * that takes nothing slows nobody down for longer. */
#include "mqtt/connection.h"
#include "mqtt/flow.h"
#include "mqtt/remote/remote_private.h"

/* A publisher elsewhere that waits for a subscriber here. */
struct remote_hold {
    struct flow flow; /* stands in the list of whom the subscriber holds */
    struct remote *remote;
    uint64_t mask; /* of those that were told */
    char client_id[];
};

static void tell(struct remote_hold *hold, uint8_t kind)
{
    struct bytes client_id = bytes_from_string(hold->client_id);

    for (uint64_t mask = hold->mask; mask != 0; mask &= mask - 1) {
        struct remote_peer *peer = hold->remote->peers[__builtin_ctzll(mask)];
        if (peer && peer->is_ready) {
            remote_put_client(peer_frame(peer, client_id.length + 64), kind, client_id);
        }
    }
}

static void on_released(struct flow *flow)
{
    struct remote_hold *hold = container_of(flow, struct remote_hold, flow);

    tell(hold, REMOTE_RELEASE);
    g_hash_table_remove(hold->remote->holds, hold->client_id);
    g_free(hold);
}

void remote_hold(struct remote *remote, struct bytes publisher, struct connection *subscriber,
                 uint32_t slot)
{
    uint64_t mask = slot == REMOTE_EVERY_SLOT ? remote->up : remote->up & INTEREST_BIT(slot);
    struct remote_hold *hold = g_malloc0(sizeof *hold + publisher.length + 1);

    memcpy(hold->client_id, publisher.at, publisher.length);
    if (mask == 0 || g_hash_table_contains(remote->holds, hold->client_id) ||
        !flow_hold_other(&hold->flow, on_released, subscriber)) {
        g_free(hold);
        return;
    }
    hold->remote = remote;
    hold->mask = mask;
    g_hash_table_add(remote->holds, hold->client_id);
    tell(hold, REMOTE_HOLD);
}

void holds_receive(struct remote_peer *peer, struct bytes client_id, bool is_held)
{
    g_autofree char *id = g_strndup((const char *)client_id.at, client_id.length);
    struct connection *connection = broker_find(peer->remote->broker, id);
    uint64_t bit = INTEREST_BIT(peer->slot);

    if (!connection || !connection_is_active(connection)) {
        return;
    }
    if (is_held && !(connection->held_elsewhere & bit)) {
        connection->broker->counters.publishers_held++;
    }
    connection->held_elsewhere =
        is_held ? connection->held_elsewhere | bit : connection->held_elsewhere & ~bit;
    connection_update_reading(connection);
}

void holds_forget(struct remote_peer *peer)
{
    uint64_t bit = INTEREST_BIT(peer->slot);

    list_for_each_safe(link, &peer->remote->broker->connections) {
        struct connection *connection = list_entry(link, struct connection, link);
        if (connection->held_elsewhere & bit) {
            connection->held_elsewhere &= ~bit;
            connection_update_reading(connection);
        }
    }
}

/* ---- links that are full ---- */

void remote_hold_here(struct remote *remote, struct connection *publisher, uint64_t links)
{
    for (; links != 0; links &= links - 1) {
        struct remote_peer *peer = remote->peers[__builtin_ctzll(links)];
        if (!timer_is_active(peer->hold_timer)) {
            timer_start(peer->hold_timer, REMOTE_HOLD_MS);
        }
        flow_hold_in(&peer->holding, publisher);
    }
}

void holds_on_timer(void *owner)
{
    struct remote_peer *peer = owner;

    peer->is_dropping = true;
    flow_release(&peer->holding);
}

void holds_release(struct remote_peer *peer)
{
    peer->is_dropping = false;
    timer_stop(peer->hold_timer);
    flow_release(&peer->holding);
}

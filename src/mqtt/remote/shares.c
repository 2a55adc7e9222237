/* Share groups whose members are on several nodes (MQTT 5, 4.8.2): the origin of a message chooses
 * once, a member of its own or a node, in proportion to how many each has; the node chooses among
 * those that are connected there. */
#include "mqtt/deliver.h"
#include "mqtt/remote/remote_private.h"

static const struct interest_share *find(struct remote *remote, struct bytes topic,
                                         struct bytes filter)
{
    const struct interest_route *route = interest_find(&remote->interest, topic);

    for (guint i = 0; route->shares && i < route->shares->len; i++) {
        const struct interest_share *share = route->shares->pdata[i];
        if (bytes_equal(bytes_from_string(share->filter), filter)) {
            return share;
        }
    }
    return NULL;
}

static uint32_t weight(const struct remote *remote, const struct interest_share *share)
{
    uint32_t sum = 0;

    for (uint64_t mask = share ? share->mask & remote->up : 0; mask != 0; mask &= mask - 1) {
        sum += share->counts[__builtin_ctzll(mask)];
    }
    return sum;
}

bool remote_has_shares(const struct remote *remote)
{
    return remote->interest.share_count > 0;
}

uint32_t remote_share_weight(struct remote *remote, struct bytes topic, struct bytes filter)
{
    return weight(remote, find(remote, topic, filter));
}

static void add(struct share_choices *choices, unsigned slot, struct bytes filter)
{
    choices->remote = g_renew(struct remote_choice, choices->remote, choices->remote_count + 1);
    choices->remote[choices->remote_count++] = (struct remote_choice){
        .slot = slot, .filter = g_strndup((const char *)filter.at, filter.length)};
}

bool remote_share_choose(struct remote *remote, struct bytes topic, struct bytes filter,
                         struct share_choices *choices)
{
    const struct interest_share *share = find(remote, topic, filter);
    uint32_t all = weight(remote, share);

    if (all == 0) {
        return false;
    }
    uint32_t drawn = broker_random(remote->broker) % all;
    uint64_t mask = share->mask & remote->up;
    while (drawn >= share->counts[__builtin_ctzll(mask)]) {
        drawn -= share->counts[__builtin_ctzll(mask)];
        mask &= mask - 1;
    }
    add(choices, (unsigned)__builtin_ctzll(mask), filter);
    return true;
}

bool remote_share_choose_node(struct remote *remote, uint64_t connection_number,
                              struct bytes filter, struct share_choices *choices)
{
    const struct remote_peer *peer = remote_find_by_connection(remote, connection_number);

    if (!peer || !peer->is_ready) {
        return false;
    }
    add(choices, peer->slot, filter);
    return true;
}

bool remote_has_connection(const struct remote *remote, uint64_t connection_number)
{
    const struct remote_peer *peer = remote_find_by_connection(remote, connection_number);

    return peer && peer->is_ready;
}

bool remote_share_is_of_other(struct remote *remote, struct bytes topic, struct bytes filter)
{
    const struct interest_share *share = find(remote, topic, filter);

    for (uint64_t mask = share ? share->mask & remote->up : 0; mask != 0; mask &= mask - 1) {
        if (remote->peers[__builtin_ctzll(mask)]->node_id < remote->broker->options.node_id) {
            return true;
        }
    }
    return false;
}

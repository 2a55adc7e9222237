/* Who belongs to the cluster: whom links dial, who is let in, of whom nothing is kept any more.
 * Neither sockets nor files: the simulation runs it as it is.
 *
 *   all of the log is here --> the table of the state counts, and is told over the links
 *   behind, or not loaded  --> peers.json, and whoever else a member tells of
 *
 * Without being told, who was away would let in nobody that came meanwhile, not even the leader
 * that has the log for it. It is told of those that are there, not of those that are gone; by whom
 * it does not know either, when all that it knows are gone.
 *
 * Who was told waits until its own table is as new (told_index). A member may be wrong about it, or
 * speak of entries that a rescue has undone: then its word counts until the leader's comes, which
 * has all of the log and tells at each change and when it begins to lead. Likewise whoever leads,
 * at a change or when it begins: one that was deposed unawares has neither. */
#include "base/log.h"
#include "cluster/raft_transport.h"
#include "consensus/consensus.h"
#include "loop/loop.h"
#include "node/call.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/cluster_tables.h"

bool cluster_is_member(void *owner, uint64_t node_id)
{
    const struct node_cluster *cluster = owner;
    const char *address = g_hash_table_lookup(cluster->addresses, &node_id);

    return address && *address;
}

/* As far as is known here. */
static bool is_gone(const struct state *state, uint64_t node_id)
{
    return state_node_was_here(state, node_id) && !state_find_node(state, node_id);
}

bool cluster_was_removed(void *owner, uint64_t node_id)
{
    const struct node_cluster *cluster = owner;

    return cluster->is_ready && is_gone(cluster->node->state, node_id);
}

void cluster_set_peers(struct node_cluster *cluster)
{
    g_autoptr(GArray) peers = g_array_new(FALSE, FALSE, sizeof(struct links_peer));
    GHashTableIter iterator;
    gpointer id, address;

    g_hash_table_iter_init(&iterator, cluster->addresses);
    while (g_hash_table_iter_next(&iterator, &id, &address)) {
        struct links_peer peer = {*(uint64_t *)id, address};
        g_array_append_val(peers, peer);
    }
    links_set_peers(cluster->links, (const struct links_peer *)peers->data, peers->len);
}

/* Who never was in the table joined later than the table says: its link ends before links_set_peers
 * would tell it that it was removed, since it would believe that and end. */
static void forget(struct node_cluster *cluster, uint64_t id)
{
    if (!is_gone(cluster->node->state, id)) {
        links_reset(cluster->links, id);
    }
    raft_transport_drop(cluster->transport, id);
    if (cluster->node->broker) {
        broker_peer_forget(cluster->node->broker, id);
    }
}

static void forget_others(struct node_cluster *cluster, GHashTable *now)
{
    GHashTableIter iterator;
    gpointer id, address;

    g_hash_table_iter_init(&iterator, cluster->addresses);
    while (g_hash_table_iter_next(&iterator, &id, &address)) {
        if (!g_hash_table_contains(now, id)) {
            forget(cluster, *(uint64_t *)id);
        }
    }
}

static bool is_same(GHashTable *a, GHashTable *b)
{
    GHashTableIter iterator;
    gpointer id, address;

    if (g_hash_table_size(a) != g_hash_table_size(b)) {
        return false;
    }
    g_hash_table_iter_init(&iterator, a);
    while (g_hash_table_iter_next(&iterator, &id, &address)) {
        if (g_strcmp0(g_hash_table_lookup(b, id), address) != 0) {
            return false;
        }
    }
    return true;
}

static GHashTable *addresses_of_table(const struct node_cluster *cluster)
{
    const struct state *state = cluster->node->state;
    GHashTable *addresses = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *row = state_node_at(state, i);
        if (row->id != cluster->node->identity.id) {
            g_hash_table_insert(addresses, g_memdup2(&row->id, sizeof row->id),
                                g_strdup(row->address));
        }
    }
    return addresses;
}

static enum consensus_state log_state(const struct node_cluster *cluster)
{
    struct consensus_status status;

    consensus_status(cluster_consensus(cluster), &status);
    return status.state;
}

/* Whether the table says what is true now. */
static bool is_current(const struct node_cluster *cluster)
{
    const struct state *state = cluster->node->state;

    if (!cluster->is_ready || !cluster->links || state_node_count(state) == 0 ||
        state_applied_index(state) < cluster->told_index) {
        return false;
    }
    enum consensus_state log = log_state(cluster);
    return log == CONSENSUS_LEADING || log == CONSENSUS_FOLLOWING;
}

static void use_addresses(struct node_cluster *cluster)
{
    g_autoptr(GError) error = NULL;

    if (cluster_peers_save(cluster->node->config.data, cluster->addresses, &error) < 0) {
        log_warning("peers.json not written", "error=\"%s\"", error->message);
    }
    cluster_set_peers(cluster);
    cluster_clock_look(cluster);
    cluster_roles_look(cluster);
    cluster_rotation_look(cluster); /* perhaps it waited for the one that is gone */
}

void cluster_on_nodes(void *owner)
{
    struct node_cluster *cluster = owner;
    g_autoptr(GHashTable) now = addresses_of_table(cluster);

    cluster_removed_look(cluster);
    if (cluster->is_ready && log_state(cluster) == CONSENSUS_LEADING) {
        cluster->told_index = 0;
    }
    if (!is_current(cluster)) {
        return;
    }
    if (!is_same(now, cluster->addresses)) {
        forget_others(cluster, now);
        g_hash_table_unref(cluster->addresses);
        cluster->addresses = g_hash_table_ref(now);
        use_addresses(cluster);
    }
    cluster_tell_nodes(cluster, 0);
}

void cluster_nodes_look(struct node_cluster *cluster)
{
    if (cluster->told_index != 0 && is_current(cluster)) {
        cluster->told_index = 0;
        cluster_on_nodes(cluster);
    }
}

/* ---- telling ---- */

void cluster_tell_nodes(struct node_cluster *cluster, uint64_t node_id)
{
    const struct state *state = cluster->node->state;
    g_autoptr(GByteArray) call = g_byte_array_new();

    if (!is_current(cluster)) {
        return;
    }
    call_put_nodes(call, state_applied_index(state));
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *row = state_node_at(state, i);
        call_put_node(call, row->id, row->address);
    }
    struct bytes payload = {call->data, call->len};
    if (node_id == 0) {
        links_send_all(cluster->links, LINKS_CALL, payload);
    } else {
        links_send(cluster->links, node_id, LINKS_CALL, payload);
    }
}

/* Who was removed does not come back, and no more are kept than a cluster has. */
static bool may_be_new(const struct node_cluster *cluster, uint64_t id)
{
    bool has_room = g_hash_table_contains(cluster->addresses, &id) ||
                    g_hash_table_size(cluster->addresses) < NODES_MAX;

    return has_room && id != 0 && id != cluster->node->identity.id &&
           !is_gone(cluster->node->state, id);
}

/* Whether it is new. */
static bool note_node(struct node_cluster *cluster, uint64_t id, struct bytes address)
{
    if (!may_be_new(cluster, id) || cluster_is_member(cluster, id)) {
        return false;
    }
    g_hash_table_insert(cluster->addresses, g_memdup2(&id, sizeof id),
                        g_strndup((const char *)address.at, address.length));
    return true;
}

bool cluster_let_in(void *owner, uint64_t node_id)
{
    struct node_cluster *cluster = owner;

    if (cluster_is_member(cluster, node_id)) {
        return true;
    }
    if (is_current(cluster) || !note_node(cluster, node_id, bytes_from_string(""))) {
        return false;
    }
    cluster_set_peers(cluster); /* it tells where it is, and is a member then */
    return true;
}

void cluster_told_nodes(struct node_cluster *cluster, uint64_t node_id, struct bytes call)
{
    bool is_any_new = false;
    struct call_node node;
    uint64_t index;
    size_t at;

    if (!call_get_nodes(call, &index, &at) ||
        (is_current(cluster) && index <= state_applied_index(cluster->node->state))) {
        return;
    }
    while (call_next_node(call, &at, &node)) {
        is_any_new |= note_node(cluster, node.id, node.address);
    }
    if (is_any_new) {
        cluster->told_index = MAX(cluster->told_index, index);
    }
    if (node_id == cluster->leader_id) {
        cluster->told_index = MIN(cluster->told_index, index);
    }
    if (is_any_new) {
        use_addresses(cluster);
    }
}

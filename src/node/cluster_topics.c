/* `$SYS/cluster/...`: nodes, leader, virtual IPs, as this node knows them now. */
#include "api/cluster.h"
#include "cluster/roles.h"
#include "consensus/members.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/cluster_tables.h"

struct telling {
    const struct node_cluster *cluster;
    broker_topic_fn *fn;
    void *owner;
};

static void tell(const struct telling *telling, const char *value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(const struct telling *telling, const char *value, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *topic = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    telling->fn(telling->owner, topic, value);
}

static void tell_node(const struct telling *telling, const struct cluster_node *row)
{
    const struct node_cluster *cluster = telling->cluster;
    struct api_node_facts facts = {0};

    cluster->api.node_facts(cluster->api.owner, row->id, &facts);
    tell(telling, facts.is_online ? "online" : "offline", "$SYS/cluster/nodes/%s/state", row->name);
    tell(telling, row->address, "$SYS/cluster/nodes/%s/address", row->name);
    tell(telling, row->version, "$SYS/cluster/nodes/%s/version", row->name);
}

static void tell_vip(const struct telling *telling, const struct virtual_address *row)
{
    const struct node_cluster *cluster = telling->cluster;
    struct api_vip_facts facts = {0};

    cluster->api.vip_facts(cluster->api.owner, row, &facts);
    const struct cluster_node *holder = state_find_node(cluster->node->state, facts.holder_id);
    tell(telling, holder ? holder->name : "none", "$SYS/cluster/vips/%s/holder", row->address);
}

static void count_voter(void *owner, const struct consensus_member *member)
{
    unsigned *voters = owner;

    *voters += member->role == CONSENSUS_VOTER;
}

void cluster_topics(void *owner, broker_topic_fn *fn, void *fn_owner)
{
    const struct node_cluster *cluster = owner;
    const struct state *state = cluster->node->state;
    struct telling telling = {cluster, fn, fn_owner};
    const struct cluster_node *leader = state_find_node(state, cluster->leader_id);
    struct consensus_status status;
    unsigned voters = 0;

    consensus_status(cluster_consensus(cluster), &status);
    consensus_for_each_member(cluster_consensus(cluster), count_voter, &voters);
    g_autofree char *voter_text = g_strdup_printf("%u", voters);
    bool has_quorum = status.state == CONSENSUS_LEADING || status.state == CONSENSUS_FOLLOWING;
    tell(&telling, cluster->node->identity.cluster, "$SYS/cluster/id");
    tell(&telling, leader ? leader->name : "none", "$SYS/cluster/leader");
    tell(&telling, has_quorum ? "yes" : "no", "$SYS/cluster/quorum");
    tell(&telling, voter_text, "$SYS/cluster/voters");
    tell(&telling, cluster->api.safety(cluster->api.owner), "$SYS/cluster/safety");
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        tell_node(&telling, state_node_at(state, i));
    }
    for (uint32_t i = 0; i < state_vip_count(state); i++) {
        tell_vip(&telling, state_vip_at(state, i));
    }
}

/* The end of the leader. When its process dies its kernel ends its links: a proof, unlike silence
 * (links.h). Each voter that saw it tells the others; when a majority of the voters has seen it
 * nobody is left who could answer the old leader, and the one with the most of the log stands for
 * election at once, the next ones each a little later.
 *
 *   link ended --> ENDED to all --> a majority of them here --> rank 0: elect, rank n: n steps
 * later
 */
#include "base/log.h"
#include "cluster/roles.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include "node/call.h"
#include "node/cluster.h"
#include "node/cluster_vip.h"
#include "node/node.h"

#define STEPS    2 /* in an election timeout: longer than an election on an SD card */
#define AGAIN_MS 5 /* it has not on disk yet what it has heard */
#define TRIES    20

struct voters {
    const struct node_cluster *cluster;
    unsigned count, seen;
};

static const struct end_witness *find(const struct node_cluster *cluster, uint64_t node_id)
{
    for (guint i = 0; i < cluster->ends->len; i++) {
        const struct end_witness *end = &g_array_index(cluster->ends, struct end_witness, i);
        if (end->node_id == node_id && end->leader_id == cluster->leader_id &&
            end->term == cluster->term) {
            return end;
        }
    }
    return NULL;
}

static void count(void *owner, const struct consensus_member *member)
{
    struct voters *voters = owner;

    if (member->role == CONSENSUS_VOTER) {
        voters->count++;
        voters->seen += find(voters->cluster, member->node_id) != NULL;
    }
}

/* Whether `a` stands before `b`: more of the log; then the one that is not a mere witness. */
static bool is_before(const struct node_cluster *cluster, const struct end_witness *a,
                      const struct end_witness *b)
{
    const struct cluster_node *row_a = state_find_node(cluster->node->state, a->node_id);
    const struct cluster_node *row_b = state_find_node(cluster->node->state, b->node_id);
    bool a_only_votes = row_a && row_a->role == NODE_ROLE_WITNESS;
    bool b_only_votes = row_b && row_b->role == NODE_ROLE_WITNESS;

    if (a->last_term != b->last_term) {
        return a->last_term > b->last_term;
    }
    if (a->last_index != b->last_index) {
        return a->last_index > b->last_index;
    }
    return a_only_votes != b_only_votes ? b_only_votes : a->node_id < b->node_id;
}

static void look(struct node_cluster *cluster)
{
    const struct end_witness *own = find(cluster, cluster->node->identity.id);
    struct voters voters = {.cluster = cluster};
    unsigned rank = 0;

    consensus_for_each_member(cluster_consensus(cluster), count, &voters);
    if (!own || voters.seen < voters.count / 2 + 1) {
        return;
    }
    cluster_vip_ended(cluster->vip, cluster->term);
    if (timer_is_active(cluster->end_timer)) {
        return;
    }
    for (guint i = 0; i < cluster->ends->len; i++) {
        const struct end_witness *end = &g_array_index(cluster->ends, struct end_witness, i);
        bool is_current = find(cluster, end->node_id) == end;
        rank += is_current && end != own && is_before(cluster, end, own);
    }
    timer_start(cluster->end_timer, rank * (cluster_election_ms(cluster) / STEPS));
}

void cluster_end_on_timer(void *owner)
{
    struct node_cluster *cluster = owner;

    if (consensus_leader_ended(cluster_consensus(cluster))) {
        log_info("the leader has ended, standing for election",
                 "leader=%016" G_GINT64_MODIFIER "x term=%" G_GUINT64_FORMAT, cluster->leader_id,
                 cluster->term);
    } else if (find(cluster, cluster->node->identity.id) && cluster->tries-- > 0) {
        timer_start(cluster->end_timer, AGAIN_MS);
    }
}

static void remember(struct node_cluster *cluster, const struct end_witness *end)
{
    for (guint i = 0; i < cluster->ends->len; i++) {
        struct end_witness *known = &g_array_index(cluster->ends, struct end_witness, i);
        if (known->node_id == end->node_id) {
            *known = *end;
            look(cluster);
            return;
        }
    }
    g_array_append_val(cluster->ends, *end);
    look(cluster);
}

static void tell(void *owner, const struct consensus_member *member)
{
    struct node_cluster *cluster = owner;
    const struct end_witness *own = find(cluster, cluster->node->identity.id);
    struct call_ended ended = {own->leader_id, own->term, own->last_index, own->last_term};
    uint8_t call[CALL_ENDED_BYTES];

    call_put_ended(call, &ended);
    if (member->role == CONSENSUS_VOTER && member->node_id != own->node_id &&
        member->node_id != own->leader_id) {
        links_send(cluster->links, member->node_id, LINKS_CALL, (struct bytes){call, sizeof call});
    }
}

void cluster_end_seen(struct node_cluster *cluster, uint64_t node_id)
{
    struct end_witness own = {
        .node_id = cluster->node->identity.id, .leader_id = node_id, .term = cluster->term};

    cluster->tries = TRIES;
    consensus_last_entry(cluster_consensus(cluster), &own.last_index, &own.last_term);
    remember(cluster, &own);
    consensus_for_each_member(cluster_consensus(cluster), tell, cluster);
}

void cluster_end_told(struct node_cluster *cluster, uint64_t node_id, struct bytes call)
{
    struct call_ended ended;

    if (!call_get_ended(call, &ended)) {
        log_debug("a call of another version", "node=%016" G_GINT64_MODIFIER "x", node_id);
        return;
    }
    struct end_witness end = {node_id, ended.leader_id, ended.term, ended.last_index,
                              ended.last_term};
    remember(cluster, &end);
}

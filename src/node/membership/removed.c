/* This node was removed from the cluster (`node rm`): it reads so in the table, or another node
 * says so, whose certificate is of the cluster's authority and which this node knows as a member.
 *
 *   told --> timer --> cut off from the others, or alone anyway: it is true, this node ends
 *                  --> one of several voters that go on with it as a member: it is not
 *        --> it alone votes: ends at once
 *
 * The second happens when somebody has forced a node on alone (`node promote --force`) although a
 * majority of the others lived: those go on, and the one that was forced is the stranger. */
#include "base/log.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/settings.h"

#define ELECTIONS 4 /* after so many timeouts whoever is cut off knows it */

void cluster_removed_look(struct node_cluster *cluster)
{
    bool is_member = state_find_node(cluster->node->state, cluster->node->identity.id) != NULL;

    if (cluster->is_ready && cluster->is_member && !is_member && !cluster->node->is_stopping) {
        node_removed(cluster->node);
    }
    cluster->is_member |= is_member;
}

void cluster_removed_told(void *owner, uint64_t node_id)
{
    struct node_cluster *cluster = owner;
    const struct settings *settings = state_settings(cluster->node->state);

    if (cluster_decides_alone(cluster) && !cluster->node->is_stopping) {
        node_removed(cluster->node); /* nobody else goes on with it */
    } else if (!cluster->node->is_stopping && !timer_is_active(cluster->removed_timer)) {
        cluster->removed_by = node_id;
        timer_start(cluster->removed_timer, ELECTIONS * (uint64_t)settings->election_timeout_ms);
    }
}

static void count_voter(void *owner, const struct consensus_member *member)
{
    unsigned *count = owner;

    *count += member->role == CONSENSUS_VOTER;
}

/* Who has no vote follows in its own eyes until it hears of another leader; but the link of one
 * that has removed it is down. */
static bool goes_on_with_others(const struct node_cluster *cluster)
{
    struct consensus_status status;
    unsigned voters = 0;

    consensus_status(cluster_consensus(cluster), &status);
    consensus_for_each_member(cluster_consensus(cluster), count_voter, &voters);
    return voters > 1 &&
           (status.state == CONSENSUS_LEADING ||
            (status.state == CONSENSUS_FOLLOWING && links_is_up(cluster->links, status.leader_id)));
}

void cluster_removed_on_timer(void *owner)
{
    struct node_cluster *cluster = owner;

    if (cluster->node->is_stopping) {
        return;
    }
    if (goes_on_with_others(cluster)) {
        log_warning("a node says that this one was removed, but the majority goes on with it: was "
                    "that node forced on alone? empty its data directory and let it join anew",
                    "node=%016" G_GINT64_MODIFIER "x", cluster->removed_by);
    } else {
        node_removed(cluster->node);
    }
}

/* From one certificate authority to the next while the cluster runs.
 *
 *   table: new and previous --> each node: a certificate of the new one, both are trusted, its
 * links begin anew (authority.c) leader: every node is here and shows a certificate of the new one,
 * or CA_ROTATION_DAYS are over
 *                           --> table: the new one alone
 *   table: the new one alone --> each node: trusts it alone; what the previous one vouched for ends
 *
 * A node that was away meanwhile believes the others, and they believe it, until the last step. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/peer_listener.h"
#include "cluster/raft_transport.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/cluster_tables.h"
#include "state/propose_cluster.h"
#include <string.h>

#define CATCH_UP_MS 30000 /* for what began while a certificate was being replaced */

static bool is_rotating(const struct cluster_ca *row)
{
    return row->generation > 0 && row->previous_certificate[0] != '\0';
}

/* Links first, the log's streams when the previous one is gone: heartbeats go by either, and both
 * at once would look like a dead leader. */
void cluster_rotation_apply(struct node_cluster *cluster)
{
    const struct cluster_ca *row = state_ca(cluster->node->state);
    struct ca_certificate ca;

    peer_listener_renew(cluster->listener);
    if (is_rotating(row)) {
        links_renew(cluster->links);
    } else if (ca_look(row->certificate, &ca, NULL) == 0) {
        links_reset_others(cluster->links, ca.fingerprint, 0);
        raft_transport_drop_others(cluster->transport, ca.fingerprint);
    }
}

static bool has_changed_over(const struct node_cluster *cluster, const struct cluster_node *row,
                             const struct ca_certificate *ca)
{
    struct links_status status;

    return row->id == cluster->node->identity.id ||
           (links_status(cluster->links, row->id, &status) && status.issuer_sha256 &&
            memcmp(status.issuer_sha256, ca->fingerprint, sizeof ca->fingerprint) == 0);
}

static bool have_all_changed_over(const struct node_cluster *cluster,
                                  const struct ca_certificate *ca)
{
    const struct state *state = cluster->node->state;

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        if (!has_changed_over(cluster, state_node_at(state, i), ca)) {
            return false;
        }
    }
    return true;
}

static void on_ended(void *owner, uint64_t token, const struct state_result *result)
{
    struct node_cluster *cluster = owner;

    cluster->is_ending_rotation = false;
    if (result->error == 0 && !result->message) {
        log_info("the previous certificate authority is trusted no more",
                 "generation=%" G_GUINT64_FORMAT, state_ca(cluster->node->state)->generation);
    }
}

static void end(struct node_cluster *cluster, const struct cluster_ca *row)
{
    struct state_completion completion = {on_ended, cluster, 0, 0};
    struct cluster_ca alone = *row;

    alone.previous_certificate = (char *)"";
    cluster->is_ending_rotation = state_propose_ca(cluster->node->state, &alone, &completion) == 0;
}

void cluster_rotation_look(struct node_cluster *cluster)
{
    const struct cluster_ca *row = state_ca(cluster->node->state);
    struct ca_certificate ca;

    if (!cluster->is_ready || !cluster->links || cluster->is_ending_rotation || !is_rotating(row) ||
        ca_look(row->certificate, &ca, NULL) < 0) {
        return;
    }
    links_reset_others(cluster->links, ca.fingerprint, CATCH_UP_MS);
    if (cluster->leader_id == cluster->node->identity.id &&
        (have_all_changed_over(cluster, &ca) || ca_rotation_is_over(&ca, clock_unix_ms()))) {
        end(cluster, row);
    }
}

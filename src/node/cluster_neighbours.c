/* A fresh node, which founded a cluster of its own: says which others are on the LAN, in case that
 * it was meant to join one. It only listens; nothing that is heard changes anything. */
#include "base/log.h"
#include "discovery/browse.h"
#include "node/cluster.h"
#include "node/node.h"
#include <string.h>

#define LISTEN_MS 5000

static void on_found(void *owner, const struct service *service)
{
    struct node_cluster *cluster = owner;

    if (service->is_gone || !service->address || !service->cluster ||
        strcmp(service->cluster, cluster->node->identity.cluster) == 0 ||
        g_hash_table_contains(cluster->neighbours, service->cluster)) {
        return;
    }
    g_hash_table_add(cluster->neighbours, g_strdup(service->cluster));
    log_info(
        "this node founded a cluster of its own; another one is on this LAN: to join that, run "
        "`microcloud token` there and start here in an empty directory with --join",
        "cluster=%s node=%s address=%s", service->cluster, service->name, service->address);
}

static void on_done(void *owner)
{
    struct node_cluster *cluster = owner;

    g_clear_pointer(&cluster->browse, browse_free);
}

void cluster_look_for_neighbours(struct node_cluster *cluster)
{
    const struct node *node = cluster->node;
    struct browse_events events = {on_found, on_done, cluster};
    int error = 0;

    if (node->identity.epoch != 1 || node->config.join || node->config.no_discovery ||
        node->config.bind || cluster->browse) {
        return;
    }
    cluster->neighbours = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    cluster->browse = browse_new(node->loop, LISTEN_MS, &events, &error);
}

void cluster_forget_neighbours(struct node_cluster *cluster)
{
    g_clear_pointer(&cluster->browse, browse_free);
    g_clear_pointer(&cluster->neighbours, g_hash_table_unref);
}

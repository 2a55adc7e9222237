/* The way between nodes: one port, links and libraft's streams on it. What goes over the links is
 * cluster_links.c's.
 *
 *   consensus -- connect --> raft_transport --> a descriptor for libraft
 *   state's table of nodes --> whom links dial, and who is let in (membership/nodes.c) */
#include "node/cluster.h"
#include "base/log.h"
#include "cluster/join.h"
#include "cluster/peer_listener.h"
#include "cluster/raft_transport.h"
#include "consensus/members.h"
#include "discovery/responder.h"
#include "loop/loop.h"
#include "net/stream.h"
#include "net/tls.h"
#include "node/cluster_vip.h"
#include "node/membership/enter.h"
#include "node/node.h"
#include "state/cluster_tables.h"
#include "state/log.h"
#include <errno.h>
#include <string.h>

#define GIVE_UP_MS        3000u
#define GIVE_UP_ELECTIONS 4

/* ---- what consensus asks for ---- */

/* From inside of its call nothing may be answered. */
static void on_fail_timer(void *owner)
{
    struct node_cluster *cluster = owner;
    g_autoptr(GArray) failing = cluster->failing;

    cluster->failing = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    for (guint i = 0; i < failing->len; i++) {
        consensus_connected(cluster_consensus(cluster), g_array_index(failing, uint64_t, i),
                            -EHOSTUNREACH);
    }
}

static void on_connect(void *owner, uint64_t node_id, uint64_t token)
{
    struct node_cluster *cluster = owner;
    const char *address = g_hash_table_lookup(cluster->addresses, &node_id);

    if (cluster->transport && address) {
        raft_transport_connect(cluster->transport, node_id, address, token);
    } else {
        g_array_append_val(cluster->failing, token);
        timer_start(cluster->fail_timer, 0);
    }
}

/* ---- libraft's streams ---- */

static void on_connected(void *owner, uint64_t token, int fd_or_error)
{
    consensus_connected(cluster_consensus(owner), token, fd_or_error);
}

static void on_accepted(void *owner, uint64_t node_id, int fd)
{
    consensus_accept(cluster_consensus(owner), node_id, fd);
}

static const struct raft_transport_events transport_calls = {on_connected, on_accepted};

/* ---- the port ---- */

static void on_raft_stream(void *owner, uint64_t node_id, struct stream *stream)
{
    struct node_cluster *cluster = owner;

    raft_transport_accept(cluster->transport, node_id, stream);
}

static void on_link_stream(void *owner, uint64_t node_id, struct stream *stream)
{
    struct node_cluster *cluster = owner;

    links_accept(cluster->links, node_id, stream);
}

static void on_join_stream(void *owner, struct stream *stream)
{
    struct node_cluster *cluster = owner;

    cluster->join_server =
        cluster->join_server ? cluster->join_server : cluster_join_server(cluster);
    join_server_accept(cluster->join_server, stream);
}

static void on_removed_stream(void *owner, struct stream *stream)
{
    links_tell_removed(stream);
}

static const struct peer_listener_events listener_calls = {
    on_raft_stream, on_link_stream,      on_join_stream,   cluster_is_member,
    cluster_let_in, cluster_was_removed, on_removed_stream};

/* ---- tables ---- */

static void on_settings(void *owner)
{
    struct node_cluster *cluster = owner;
    const struct settings *settings = state_settings(cluster->node->state);

    unsigned give_up_ms = MAX(GIVE_UP_MS, GIVE_UP_ELECTIONS * settings->election_timeout_ms);

    consensus_set_timeouts(cluster_consensus(cluster), settings->election_timeout_ms,
                           settings->write_wait_ms);
    if (cluster->links) {
        links_set_give_up(cluster->links, give_up_ms);
        raft_transport_set_silence(cluster->transport, give_up_ms);
    }
    cluster_vip_on_settings(cluster->vip);
}

static void on_vips(void *owner)
{
    const struct node_cluster *cluster = owner;

    if (cluster->is_ready) {
        cluster_vip_on_table(cluster->vip);
    }
}

static void on_authority(void *owner)
{
    cluster_look_after(owner);
}

static void on_restored(void *owner)
{
    struct node_cluster *cluster = owner;

    on_settings(cluster);
    cluster_on_nodes(cluster);
    on_vips(cluster);
    cluster_look_after(cluster);
}

/* ---- opening ---- */

static int open_contexts(struct node_cluster *cluster, GError **error)
{
    const char *data = cluster->node->config.data;

    cluster->server = peer_tls_server(data, error);
    cluster->link_client = cluster->server ? peer_tls_client(data, "link", error) : NULL;
    cluster->raft_client = cluster->link_client ? peer_tls_client(data, "raft", error) : NULL;
    return cluster->raft_client ? 0 : -EINVAL;
}

static void announce(struct node_cluster *cluster)
{
    struct node *node = cluster->node;
    int error = 0;

    if (node->config.no_discovery || node->config.bind || cluster->responder) {
        return;
    }
    cluster->service.port = peer_listener_port(cluster->listener);
    cluster->responder = responder_new(node->loop, &cluster->service, &error);
    if (!cluster->responder) {
        log_info("this node cannot be discovered", "error=\"%s\"", g_strerror(-error));
    }
}

int cluster_open(struct node_cluster *cluster, GError **error)
{
    struct node *node = cluster->node;

    if (open_contexts(cluster, error) < 0) {
        return -EINVAL;
    }
    struct peer_listener_options listener = {.loop = node->loop,
                                             .port = (uint16_t)node->config.peer_port,
                                             .tls = cluster->server,
                                             .events = &listener_calls,
                                             .owner = cluster};
    struct links_options links = {.loop = node->loop,
                                  .node_id = node->identity.id,
                                  .epoch = node->identity.epoch,
                                  .client = cluster->link_client,
                                  .events = &cluster_links_events,
                                  .owner = cluster};
    struct raft_transport_options transport = {.loop = node->loop,
                                               .client = cluster->raft_client,
                                               .events = &transport_calls,
                                               .owner = cluster};
    cluster->links = links_new(&links);
    cluster->transport = raft_transport_new(&transport);
    cluster->listener = peer_listener_new(&listener, error);
    if (!cluster->listener) {
        return -EADDRINUSE;
    }
    cluster_set_peers(cluster);
    announce(cluster);
    return 0;
}

void node_cluster_serve(struct node_cluster *cluster)
{
    struct node *node = cluster->node;

    cluster->is_ready = true;
    cluster_begin_links_anew(cluster);
    if (node->config.rescue) {
        cluster_remove_others(cluster);
    }
    cluster_forget_restored(node);
    on_settings(cluster);
    cluster_on_nodes(cluster);
    cluster_look_after(cluster);
    cluster_roles_look(cluster);
}

void node_cluster_ready(struct node_cluster *cluster)
{
    cluster_vip_serve(cluster->vip);
    cluster_look_for_neighbours(cluster);
}

/* ---- life ---- */

struct node_cluster *node_cluster_new(struct node *node)
{
    struct node_cluster *cluster = g_new0(struct node_cluster, 1);

    cluster->node = node;
    cluster->network = (struct consensus_network){on_connect, cluster_forward, cluster_beat,
                                                  cluster_on_beats, cluster};
    cluster->broker_links = (struct broker_links){cluster_broker_send, cluster_broker_probe,
                                                  cluster_broker_look, cluster};
    cluster->addresses = cluster_peers_load(node->config.data);
    cluster->down = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    cluster->failing = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    cluster->ends = g_array_new(FALSE, FALSE, sizeof(struct end_witness));
    cluster->fail_timer = timer_new(node->loop, on_fail_timer, cluster);
    cluster->roles_timer = timer_new(node->loop, cluster_roles_on_timer, cluster);
    cluster->end_timer = timer_new(node->loop, cluster_end_on_timer, cluster);
    cluster->leave_timer = timer_new(node->loop, cluster_leave_on_timer, cluster);
    cluster->removed_timer = timer_new(node->loop, cluster_removed_on_timer, cluster);
    cluster->clock_timer = timer_new(node->loop, cluster_clock_on_timer, cluster);
    cluster->ask_timer = timer_new(node->loop, cluster_lone_on_timer, cluster);
    cluster->renew_timer = timer_new(node->loop, cluster_on_renew_timer, cluster);
    cluster->service = (struct service){
        .name = node->identity.name,
        .node_id = g_strdup_printf("%016" G_GINT64_MODIFIER "x", node->identity.id),
        .cluster = node->identity.cluster,
        .version = MICROCLOUD_VERSION};
    /* Nobody is served at an address that a witness would hold. */
    const struct keeper_ends none = {-1, -1};
    cluster->vip = cluster_vip_new(cluster, node->config.witness ? none : node->keeper);
    cluster_api_init(cluster);
    return cluster;
}

int node_cluster_start(struct node_cluster *cluster, GError **error)
{
    struct node *node = cluster->node;

    cluster->watch = (struct state_watch){.owner = cluster,
                                          .on_nodes = cluster_on_nodes,
                                          .on_settings = on_settings,
                                          .on_ca = on_authority,
                                          .on_vips = on_vips,
                                          .on_restored = on_restored};
    state_add_watch(node->state, &cluster->watch);
    return cluster_files_exist(node->config.data) ? cluster_open(cluster, error) : 0;
}

void node_cluster_free(struct node_cluster *cluster)
{
    if (!cluster) {
        return;
    }
    if (cluster->watch.owner) {
        state_remove_watch(cluster->node->state, &cluster->watch);
    }
    cluster_forget_neighbours(cluster);
    responder_free(cluster->responder);
    join_server_free(cluster->join_server);
    peer_listener_free(cluster->listener);
    raft_transport_free(cluster->transport);
    links_free(cluster->links);
    cluster_vip_free(cluster->vip);
    tls_context_free(cluster->server);
    tls_context_free(cluster->link_client);
    tls_context_free(cluster->raft_client);
    ca_free(cluster->ca);
    timer_free(cluster->fail_timer);
    timer_free(cluster->roles_timer);
    timer_free(cluster->end_timer);
    timer_free(cluster->renew_timer);
    timer_free(cluster->removed_timer);
    timer_free(cluster->ask_timer);
    timer_free(cluster->leave_timer);
    timer_free(cluster->clock_timer);
    g_hash_table_unref(cluster->addresses);
    g_hash_table_unref(cluster->down);
    g_array_unref(cluster->failing);
    g_array_unref(cluster->ends);
    g_free(cluster->service.node_id);
    g_free(cluster);
}

/* What goes over the links, and who is handed what. Neither sockets nor files: the simulation runs
 * it as it is.
 *
 *   consensus -- forward --> link FORWARD --> consensus_receive of the leader
 *   broker    -- send    --> link BROKER  --> broker_peer_frame
 *   the end of the leader's link --> cluster_end.c;   pings, echoes, addresses --> cluster_vip.c */
#include "base/log.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include "node/call.h"
#include "node/cluster.h"
#include "node/cluster_vip.h"
#include "node/node.h"
#include "state/cluster_tables.h"
#include "state/log.h"
#include <errno.h>
#include <string.h>

#define TERM_BYTES 8

struct consensus *cluster_consensus(const struct node_cluster *cluster)
{
    return state_log_link_consensus(cluster->node->link);
}

uint32_t cluster_election_ms(const struct node_cluster *cluster)
{
    return state_settings(cluster->node->state)->election_timeout_ms;
}

/* ---- what is sent ---- */

int cluster_forward(void *owner, uint64_t leader_id, uint64_t term, struct bytes group)
{
    struct node_cluster *cluster = owner;
    uint64_t word = GUINT64_TO_LE(term);
    struct bytes pieces[] = {{(const uint8_t *)&word, sizeof word}, group};

    return cluster->links ? links_send_pieces(cluster->links, leader_id, LINKS_FORWARD, pieces, 2)
                          : -ENOTCONN;
}

int cluster_beat(void *owner, uint64_t node_id, struct bytes beat)
{
    struct node_cluster *cluster = owner;

    return cluster->links ? links_beat(cluster->links, node_id, beat) : -ENOTCONN;
}

void cluster_on_beats(void *owner)
{
    struct node_cluster *cluster = owner;

    cluster_vip_on_beats(cluster->vip);
    cluster_roles_on_beats(cluster);
}

int cluster_broker_send(void *owner, uint64_t node_id, struct bytes frame)
{
    struct node_cluster *cluster = owner;

    return cluster->links ? links_send(cluster->links, node_id, LINKS_BROKER, frame) : -ENOTCONN;
}

void cluster_broker_probe(void *owner, uint64_t node_id)
{
    struct node_cluster *cluster = owner;

    if (cluster->links) {
        links_probe(cluster->links, node_id);
    }
}

void cluster_broker_look(void *owner, uint64_t node_id, struct broker_link *link)
{
    const struct node_cluster *cluster = owner;
    struct links_signs signs = {0};

    if (cluster->links) {
        links_signs(cluster->links, node_id, &signs);
    }
    *link = (struct broker_link){signs.heard_ms, signs.usual_trip_us, signs.sent_bytes,
                                 signs.arrived_bytes};
}

/* ---- what the links tell ---- */

static void on_up(void *owner, uint64_t node_id)
{
    struct node_cluster *cluster = owner;

    g_hash_table_remove(cluster->down, &node_id);
    consensus_reachable(cluster_consensus(cluster), node_id);
    if (cluster->node->broker) {
        broker_peer_up(cluster->node->broker, node_id);
    }
    cluster_vip_on_up(cluster->vip, node_id);
    cluster_tell_nodes(cluster, node_id);
    cluster_lone_on_up(cluster);
    cluster_roles_look(cluster);
    cluster_rotation_look(cluster);
    node_unsettled(cluster->node);
}

static void on_down(void *owner, uint64_t node_id, bool is_end)
{
    struct node_cluster *cluster = owner;

    if (cluster->node->broker) {
        broker_peer_down(cluster->node->broker, node_id);
    }
    cluster_vip_on_down(cluster->vip, node_id);
    if (is_end && node_id == cluster->leader_id) {
        cluster_end_seen(cluster, node_id);
    }
    cluster_roles_look(cluster);
}

static void on_forwarded(struct node_cluster *cluster, uint64_t node_id, struct bytes payload)
{
    uint64_t term;

    if (payload.length < TERM_BYTES) {
        return;
    }
    memcpy(&term, payload.at, sizeof term);
    struct bytes group = {payload.at + TERM_BYTES, payload.length - TERM_BYTES};
    int r = consensus_receive(cluster_consensus(cluster), GUINT64_FROM_LE(term), group);
    if (r < 0 && r != -ENOTCONN) {
        log_warning("a forwarded write was not taken", "error=\"%s\"", g_strerror(-r));
        links_reset(cluster->links, node_id); /* it sends anew, in order */
    }
}

static void on_frame(void *owner, uint64_t node_id, uint8_t channel, struct bytes payload)
{
    struct node_cluster *cluster = owner;

    if (channel == LINKS_FORWARD) {
        on_forwarded(cluster, node_id, payload);
    } else if (channel == LINKS_BROKER && cluster->node->broker) {
        int r = broker_peer_frame(cluster->node->broker, node_id, payload);
        if (r < 0) {
            log_warning("what a node said of its clients was not understood", "error=\"%s\"",
                        g_strerror(-r));
            links_reset(cluster->links, node_id);
        }
    } else if (channel == LINKS_CALL && call_is(payload, CALL_NODES)) {
        cluster_told_nodes(cluster, node_id, payload);
    } else if (channel == LINKS_CALL) {
        cluster_end_told(cluster, node_id, payload);
    } else if (channel == LINKS_INGRESS) {
        cluster_vip_on_frame(cluster->vip, node_id, payload);
    }
}

static void on_writable(void *owner, uint64_t node_id)
{
    struct node_cluster *cluster = owner;

    if (node_id == cluster->leader_id) {
        consensus_network_writable(cluster_consensus(cluster));
    }
    if (cluster->node->broker) {
        broker_peer_writable(cluster->node->broker, node_id);
    }
}

static void on_pong(void *owner, uint64_t node_id)
{
    cluster_clock_look(owner);
    cluster_nodes_look(owner);
}

static void on_ping(void *owner, uint64_t node_id, uint64_t sent_ms)
{
    const struct node_cluster *cluster = owner;

    cluster_vip_on_ping(cluster->vip, node_id, sent_ms);
}

static void on_echo(void *owner, uint64_t node_id, const struct links_echo *echo)
{
    const struct node_cluster *cluster = owner;

    cluster_vip_on_echo(cluster->vip, node_id, echo);
}

static void on_beat(void *owner, uint64_t node_id, struct bytes beat)
{
    consensus_beat(cluster_consensus(owner), node_id, beat);
}

static void on_socket(void *owner, uint32_t number, int fd)
{
    const struct node_cluster *cluster = owner;

    cluster_vip_on_socket(cluster->vip, number, fd);
}

static void on_socket_done(void *owner, uint32_t number)
{
    const struct node_cluster *cluster = owner;

    cluster_vip_on_socket_done(cluster->vip, number);
}

const struct links_events cluster_links_events = {.on_up = on_up,
                                                  .on_down = on_down,
                                                  .on_frame = on_frame,
                                                  .on_writable = on_writable,
                                                  .on_ping = on_ping,
                                                  .on_pong = on_pong,
                                                  .on_echo = on_echo,
                                                  .on_beat = on_beat,
                                                  .on_removed = cluster_removed_told,
                                                  .on_socket = on_socket,
                                                  .on_socket_done = on_socket_done};

/* ---- beginning ---- */

struct beginning {
    struct broker *broker;
    GArray *up; /* node ids */
};

static void note(void *owner, const struct links_status *status)
{
    struct beginning *beginning = owner;

    broker_peer_expect(beginning->broker, status->node_id);
    if (status->is_up) {
        g_array_append_val(beginning->up, status->node_id);
    }
}

void cluster_begin_links_anew(struct node_cluster *cluster)
{
    g_autoptr(GArray) up = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    struct beginning beginning = {cluster->node->broker, up};

    if (cluster->links) {
        links_for_each(cluster->links, note, &beginning);
    }
    for (guint i = 0; i < up->len; i++) {
        links_reset(cluster->links, g_array_index(up, uint64_t, i));
    }
}

/* ---- who leads ---- */

/* "-" while its row has not come yet. */
static const char *name_of(const struct node *node, uint64_t node_id)
{
    const struct cluster_node *row = state_find_node(node->state, node_id);
    const char *name = row ? row->name : "-";

    return node_id == node->identity.id ? node->identity.name : name;
}

void node_cluster_on_leader(struct node_cluster *cluster, uint64_t leader_id, uint64_t term)
{
    bool is_another = leader_id != cluster->leader_id;

    cluster_vip_on_leader(cluster->vip, leader_id, term);
    cluster->leader_id = leader_id;
    cluster->term = term;
    if (is_another) {
        cluster->led_since_ms = loop_now_ms(cluster->node->loop);
        g_hash_table_remove_all(cluster->down);
    }
    if (leader_id != 0) {
        log_info("leader", "node=%016" G_GINT64_MODIFIER "x term=%" G_GUINT64_FORMAT " name=%s",
                 leader_id, term, name_of(cluster->node, leader_id));
    }
    if (leader_id != 0 && is_another) { /* the same in a new term: somebody stands against it */
        g_array_set_size(cluster->ends, 0);
        timer_stop(cluster->end_timer);
    }
    cluster_roles_look(cluster);
    node_unsettled(cluster->node);
}

void node_cluster_on_leading(struct node_cluster *cluster, bool is_leading)
{
    cluster_vip_on_leading(cluster->vip, is_leading);
    cluster_on_nodes(cluster);      /* all of the log is here, perhaps again */
    cluster_roles_look(cluster);    /* whoever should not lead hands over at once */
    cluster_rotation_look(cluster); /* all may have changed over while nobody led */
}

void node_cluster_on_members(struct node_cluster *cluster)
{
    cluster_vip_on_members(cluster->vip);
    cluster_roles_look(cluster);
}

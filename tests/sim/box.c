/* See box.h; the keeper is in desk.c. */
#include "box.h"
#include "access/access.h"
#include "base/clock.h"
#include "cluster/links.h"
#include "cluster/raft_transport.h"
#include "consensus/members.h"
#include "crowd.h"
#include "desk.h"
#include "ingress/sockets.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/test_virtual_loop.h"
#include "net/stream.h"
#include "node/cluster.h"
#include "node/cluster_vip.h"
#include "node/node.h"
#include "state/log.h"
#include "state/propose.h"
#include "state/settings.h"
#include "state/state.h"
#include <errno.h>
#include <stdlib.h>

#define GIVE_UP_MS   3000
#define STOP_MS      6000 /* more than what consensus_stop waits for */
#define TICK_MS_MOST 60000

/* ---- what the daemon has elsewhere ---- */

int sockets_for_each(const uint8_t *address, bool is_ipv6,
                     void (*fn)(void *owner, const struct ingress_client *client), void *owner)
{
    return 0;
}

void node_unsettled(struct node *node)
{
}

void cluster_rotation_look(struct node_cluster *cluster)
{
}

void *loop_native(struct loop *loop)
{
    return NULL;
}

/* The port sees at each message of libraft's who is a member. */
void raft_transport_drop(struct raft_transport *transport, uint64_t node_id)
{
}

/* A pointer that node.c has no other use for stands in its place. */
static struct box *box_in(const char *data)
{
    return (struct box *)(void *)data;
}

static struct box *box_of(const struct node *node)
{
    return box_in(node->config.data);
}

/* ---- the data directory ---- */

static GHashTable *addresses_new(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
}

static void add_address(GHashTable *addresses, uint64_t id, const char *address)
{
    g_hash_table_insert(addresses, g_memdup2(&id, sizeof id), g_strdup(address));
}

static GHashTable *addresses_copy(GHashTable *from)
{
    GHashTable *to = addresses_new();
    GHashTableIter iterator;
    gpointer id, address;

    g_hash_table_iter_init(&iterator, from);
    while (g_hash_table_iter_next(&iterator, &id, &address)) {
        add_address(to, *(uint64_t *)id, address);
    }
    return to;
}

int cluster_peers_save(const char *data, GHashTable *addresses, GError **error)
{
    struct box *box = box_in(data);

    g_hash_table_unref(box->peers);
    box->peers = addresses_copy(addresses);
    return 0;
}

void box_found(struct box *box, unsigned voters, GBytes *snapshot)
{
    char address[16];

    disk_found(&box->disk, voters, snapshot);
    box->peers = addresses_new();
    for (unsigned i = 0; i < voters; i++) {
        g_snprintf(address, sizeof address, "box-%u:7474", i + 1);
        if (i != box->at) {
            add_address(box->peers, i + 1, address);
        }
    }
}

void box_install(struct box *box, const struct state *table)
{
    box->is_joining = true;
    box->peers = addresses_new();
    for (uint32_t i = 0; i < state_node_count(table); i++) {
        const struct cluster_node *row = state_node_at(table, i);
        if (row->id != box->at + 1) {
            add_address(box->peers, row->id, row->address);
        }
    }
}

bool box_is_there(const struct box *box)
{
    return box->peers && !box->is_gone && !box->is_removed;
}

bool box_is_member(const struct box *box)
{
    return box_is_there(box) && !box->is_out;
}

/* ---- time: as in wire.c ---- */

static void schedule_tick(struct node *node)
{
    uint64_t due = state_next_due_unix_ms(node->state), now = loop_unix_ms(node->loop);

    if (due == 0 || !node->is_leading) {
        timer_stop(node->tick);
    } else {
        timer_start(node->tick, due > now ? MIN(due - now + 1, TICK_MS_MOST) : 1);
    }
}

static void on_ticked(void *owner, uint64_t token, const struct state_result *result)
{
    schedule_tick(owner);
}

static void on_tick(void *owner)
{
    struct node *node = owner;
    uint64_t due = state_next_due_unix_ms(node->state);
    struct state_completion completion = {on_ticked, node, 0, 0};

    if (due == 0 || due > loop_unix_ms(node->loop)) {
        schedule_tick(node);
    } else if (state_propose_tick(node->state, loop_unix_ms(node->loop), &completion) < 0) {
        timer_start(node->tick, 1000);
    }
}

static void on_due(void *owner)
{
    struct node *node = owner;

    if (node->is_serving) {
        schedule_tick(node);
    }
}

/* ---- tables ---- */

static void on_settings(void *owner)
{
    struct node_cluster *cluster = owner;
    const struct settings *settings = state_settings(cluster->node->state);

    consensus_set_timeouts(cluster_consensus(cluster), settings->election_timeout_ms,
                           settings->write_wait_ms);
    links_set_give_up(cluster->links, GIVE_UP_MS);
    cluster_vip_on_settings(cluster->vip);
}

static void on_vips(void *owner)
{
    const struct node_cluster *cluster = owner;

    if (cluster->is_ready) {
        cluster_vip_on_table(cluster->vip);
    }
}

static void on_restored(void *owner)
{
    on_settings(owner);
    cluster_on_nodes(owner);
    on_vips(owner);
}

/* ---- serving ---- */

static void recover(void *owner);

static void on_recovered(void *owner, uint64_t token, const struct state_result *result)
{
    struct node *node = owner;

    if (node->is_stopping) {
        return;
    }
    if (result->error == -ETIMEDOUT) {
        recover(node); /* the leader was lost meanwhile */
    } else if (result->error == 0) {
        node->is_serving = true;
        schedule_tick(node);
        cluster_vip_serve(node->cluster->vip);
    }
}

static void recover(void *owner)
{
    struct node *node = owner;
    struct state_completion completion = {on_recovered, node, 0, 0};

    if (!box_of(node)->is_dying && state_propose_recover(node->state, &completion) < 0) {
        crowd_broken("the log takes no changes");
    }
}

static void serve(struct node *node)
{
    struct broker_options broker = {.loop = node->loop,
                                    .state = node->state,
                                    .node_id = node->identity.id,
                                    .epoch = node->identity.epoch,
                                    .version = "sim",
                                    .links = &node->cluster->broker_links};

    node->access = access_new(node->loop, node->state);
    broker.access = node->access;
    node->broker = broker_new(&broker);
    node->cluster->is_ready = true;
    cluster_begin_links_anew(node->cluster);
    on_restored(node->cluster);
    cluster_roles_look(node->cluster);
    cluster_clock_wait(node->cluster, recover);
}

void node_serve(struct node *node)
{
    struct consensus_status status;

    consensus_status(state_log_link_consensus(node->link), &status);
    bool is_up = status.state == CONSENSUS_LEADING || status.state == CONSENSUS_FOLLOWING;
    if (is_up && !node->broker && !node->is_stopping && node_cluster_may_serve(node->cluster)) {
        serve(node);
    }
}

/* ---- the log ---- */

static void on_state(void *owner, enum consensus_state state)
{
    struct node *node = owner;
    bool is_up = state == CONSENSUS_LEADING || state == CONSENSUS_FOLLOWING;

    if (box_of(node)->is_dying) {
        return;
    }
    node->is_leading = state == CONSENSUS_LEADING;
    node_cluster_on_leading(node->cluster, node->is_leading);
    box_of(node)->is_joining &= !is_up;
    if (is_up && !node->broker) {
        node_serve(node);
    } else if (is_up && node->is_serving) {
        schedule_tick(node);
    }
}

/* One leader in a term, whatever happens. A follower may still know the old one when the term has
 * changed already: what counts is who says so of itself. */
static void note_leader(struct box *box, uint64_t leader_id, uint64_t term)
{
    GHashTable *leaders = box->boxes->leaders;
    uint64_t known = GPOINTER_TO_SIZE(g_hash_table_lookup(leaders, GSIZE_TO_POINTER(term)));

    if (leader_id != box->node->identity.id) {
        return;
    }
    if (known != 0 && known != leader_id) {
        crowd_broken("nodes %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT
                     " lead in term %" G_GUINT64_FORMAT,
                     known, leader_id, term);
    }
    g_hash_table_insert(leaders, GSIZE_TO_POINTER(term), GSIZE_TO_POINTER(leader_id));
}

static void on_leader(void *owner, uint64_t leader_id, uint64_t term)
{
    struct node *node = owner;

    if (!box_of(node)->is_dying) {
        note_leader(box_of(node), leader_id, term);
        node_cluster_on_leader(node->cluster, leader_id, term);
    }
}

static void on_members(void *owner)
{
    struct node *node = owner;

    if (!box_of(node)->is_dying) {
        node_cluster_on_members(node->cluster);
    }
}

static void on_fatal(void *owner, const char *message)
{
    crowd_broken("the log failed: %s", message);
}

static uint64_t on_group_time(void *owner)
{
    return cluster_clock_unix_ms(((struct node *)owner)->cluster);
}

/* ---- starting ---- */

static void on_connect(void *owner, uint64_t node_id, uint64_t token)
{
    g_assert_not_reached(); /* libraft's streams are the disk's (disk.c) */
}

static struct node_cluster *cluster_new(struct node *node)
{
    struct node_cluster *cluster = g_new0(struct node_cluster, 1);

    cluster->node = node;
    cluster->network = (struct consensus_network){on_connect, cluster_forward, cluster_beat,
                                                  cluster_on_beats, cluster};
    cluster->broker_links = (struct broker_links){cluster_broker_send, cluster_broker_probe,
                                                  cluster_broker_look, cluster};
    cluster->addresses = addresses_copy(box_of(node)->peers);
    cluster->down = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    cluster->ends = g_array_new(FALSE, FALSE, sizeof(struct end_witness));
    cluster->roles_timer = timer_new(node->loop, cluster_roles_on_timer, cluster);
    cluster->end_timer = timer_new(node->loop, cluster_end_on_timer, cluster);
    cluster->leave_timer = timer_new(node->loop, cluster_leave_on_timer, cluster);
    cluster->removed_timer = timer_new(node->loop, cluster_removed_on_timer, cluster);
    cluster->clock_timer = timer_new(node->loop, cluster_clock_on_timer, cluster);
    cluster->ask_timer = timer_new(node->loop, cluster_lone_on_timer, cluster);
    cluster->vip = cluster_vip_new(cluster, node->keeper);
    return cluster;
}

static void cluster_free(struct node_cluster *cluster)
{
    links_free(cluster->links);
    cluster_vip_free(cluster->vip);
    timer_free(cluster->roles_timer);
    timer_free(cluster->end_timer);
    timer_free(cluster->leave_timer);
    timer_free(cluster->removed_timer);
    timer_free(cluster->clock_timer);
    timer_free(cluster->ask_timer);
    g_hash_table_unref(cluster->addresses);
    g_hash_table_unref(cluster->down);
    g_array_unref(cluster->ends);
    g_free(cluster);
}

static void open_links(struct box *box)
{
    struct node_cluster *cluster = box->node->cluster;
    struct links_options options = {.loop = box->node->loop,
                                    .node_id = box->node->identity.id,
                                    .epoch = box->epoch,
                                    .events = &cluster_links_events,
                                    .owner = cluster};

    cluster->links = links_new(&options);
    cluster_set_peers(cluster);
}

/* ---- the port, as in cluster/peer_listener.c ---- */

static bool is_member(void *owner, unsigned box, unsigned other)
{
    const struct boxes *boxes = owner;

    return cluster_is_member(boxes->all[box].node->cluster, other + 1);
}

static void on_link(void *owner, unsigned box, unsigned from, struct stream *stream)
{
    const struct boxes *boxes = owner;
    struct node_cluster *cluster = boxes->all[box].node->cluster;

    if (!cluster_is_member(cluster, from + 1) && cluster_was_removed(cluster, from + 1)) {
        links_tell_removed(stream);
    } else if (cluster_let_in(cluster, from + 1)) {
        links_accept(cluster->links, from + 1, stream);
    } else {
        stream_reset(stream);
    }
}

static const struct net_calls net_calls = {is_member, on_link};

static void start_log(struct box *box)
{
    struct node *node = box->node;
    g_autofree char *directory = disk_directory(box->at);
    struct state_log_options options = {
        .state = {.node_id = node->identity.id, .epoch = box->epoch},
        .consensus = {.loop = node->loop,
                      .directory = directory,
                      .node_id = node->identity.id,
                      .address = directory,
                      .snapshot_log_bytes = box->boxes->snapshot_log_bytes,
                      .network = &node->cluster->network,
                      .join = box->is_joining},
        .events = {on_state, on_leader, on_members, on_fatal, on_group_time, node},
    };
    GError *error = NULL;

    node->link = state_log_link_new(&options, &error);
    node->state = node->link ? state_log_link_state(node->link) : NULL;
    if (!node->link) {
        crowd_broken("no log: %s", error->message);
    }
    *box->watch = (struct state_watch){.owner = node->cluster,
                                       .on_nodes = cluster_on_nodes,
                                       .on_settings = on_settings,
                                       .on_vips = on_vips,
                                       .on_restored = on_restored};
    *box->tick_watch = (struct state_watch){.owner = node, .on_due = on_due};
    state_add_watch(node->state, box->tick_watch);
    open_links(box);
    state_add_watch(node->state, box->watch);
    if (consensus_start(state_log_link_consensus(node->link), &error) < 0) {
        crowd_broken("the log does not start: %s", error->message);
    }
}

void box_start(struct box *box)
{
    struct net_box *known = &box->boxes->net->boxes[box->at];
    struct node *node = g_new0(struct node, 1);

    if (!box->desk.is_alive) {
        desk_start(box);
    }
    box->node = node;
    box->begins_ms = 0;
    box->is_dying = box->is_log_stopped = box->is_leaving = box->is_stopped = false;
    box->has_power = true;
    node->config.data = (char *)box;
    node->identity.id = box->at + 1;
    node->identity.epoch = ++box->epoch;
    node->keeper = (struct keeper_ends){(int)box->at, (int)box->at};
    node->loop = virtual_loop_new(box->boxes->start_unix_ms);
    virtual_loop_set_clock(node->loop, box->boxes->net->now_ms, box->ahead_ms, box->rate_ppm);
    virtual_loop_enter(node->loop);
    *known = (struct net_box){.loop = node->loop,
                              .disk = &box->disk,
                              .life = known->life + 1,
                              .is_awake = true,
                              .has_power = true};
    node->tick = timer_new(node->loop, on_tick, node);
    node->cluster = cluster_new(node);
    start_log(box);
    virtual_loop_end_turn(node->loop);
}

/* ---- ending ---- */

static void on_log_stopped(void *owner)
{
    ((struct box *)owner)->is_log_stopped = true;
}

static void stop_log(struct box *box)
{
    struct loop *loop = box->node->loop;

    if (!box->is_log_stopped) {
        consensus_stop(state_log_link_consensus(box->node->link), on_log_stopped, box);
        virtual_loop_end_turn(loop);
    }
    if (!box->is_log_stopped) {
        virtual_loop_turn(loop, virtual_loop_true_ms(loop) + STOP_MS);
    }
    g_assert(box->is_log_stopped);
}

/* Nothing of what it does now is seen by anybody. */
static void free_daemon(struct box *box)
{
    struct node *node = box->node;

    virtual_loop_enter(node->loop);
    stop_log(box);
    if (node->broker) {
        broker_free(node->broker);
        access_free(node->access);
    }
    state_remove_watch(node->state, box->watch);
    state_remove_watch(node->state, box->tick_watch);
    timer_free(node->tick);
    cluster_free(node->cluster);
    state_log_link_free(node->link);
    virtual_loop_end_turn(node->loop);
    virtual_loop_free(node->loop);
    g_free(node);
}

static void end_daemon(struct box *box)
{
    struct boxes *boxes = box->boxes;
    struct net_box *known = &boxes->net->boxes[box->at];

    if (!box->node) {
        return;
    }
    box->is_dying = true;
    box->begins_ms = 0;
    disk_crash(&box->disk);
    boxes->on_dying(boxes->owner, box->at);
    net_end_process(boxes->net, box->at, desk_guards, box);
    free_daemon(box);
    box->node = NULL;
    box->is_stopped = false;
    known->loop = NULL;
    known->is_awake = false;
    boxes->on_dead(boxes->owner, box->at);
}

static void begin_later(struct box *box, int ms_max)
{
    uint64_t after_ms = 1 + (uint64_t)g_rand_int_range(box->boxes->random, 0, ms_max);

    box->begins_ms = box_is_there(box) ? box->boxes->net->now_ms + after_ms : 0;
}

void box_kill_daemon(struct box *box)
{
    end_daemon(box);
    begin_later(box, 2000);
}

void box_kill_keeper(struct box *box)
{
    desk_end(box);
    end_daemon(box);
    begin_later(box, 3000);
}

void box_lose_power(struct box *box)
{
    struct net *net = box->boxes->net;

    net->boxes[box->at].has_power = false;
    box->has_power = false;
    net_lose_power(net, box->at);
    desk_end(box);
    end_daemon(box);
    net_lose_power(net, box->at);
    begin_later(box, 6000);
}

void box_lose(struct box *box)
{
    box->is_gone = true;
    box_lose_power(box);
}

/* ---- planned ---- */

static void on_handed_over(void *owner, int error)
{
    ((struct box *)owner)->handovers += error == 0;
}

void box_hand_over(struct box *box)
{
    struct node *node = box->node;

    if (node && node->is_leading && !box->is_stopped) {
        virtual_loop_enter(node->loop);
        cluster_vip_hand_over(node->cluster->vip, 0, on_handed_over, box);
        virtual_loop_end_turn(node->loop);
    }
}

static void on_left(void *owner)
{
    box_of(owner)->is_leaving = true; /* box_turn ends it */
}

static void stop(struct node *node)
{
    if (!node->is_stopping) {
        node->is_stopping = true;
        node_cluster_leave(node->cluster, on_left);
    }
}

void box_leave(struct box *box)
{
    struct node *node = box->node;

    if (node && !box->is_stopped) {
        virtual_loop_enter(node->loop);
        stop(node);
        virtual_loop_end_turn(node->loop);
    }
}

void node_removed(struct node *node)
{
    box_of(node)->is_removed = true;
    stop(node);
}

bool box_is_awake(const struct box *box)
{
    return box->node && !box->is_stopped;
}

static void daemon_turn(struct box *box)
{
    if (!box_is_awake(box)) {
        return;
    }
    virtual_loop_turn(box->node->loop, box->boxes->net->now_ms);
    desk_tell(box);
    disk_turn(&box->disk, box->boxes->net->now_ms);
    virtual_loop_end_turn(box->node->loop);
}

/* ---- stopped processes ---- */

void box_stop_daemon(struct box *box, bool is_stopped)
{
    struct boxes *boxes = box->boxes;

    if (!box->node || box->is_stopped == is_stopped) {
        return;
    }
    box->is_stopped = is_stopped;
    boxes->net->boxes[box->at].is_awake = !is_stopped;
    if (!is_stopped) { /* what has come is read first, or timers that are due fire first */
        virtual_loop_set_clock(box->node->loop, boxes->net->now_ms, box->ahead_ms, box->rate_ppm);
        if (g_rand_int_range(boxes->random, 0, 2)) {
            daemon_turn(box);
        }
    }
}

void box_stop_keeper(struct box *box, bool is_stopped)
{
    if (box->desk.is_alive && box->desk.is_stopped != is_stopped) {
        box->desk.is_stopped = is_stopped;
        box->was_cut = false;
    }
}

bool box_is_serving(const struct box *box)
{
    return box->node && box->node->is_serving;
}

/* ---- time ---- */

void box_turn(struct box *box)
{
    struct boxes *boxes = box->boxes;
    bool is_keeper_first = g_rand_int_range(boxes->random, 0, 2);

    virtual_loop_turn(box->clock, boxes->net->now_ms);
    for (unsigned i = 0; i < boxes->count; i++) {
        box->was_cut |= i != box->at && !net_is_reachable(boxes->net, i, box->at);
    }
    if (!box->node) {
        desk_turn(box);
    }
    if (!box->node && box->begins_ms != 0 && boxes->net->now_ms >= box->begins_ms &&
        !box->desk.is_stopped) { /* it is the keeper that starts it */
        box_start(box);
    }
    if (is_keeper_first) {
        desk_turn(box);
    }
    daemon_turn(box);
    if (!is_keeper_first) {
        desk_turn(box);
    }
    if (box->is_leaving) {
        box_kill_daemon(box);
        if (box->is_removed) {
            desk_end(box);
        }
    }
}

uint64_t box_next_ms(const struct box *box)
{
    uint64_t next_ms = desk_next_ms(box);

    if (!box->node) {
        return MIN(next_ms, box->begins_ms ? box->begins_ms : UINT64_MAX);
    }
    if (!box->is_stopped) {
        next_ms = MIN(next_ms, virtual_loop_next_ms(box->node->loop));
        next_ms = MIN(next_ms, disk_next_ms(&box->disk));
    }
    return next_ms;
}

/* ---- life ---- */

void boxes_init(struct boxes *boxes, struct net *net, GRand *random, unsigned count)
{
    *boxes = (struct boxes){.net = net, .random = random, .count = count};
    net->calls = &net_calls;
    net->owner = boxes;
    boxes->leaders = g_hash_table_new(NULL, NULL);
    for (unsigned i = 0; i < count; i++) {
        struct box *box = &boxes->all[i];
        box->at = i;
        box->boxes = boxes;
        box->watch = g_new0(struct state_watch, 1);
        box->tick_watch = g_new0(struct state_watch, 1);
        box->ahead_ms = (uint64_t)g_rand_int_range(random, 0, 1000000);
        box->rate_ppm = g_rand_int_range(random, -2000, 2001);
        box->clock = virtual_loop_new(0);
        virtual_loop_set_clock(box->clock, net->now_ms, box->ahead_ms, box->rate_ppm);
        g_queue_init(&box->desk.asked);
        g_queue_init(&box->desk.conflicts);
        box->desk.renewals = g_array_new(FALSE, FALSE, sizeof(struct keeper_message));
        box->desk.guarded = g_array_new(FALSE, FALSE, sizeof(struct guarded));
        disk_init(&box->disk, net, i, random);
    }
}

void boxes_deinit(struct boxes *boxes)
{
    for (unsigned i = 0; i < boxes->count; i++) {
        struct box *box = &boxes->all[i];
        desk_end(box);
        end_daemon(box);
        disk_deinit(&box->disk);
        if (box->peers) {
            g_hash_table_unref(box->peers);
        }
        g_array_unref(box->desk.renewals);
        g_array_unref(box->desk.guarded);
        virtual_loop_free(box->clock);
        g_free(box->watch);
        g_free(box->tick_watch);
    }
    g_hash_table_unref(boxes->leaders);
}

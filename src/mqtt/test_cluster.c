/* See test_cluster.h. */
#include "mqtt/test_cluster.h"
#include "access/access.h"
#include "base/clock.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/test_virtual_loop.h"
#include "state/propose.h"
#include "state/snapshot.h"
#include "state/state.h"
#include <assert.h>
#include <errno.h>

#define GROUPS_MAX 64

/* ---- the log ---- */

static uint8_t *on_append(void *owner, size_t length)
{
    struct virtual_node *node = owner;

    if (node->is_dead || g_queue_get_length(&node->groups) >= GROUPS_MAX) {
        return NULL;
    }
    if (node->filling->len == 0) {
        g_byte_array_set_size(node->filling, STATE_GROUP_HEADER_BYTES);
        state_group_begin(node->state, clock_unix_ms(), node->filling->data);
    }
    guint at = node->filling->len;
    g_byte_array_set_size(node->filling, at + (guint)length);
    return node->filling->data + at;
}

static void unref(void *bytes)
{
    g_bytes_unref(bytes);
}

static struct bytes view(GBytes *bytes)
{
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(bytes, &length);
    return (struct bytes){at, length};
}

static uint64_t last_index(const struct cluster *cluster)
{
    return cluster->base + cluster->entries->len;
}

static void send_group(struct virtual_node *node)
{
    static const uint8_t zeros[8];

    if (node->filling->len > 0) {
        g_byte_array_append(node->filling, zeros, (8 - node->filling->len % 8) % 8);
        g_queue_push_tail(&node->groups, g_byte_array_free_to_bytes(node->filling));
        node->filling = g_byte_array_new();
    }
}

bool cluster_commit(struct cluster *cluster, unsigned at)
{
    struct virtual_node *node = &cluster->nodes[at];

    if (node->is_cut_off || node->is_frozen || g_queue_is_empty(&node->groups)) {
        return false;
    }
    g_ptr_array_add(cluster->entries, g_queue_pop_head(&node->groups));
    cluster->moved++;
    return true;
}

static void apply_next(struct virtual_node *node)
{
    struct cluster *cluster = node->cluster;
    GBytes *entry = cluster->entries->pdata[node->applied - cluster->base];
    GError *error = NULL;

    if (state_apply(node->state, ++node->applied, view(entry), &error) != 0) {
        g_error("entry %" G_GUINT64_FORMAT " was not applied: %s", node->applied,
                error ? error->message : "no reason");
    }
}

bool cluster_apply(struct cluster *cluster, unsigned at)
{
    struct virtual_node *node = &cluster->nodes[at];

    if (node->is_cut_off || node->is_frozen || node->applied >= last_index(cluster)) {
        return false;
    }
    apply_next(node);
    cluster_end_turn(cluster);
    cluster->moved++;
    return true;
}

/* ---- the links ---- */

static int on_send(void *owner, uint64_t node_id, struct bytes frame)
{
    struct virtual_node *node = owner;
    struct cluster *cluster = node->cluster;
    struct cluster_link *link = &cluster->links[node->id - 1][node_id - 1];

    assert(frame.length <= 4 * 1024 * 1024);
    if (!link->is_up || cluster->cut[node->id - 1][node_id - 1]) {
        return -ENOTCONN;
    }
    if (link->bytes > cluster->link_bytes_max) {
        link->is_full = true;
        return -EAGAIN;
    }
    g_queue_push_tail(&link->frames, g_bytes_new(frame.at, frame.length));
    link->bytes += frame.length;
    return 0;
}

/* A frame of no length: whoever gets it has answered. */
static void on_probe(void *owner, uint64_t node_id)
{
    struct virtual_node *node = owner;
    struct cluster_link *link = &node->cluster->links[node->id - 1][node_id - 1];

    if (link->is_up && !node->cluster->cut[node->id - 1][node_id - 1]) {
        g_queue_push_tail(&link->frames, g_bytes_new(NULL, 0));
    }
}

static void on_look(void *owner, uint64_t node_id, struct broker_link *link)
{
    const struct virtual_node *node = owner;
    const struct cluster_link *found = &node->cluster->links[node->id - 1][node_id - 1];

    *link = (struct broker_link){found->heard_ms, found->round_trip_us, 1,
                                 !node->cluster->nodes[node_id - 1].is_off};
}

static void drop_frames(struct cluster_link *link)
{
    g_queue_clear_full(&link->frames, unref);
    link->bytes = 0;
    link->is_full = false;
}

bool cluster_carry(struct cluster *cluster, unsigned from, unsigned to)
{
    struct cluster_link *link = &cluster->links[from][to];
    struct broker *receiver = cluster->nodes[to].broker;

    if (!cluster->links[to][from].is_up || cluster->nodes[to].is_frozen ||
        g_queue_is_empty(&link->frames)) {
        return false;
    }
    GBytes *frame = g_queue_pop_head(&link->frames);
    bool is_probe = g_bytes_get_size(frame) == 0;
    struct cluster_link *hears = is_probe ? link : &cluster->links[to][from];
    hears->heard_ms = loop_now_ms(cluster->loop);
    link->bytes -= g_bytes_get_size(frame);
    if (!is_probe && broker_peer_frame(receiver, cluster->nodes[from].id, view(frame)) < 0) {
        g_error("a frame was not understood");
    }
    g_bytes_unref(frame);
    if (link->is_full && link->bytes <= cluster->link_bytes_max / 2) {
        link->is_full = false;
        broker_peer_writable(cluster->nodes[from].broker, cluster->nodes[to].id);
    }
    cluster_end_turn(cluster);
    cluster->moved++;
    return true;
}

bool cluster_notice(struct cluster *cluster, unsigned from, unsigned to)
{
    struct cluster_link *link = &cluster->links[from][to];
    struct broker *broker = cluster->nodes[from].broker;
    uint64_t other = cluster->nodes[to].id;

    if (link->is_up == !cluster->cut[from][to]) {
        return false;
    }
    link->is_up = !link->is_up;
    drop_frames(link);
    if (link->is_up) {
        broker_peer_up(broker, other);
    } else {
        broker_peer_down(broker, other);
    }
    cluster_end_turn(cluster);
    cluster->moved++;
    return true;
}

/* Both sides have noticed before it may come back: as with one connection after another. */
void cluster_cut(struct cluster *cluster, unsigned a, unsigned b)
{
    cluster->cut[a][b] = cluster->cut[b][a] = true;
    drop_frames(&cluster->links[a][b]);
    drop_frames(&cluster->links[b][a]);
}

void cluster_heal(struct cluster *cluster, unsigned a, unsigned b)
{
    cluster_notice(cluster, a, b);
    cluster_notice(cluster, b, a);
    cluster->cut[a][b] = cluster->cut[b][a] = false;
}

/* ---- time ---- */

static void on_ticked(void *owner, uint64_t token, const struct state_result *result)
{
    ((struct virtual_node *)owner)->is_ticking = false;
}

static void tick(struct virtual_node *node)
{
    uint64_t due_unix_ms = state_next_due_unix_ms(node->state);
    struct state_completion completion = {on_ticked, node, 0};

    if (!node->is_cut_off && !node->is_ticking && due_unix_ms != 0 &&
        due_unix_ms <= clock_unix_ms()) {
        node->is_ticking = state_propose_tick(node->state, clock_unix_ms(), &completion) == 0;
    }
}

void cluster_end_turn(struct cluster *cluster)
{
    virtual_loop_end_turn(cluster->loop);
    for (unsigned i = 0; i < cluster->count; i++) {
        send_group(&cluster->nodes[i]);
    }
}

static bool move_all(struct cluster *cluster)
{
    bool has_done = false;

    for (unsigned i = 0; i < cluster->count; i++) {
        for (unsigned j = 0; j < cluster->count; j++) {
            has_done |= i != j && cluster_notice(cluster, i, j);
        }
    }
    for (unsigned i = 0; i < cluster->count; i++) {
        for (unsigned j = 0; j < cluster->count; j++) {
            has_done |= i != j && cluster_carry(cluster, i, j);
        }
        has_done |= cluster_commit(cluster, i);
        has_done |= cluster_apply(cluster, i);
    }
    return has_done;
}

void cluster_settle(struct cluster *cluster)
{
    tick(&cluster->nodes[0]);
    cluster_end_turn(cluster);
    for (int rounds = 0; move_all(cluster); rounds++) {
        assert(rounds < 1000000); /* they talk for ever */
    }
}

bool cluster_is_quiet(const struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->count; i++) {
        const struct virtual_node *node = &cluster->nodes[i];
        if (node->filling->len > 0 || node->groups.length > 0 || state_pending(node->state) > 0 ||
            node->applied < last_index(cluster)) {
            return false;
        }
        for (unsigned j = 0; j < cluster->count; j++) {
            if (cluster->links[i][j].frames.length > 0) {
                return false;
            }
        }
    }
    return true;
}

/* ---- life ---- */

static GBytes *snapshot_of(struct state *state)
{
    struct state_snapshot *snapshot = state_snapshot_new(state);
    GByteArray *whole = g_byte_array_new();
    uint32_t count = 0;
    const struct consensus_piece *pieces = state_snapshot_pieces(snapshot, &count);

    for (uint32_t i = 0; i < count; i++) {
        g_byte_array_append(whole, pieces[i].base, (guint)pieces[i].length);
    }
    state_snapshot_free(snapshot);
    return g_byte_array_free_to_bytes(whole);
}

static void start(struct virtual_node *node)
{
    struct cluster *cluster = node->cluster;
    struct state_log log = {.append = on_append, .owner = node};
    struct state_options options = {node->id, ++node->epoch};

    node->is_dead = node->is_ticking = node->is_cut_off = node->is_frozen = node->is_off = false;
    node->applied = cluster->base;
    node->state = state_new(&options, &log);
    if (cluster->snapshot && state_restore(node->state, view(cluster->snapshot), NULL) != 0) {
        g_error("the snapshot was not restored");
    }
    while (node->applied < last_index(cluster)) {
        apply_next(node);
    }
    node->access = access_new(cluster->loop, node->state);
    node->links = g_new0(struct broker_links, 1);
    *node->links =
        (struct broker_links){.send = on_send, .probe = on_probe, .look = on_look, .owner = node};
    node->broker = broker_new(&(struct broker_options){.loop = cluster->loop,
                                                       .state = node->state,
                                                       .access = node->access,
                                                       .node_id = node->id,
                                                       .epoch = node->epoch,
                                                       .version = "sim",
                                                       .links = node->links});
    for (uint64_t id = 1; id <= cluster->count; id++) {
        if (id != node->id) {
            broker_peer_expect(node->broker, id);
        }
    }
    state_propose_recover(node->state, NULL);
    cluster_end_turn(cluster);
    while (g_queue_get_length(&node->groups) > 0) {
        cluster_commit(cluster, (unsigned)node->id - 1);
    }
    while (node->applied < last_index(cluster)) {
        apply_next(node);
    }
}

static void stop(struct virtual_node *node)
{
    node->is_dead = true;
    state_group_failed(node->state, 0, -ECANCELED);
    broker_free(node->broker);
    access_free(node->access);
    state_free(node->state);
    g_free(node->links);
    g_byte_array_set_size(node->filling, 0);
    g_queue_clear_full(&node->groups, unref);
}

void cluster_init(struct cluster *cluster, struct loop *loop, GRand *random, unsigned count)
{
    assert(count <= CLUSTER_NODES_MAX);
    *cluster = (struct cluster){
        .loop = loop, .random = random, .count = count, .link_bytes_max = 1024 * 1024};
    cluster->entries = g_ptr_array_new_with_free_func(unref);
    for (unsigned i = 0; i < count; i++) {
        struct virtual_node *node = &cluster->nodes[i];
        node->cluster = cluster;
        node->id = i + 1;
        node->filling = g_byte_array_new();
        g_queue_init(&node->groups);
        for (unsigned j = 0; j < count; j++) {
            g_queue_init(&cluster->links[i][j].frames);
            cluster->links[i][j].round_trip_us = 1000;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        start(&cluster->nodes[i]);
    }
    cluster_settle(cluster);
}

void cluster_deinit(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->count; i++) {
        stop(&cluster->nodes[i]);
        g_byte_array_unref(cluster->nodes[i].filling);
        for (unsigned j = 0; j < cluster->count; j++) {
            drop_frames(&cluster->links[i][j]);
        }
    }
    g_ptr_array_unref(cluster->entries);
    g_clear_pointer(&cluster->snapshot, g_bytes_unref);
}

void cluster_crash(struct cluster *cluster, unsigned at)
{
    struct virtual_node *node = &cluster->nodes[at];
    int written = g_rand_int_range(cluster->random, 0, 4);

    node->is_dead = true; /* what was on its way may still be committed */
    while (written-- > 0 && cluster_commit(cluster, at)) {
    }
    bool was_cut[CLUSTER_NODES_MAX] = {false};
    for (unsigned i = 0; i < cluster->count; i++) {
        was_cut[i] = cluster->cut[at][i];
        if (i != at) {
            cluster_cut(cluster, at, i);
        }
        cluster->links[at][i].is_up = false;
    }
    stop(node);
    start(node);
    for (unsigned i = 0; i < cluster->count; i++) {
        if (i != at && !was_cut[i]) {
            cluster_heal(cluster, at, i);
        }
    }
}

void cluster_fail(struct cluster *cluster, unsigned at, int error)
{
    state_group_failed(cluster->nodes[at].state, 0, error);
    cluster_end_turn(cluster);
}

void cluster_install(struct cluster *cluster, unsigned at, unsigned from)
{
    struct virtual_node *node = &cluster->nodes[at];
    g_autoptr(GBytes) snapshot = snapshot_of(cluster->nodes[from].state);

    assert(cluster->nodes[from].applied >= node->applied);
    if (state_restore(node->state, view(snapshot), NULL) != 0) {
        g_error("the snapshot was not restored");
    }
    node->applied = cluster->nodes[from].applied;
    cluster_end_turn(cluster);
}

void cluster_compare(struct cluster *cluster)
{
    g_autofree char *first = state_digest(cluster->nodes[0].state);

    for (unsigned i = 1; i < cluster->count; i++) {
        g_autofree char *other = state_digest(cluster->nodes[i].state);
        if (strcmp(first, other) != 0) {
            g_error("the states differ at entry %" G_GUINT64_FORMAT, last_index(cluster));
        }
    }
    g_clear_pointer(&cluster->snapshot, g_bytes_unref);
    cluster->snapshot = snapshot_of(cluster->nodes[0].state);
    cluster->base = last_index(cluster);
    g_ptr_array_set_size(cluster->entries, 0);
}

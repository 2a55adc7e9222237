/* The logs of faults_test.c, their state machines, and what moves bytes and groups between them. */
#include "consensus/test_switchboard.h"
#include "consensus/members.h"

#include "base/clock.h"
#include "consensus/harness.h"
#include "loop/loop.h"
#include "loop/watch.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define LOOK_MS     2

/* One of libraft's connections: bytes of one node for another. */
struct relay {
    struct cluster *cluster;
    uint64_t from, to;
    struct watch in, out;
    GByteArray *waiting;
    bool is_dead; /* something was lost: nothing more comes through, until it is healed */
    bool is_closed;
};

struct frame {
    uint64_t from, to, term, epoch;
    bool is_beat;
    GBytes *content;
};

struct dial {
    uint64_t from, to, token, epoch;
};

/* ---- the switch ---- */

static struct node *running(struct cluster *cluster, uint64_t id)
{
    return id <= NODES_MAX && cluster->nodes[id].consensus ? &cluster->nodes[id] : NULL;
}

static bool is_joined(const struct cluster *cluster, uint64_t x, uint64_t y)
{
    return !cluster->cut[x][y] && !cluster->cut[y][x] && !cluster->nodes[x].is_ended &&
           !cluster->nodes[y].is_ended;
}

static void relay_close(struct relay *relay)
{
    if (!relay->is_closed) {
        relay->is_closed = true;
        watch_set(relay->cluster->loop, &relay->in, 0);
        watch_set(relay->cluster->loop, &relay->out, 0);
        close(relay->in.fd);
        close(relay->out.fd);
    }
}

static void relay_free(void *pointer)
{
    struct relay *relay = pointer;
    relay_close(relay);
    g_byte_array_unref(relay->waiting);
    g_free(relay);
}

static void relay_pass_on(struct relay *relay)
{
    ssize_t length = relay->waiting->len == 0 ? 0
                                              : send(relay->out.fd, relay->waiting->data,
                                                     relay->waiting->len, MSG_NOSIGNAL);
    if (length < 0 && errno != EAGAIN) {
        relay_close(relay);
        return;
    }
    if (length > 0) {
        g_byte_array_remove_range(relay->waiting, 0, (guint)length);
    }
    bool is_waiting = relay->waiting->len > 0;
    watch_set(relay->cluster->loop, &relay->out,
              is_waiting ? WATCH_READABLE | WATCH_WRITABLE : WATCH_READABLE);
    watch_set(relay->cluster->loop, &relay->in, is_waiting ? 0 : WATCH_READABLE);
}

static void relay_on_in(struct watch *watch, unsigned events)
{
    struct relay *relay = (struct relay *)((char *)watch - offsetof(struct relay, in));
    uint8_t bytes[65536];
    ssize_t length = recv(watch->fd, bytes, sizeof bytes, 0);

    if (length < 0 && errno == EAGAIN) {
        return;
    }
    if (length <= 0) {
        relay_close(relay);
        return;
    }
    relay->is_dead |= relay->cluster->cut[relay->from][relay->to];
    if (!relay->is_dead) {
        g_byte_array_append(relay->waiting, bytes, (guint)length);
        relay_pass_on(relay);
    }
}

static void relay_on_out(struct watch *watch, unsigned events)
{
    struct relay *relay = (struct relay *)((char *)watch - offsetof(struct relay, out));
    uint8_t byte;

    if (recv(watch->fd, &byte, 1, 0) == 0) {
        relay_close(relay); /* the receiver has closed */
    } else {
        relay_pass_on(relay);
    }
}

static void dial_answer(struct cluster *cluster, const struct dial *dial)
{
    struct node *from = running(cluster, dial->from);
    struct node *to = running(cluster, dial->to);
    int near[2], far[2];

    if (!from || from->epoch != dial->epoch) {
        return;
    }
    if (!to || !is_joined(cluster, dial->from, dial->to)) {
        consensus_connected(from->consensus, dial->token, -EHOSTUNREACH);
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, near), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, far), 0);
    struct relay *relay = g_new0(struct relay, 1);
    *relay = (struct relay){.cluster = cluster, .from = dial->from, .to = dial->to};
    relay->waiting = g_byte_array_new();
    watch_init(&relay->in, near[0], relay_on_in);
    watch_init(&relay->out, far[0], relay_on_out);
    watch_set(cluster->loop, &relay->in, WATCH_READABLE);
    watch_set(cluster->loop, &relay->out, WATCH_READABLE);
    g_ptr_array_add(cluster->relays, relay);
    consensus_connected(from->consensus, dial->token, near[1]);
    consensus_accept(to->consensus, dial->from, far[1]);
}

static void frame_deliver(struct cluster *cluster, const struct frame *frame)
{
    struct node *from = running(cluster, frame->from);
    struct node *to = running(cluster, frame->to);
    size_t length;
    const uint8_t *at = g_bytes_get_data(frame->content, &length);

    if (frame->is_beat) {
        if (to && !cluster->cut[frame->from][frame->to] && !cluster->nodes[frame->from].is_ended) {
            consensus_beat(to->consensus, frame->from, (struct bytes){at, length});
        }
        return;
    }
    if (!from || !to || from->epoch != frame->epoch ||
        !is_joined(cluster, frame->from, frame->to)) {
        return;
    }
    int r = consensus_receive(to->consensus, frame->term, (struct bytes){at, length});
    assert_true(r == 0 || r == -ENOTCONN || r == -ENOBUFS);
    cluster->refused += r != 0;
    if (r == -ENOBUFS) {
        consensus_reachable(from->consensus, frame->to);
    }
}

static void frame_free(void *pointer)
{
    struct frame *frame = pointer;
    g_bytes_unref(frame->content);
    g_free(frame);
}

static void on_deliver(void *owner)
{
    struct cluster *cluster = owner;
    guint dials = cluster->dials.length, frames = cluster->frames.length;

    while (dials-- > 0) {
        g_autofree struct dial *dial = g_queue_pop_head(&cluster->dials);
        dial_answer(cluster, dial);
    }
    while (frames-- > 0) {
        g_autofree struct frame *frame = g_queue_pop_head(&cluster->frames);
        frame_deliver(cluster, frame);
        g_bytes_unref(frame->content);
    }
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = running(cluster, id);
        if (node && node->is_forward_full) {
            node->is_forward_full = false;
            consensus_network_writable(node->consensus);
        }
    }
}

static void on_connect(void *owner, uint64_t node_id, uint64_t token)
{
    struct node *node = owner;
    struct dial *dial = g_new(struct dial, 1);
    *dial = (struct dial){node->id, node_id, token, node->epoch};
    g_queue_push_tail(&node->cluster->dials, dial);
    timer_start(node->cluster->deliver, 1);
}

static guint forwards(const struct cluster *cluster)
{
    guint count = 0;

    for (const GList *link = cluster->frames.head; link; link = link->next) {
        count += !((const struct frame *)link->data)->is_beat;
    }
    return count;
}

static void push(struct node *node, const struct frame *head, struct bytes content)
{
    struct frame *frame = g_new(struct frame, 1);
    *frame = *head;
    frame->from = node->id;
    frame->epoch = node->epoch;
    frame->content = g_bytes_new(content.at, content.length);
    g_queue_push_tail(&node->cluster->frames, frame);
    timer_start(node->cluster->deliver, 1);
}

static int on_forward(void *owner, uint64_t leader_id, uint64_t term, struct bytes group)
{
    struct node *node = owner;
    struct cluster *cluster = node->cluster;

    if (node->is_ended || cluster->nodes[leader_id].is_ended || !running(cluster, leader_id)) {
        return -ENOTCONN;
    }
    if (forwards(cluster) >= 5) {
        node->is_forward_full = true;
        return -EAGAIN;
    }
    push(node, &(struct frame){.to = leader_id, .term = term}, group);
    return 0;
}

static int on_beat(void *owner, uint64_t node_id, struct bytes beat)
{
    struct node *node = owner;

    if (node->is_ended || !running(node->cluster, node_id)) {
        return -ENOTCONN;
    }
    node->beats++;
    push(node, &(struct frame){.to = node_id, .is_beat = true}, beat);
    return 0;
}

void cluster_cut_way(struct cluster *cluster, uint64_t from, uint64_t to)
{
    cluster->cut[from][to] = true;
}

void cluster_cut(struct cluster *cluster, uint64_t id)
{
    for (uint64_t other = 1; other <= NODES_MAX; other++) {
        if (other != id) {
            cluster_cut_way(cluster, id, other);
            cluster_cut_way(cluster, other, id);
        }
    }
}

static void tell_reachable(struct cluster *cluster, uint64_t x, uint64_t y)
{
    struct node *node = running(cluster, x);
    if (node && running(cluster, y) && is_joined(cluster, x, y)) {
        consensus_reachable(node->consensus, y);
    }
}

/* What was under way in a cut is lost, with all that came behind it. */
static void lose_frames(struct cluster *cluster)
{
    for (guint left = cluster->frames.length; left > 0; left--) {
        struct frame *frame = g_queue_pop_head(&cluster->frames);
        if (is_joined(cluster, frame->from, frame->to)) {
            g_queue_push_tail(&cluster->frames, frame);
        } else {
            frame_free(frame);
        }
    }
}

void cluster_heal(struct cluster *cluster)
{
    lose_frames(cluster);
    for (guint i = 0; i < cluster->relays->len; i++) {
        struct relay *relay = cluster->relays->pdata[i];
        if (relay->is_dead || cluster->cut[relay->from][relay->to]) {
            relay_close(relay);
        }
    }
    bool was_cut[NODES_MAX + 1][NODES_MAX + 1];
    memcpy(was_cut, cluster->cut, sizeof was_cut);
    memset(cluster->cut, 0, sizeof cluster->cut);
    for (uint64_t x = 1; x <= NODES_MAX; x++) {
        for (uint64_t y = 1; y <= NODES_MAX; y++) {
            if (was_cut[x][y] || was_cut[y][x]) {
                tell_reachable(cluster, x, y);
            }
        }
    }
}

void cluster_end_connections(struct cluster *cluster, uint64_t id)
{
    cluster->nodes[id].is_ended = true;
    for (guint i = 0; i < cluster->relays->len; i++) {
        struct relay *relay = cluster->relays->pdata[i];
        if (relay->from == id || relay->to == id) {
            relay_close(relay);
        }
    }
}

/* ---- life ---- */

static void on_look(void *owner)
{
    struct cluster *cluster = owner;
    timer_start(cluster->look, LOOK_MS);
    loop_stop(cluster->loop);
}

static void on_load(void *owner)
{
    struct cluster *cluster = owner;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = running(cluster, id);
        if (node && node->is_writing) {
            node_write(node, 1 + (uint32_t)(node->written % 5), cluster->filler_bytes);
        }
    }
    timer_start(cluster->load, 2);
}

void cluster_init(struct cluster *cluster)
{
    *cluster = (struct cluster){
        .loop = loop_new(),
        .events = switchboard_machine,
        .relays = g_ptr_array_new_with_free_func(relay_free),
        .reference = g_array_new(false, false, sizeof(uint64_t)),
        .election_ms = ELECTION_MS,
    };
    cluster->look = timer_new(cluster->loop, on_look, cluster);
    cluster->deliver = timer_new(cluster->loop, on_deliver, cluster);
    cluster->load = timer_new(cluster->loop, on_load, cluster);
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = &cluster->nodes[id];
        node->id = id;
        node->cluster = cluster;
        node->network = (struct consensus_network){
            .connect = on_connect, .forward = on_forward, .beat = on_beat, .owner = node};
        node->failed = g_array_new(false, false, sizeof(struct switchboard_failed));
    }
}

void cluster_deinit(struct cluster *cluster)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (running(cluster, id)) {
            assert_null(cluster->nodes[id].fatal);
            cluster_end(cluster, id);
        }
        g_clear_pointer(&cluster->nodes[id].directory, harness_remove_directory);
        g_clear_pointer(&cluster->nodes[id].fatal, g_free);
        g_array_unref(cluster->nodes[id].failed);
    }
    g_ptr_array_unref(cluster->relays);
    g_array_unref(cluster->reference);
    g_queue_clear_full(&cluster->frames, frame_free);
    g_queue_clear_full(&cluster->dials, g_free);
    timer_free(cluster->look);
    timer_free(cluster->deliver);
    timer_free(cluster->load);
    loop_free(cluster->loop);
}

static struct node *start(struct cluster *cluster, uint64_t id, bool rescue)
{
    struct node *node = &cluster->nodes[id];
    GError *error = NULL;
    char address[16];

    snprintf(address, sizeof address, "node-%d", (int)id);
    if (!node->directory) {
        node->directory = harness_make_directory();
    }
    memset(node->origins, 0, sizeof node->origins);
    node->count = node->digest = node->records = node->written = node->acknowledged = 0;
    node->epoch++;
    node->failed_error = 0;
    node->is_stopped = node->is_ended = node->is_forward_full = false;
    node->leader_id = node->leader_term = 0;
    struct consensus_options options = {
        .loop = cluster->loop,
        .directory = node->directory,
        .node_id = id,
        .address = address,
        .found = id == 1 && cluster->reference->len == 0,
        .join = id != 1,
        .rescue = rescue,
        .snapshot_log_bytes = cluster->snapshot_log_bytes,
        .events = &cluster->events,
        .owner = node,
        .network = &node->network,
        .election_timeout_ms = cluster->election_ms,
        .heartbeat_ms = cluster->election_ms / 5,
        .write_wait_ms = cluster->write_wait_ms,
    };
    node->consensus = consensus_new(&options, &error);
    if (!node->consensus || consensus_start(node->consensus, &error) < 0) {
        fail_msg("node %d does not start: %s", (int)id, error->message);
    }
    for (uint64_t other = 1; other <= NODES_MAX; other++) {
        if (other != id) {
            tell_reachable(cluster, other, id);
            tell_reachable(cluster, id, other);
        }
    }
    return node;
}

struct node *cluster_start(struct cluster *cluster, uint64_t id)
{
    return start(cluster, id, false);
}

struct node *cluster_start_rescue(struct cluster *cluster, uint64_t id)
{
    return start(cluster, id, true);
}

static void on_stopped(void *owner)
{
    struct node *node = owner;
    node->is_stopped = true;
    loop_stop(node->cluster->loop);
}

static bool all_have_stopped(struct cluster *cluster)
{
    bool have = true;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = &cluster->nodes[id];
        have &= !node->is_stopping || node->is_stopped;
    }
    return have;
}

void cluster_stop(struct cluster *cluster, uint64_t id)
{
    struct node *node = &cluster->nodes[id];

    node->is_writing = false;
    node->is_stopping = true;
    consensus_stop(node->consensus, on_stopped, node);
    cluster_run(cluster, all_have_stopped, "stopped");
    node->is_stopping = false;
    cluster_end_connections(cluster, id);
    consensus_free(node->consensus);
    node->consensus = NULL;
    node->state = CONSENSUS_STOPPED;
    assert_int_equal(node->snapshots, node->releases);
}

void cluster_end(struct cluster *cluster, uint64_t id)
{
    cluster_end_connections(cluster, id);
    cluster_stop(cluster, id);
}

void cluster_wipe(struct cluster *cluster, uint64_t id)
{
    assert_null(cluster->nodes[id].consensus);
    g_clear_pointer(&cluster->nodes[id].directory, harness_remove_directory);
}

/* ---- running ---- */

void cluster_print(struct cluster *cluster)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        const struct node *node = running(cluster, id);
        if (!node) {
            continue;
        }
        struct consensus_status status;
        consensus_status(node->consensus, &status);
        fprintf(stderr,
                "node %d: %s leader %d term %d applied %d/%d/%d groups %d written %d acknowledged "
                "%d pending %d in flight %d snapshots %d restores %d %s\n",
                (int)id, consensus_state_to_string(node->state), (int)status.leader_id,
                (int)status.term, (int)status.applied_index, (int)status.commit_index,
                (int)status.last_index, (int)node->count, (int)node->written,
                (int)node->acknowledged, (int)status.pending_bytes, (int)status.in_flight,
                (int)node->snapshots, (int)node->restores, node->fatal ? node->fatal : "");
    }
}

void cluster_run(struct cluster *cluster, cluster_condition *is_done, const char *what)
{
    uint64_t deadline_ms = clock_now_ms() + DEADLINE_MS;

    timer_start(cluster->look, LOOK_MS);
    while (!is_done(cluster) && clock_now_ms() < deadline_ms) {
        loop_run(cluster->loop);
    }
    timer_stop(cluster->look);
    if (!is_done(cluster)) {
        cluster_print(cluster);
        fail_msg("never: %s", what);
    }
}

void cluster_run_ms(struct cluster *cluster, uint64_t ms)
{
    uint64_t end_ms = clock_now_ms() + ms;

    timer_start(cluster->look, LOOK_MS);
    while (clock_now_ms() < end_ms) {
        loop_run(cluster->loop);
    }
    timer_stop(cluster->look);
}

struct node *cluster_leader(struct cluster *cluster)
{
    struct node *leader = NULL;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = running(cluster, id);
        if (node && node->leader_id == id && node->state == CONSENSUS_LEADING &&
            (!leader || node->leader_term > leader->leader_term)) {
            leader = node;
        }
    }
    return leader;
}

static bool is_cut_off(const struct cluster *cluster, uint64_t id, uint64_t leader_id)
{
    return id != leader_id && !is_joined(cluster, id, leader_id);
}

bool cluster_has_leader(struct cluster *cluster)
{
    const struct node *leader = cluster_leader(cluster);

    for (uint64_t id = 1; leader && id <= NODES_MAX; id++) {
        const struct node *node = running(cluster, id);
        if (node && !is_cut_off(cluster, id, leader->id) && node->leader_id != leader->id) {
            return false;
        }
    }
    return leader != NULL;
}

static uint64_t unanswered(const struct node *node)
{
    uint64_t waiting = 0;
    for (uint64_t number = node->acknowledged + 1; number <= node->written; number++) {
        waiting += !switchboard_has_failed(node, node->epoch, number);
    }
    return waiting;
}

bool cluster_is_settled(struct cluster *cluster)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        const struct node *node = running(cluster, id);
        if (node && (node->count != cluster->reference->len || unanswered(node) > 0 ||
                     consensus_pending_bytes(node->consensus) > 0 ||
                     (node->state != CONSENSUS_LEADING && node->state != CONSENSUS_FOLLOWING))) {
            return false;
        }
    }
    return cluster_has_leader(cluster);
}

void cluster_be_quiet(struct cluster *cluster)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        cluster->nodes[id].is_writing = false;
    }
    timer_stop(cluster->load);
}

void cluster_settle(struct cluster *cluster)
{
    cluster_be_quiet(cluster);
    cluster_run(cluster, cluster_is_settled, "settled");
}

void cluster_write(struct cluster *cluster)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        cluster->nodes[id].is_writing = running(cluster, id) != NULL;
    }
    timer_start(cluster->load, 1);
}

/* ---- membership ---- */

static void on_done(void *owner, int error)
{
    struct node *node = owner;
    node->done_error = error;
    loop_stop(node->cluster->loop);
}

static bool is_done(struct cluster *cluster)
{
    return cluster->changing->done_error <= 0;
}

int cluster_change(struct cluster *cluster, enum change_kind kind, uint64_t id,
                   enum consensus_role role)
{
    struct node *leader = cluster_leader(cluster);
    char address[16];
    int r;

    assert_non_null(leader);
    snprintf(address, sizeof address, "node-%d", (int)id);
    leader->done_error = 1;
    cluster->changing = leader;
    if (kind == CHANGE_ADD) {
        r = consensus_add(leader->consensus, id, address, on_done, leader);
    } else if (kind == CHANGE_ASSIGN) {
        r = consensus_assign(leader->consensus, id, role, on_done, leader);
    } else if (kind == CHANGE_REMOVE) {
        r = consensus_remove(leader->consensus, id, on_done, leader);
    } else {
        r = consensus_transfer(leader->consensus, id, on_done, leader);
    }
    if (r == 0) {
        cluster_run(cluster, is_done, "the membership is changed");
        r = leader->done_error;
    }
    return r;
}

static bool has_any_leader(struct cluster *cluster)
{
    return cluster_leader(cluster) != NULL;
}

/* As the owner does: on a busy machine who was asked may lead no longer, and the change is done or
 * is not. */
static void change_in_the_end(struct cluster *cluster, enum change_kind kind, uint64_t id,
                              enum consensus_role role)
{
    bool is_again = false;
    int r = -ENOTCONN;

    while (r == -ENOTCONN || r == -EBUSY) {
        cluster_run(cluster, has_any_leader, "somebody leads");
        r = cluster_change(cluster, kind, id, role);
        r = is_again && (r == -EEXIST || r == -EALREADY) ? 0 : r;
        is_again = true;
    }
    assert_int_equal(r, 0);
}

void cluster_join(struct cluster *cluster, uint64_t id, enum consensus_role role)
{
    cluster_start(cluster, id);
    change_in_the_end(cluster, CHANGE_ADD, id, CONSENSUS_SPARE);
    if (role >= CONSENSUS_STANDBY) {
        change_in_the_end(cluster, CHANGE_ASSIGN, id, CONSENSUS_STANDBY);
    }
    if (role == CONSENSUS_VOTER) {
        change_in_the_end(cluster, CHANGE_ASSIGN, id, CONSENSUS_VOTER);
    }
}

void cluster_build(struct cluster *cluster, uint32_t n)
{
    cluster_start(cluster, 1);
    cluster_run(cluster, cluster_has_leader, "the founder leads");
    for (uint64_t id = 2; id <= n; id++) {
        cluster_join(cluster, id, CONSENSUS_VOTER);
    }
    cluster_settle(cluster);
}

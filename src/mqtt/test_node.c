/* See test_node.h. A group is filled until the turn ends, as with consensus; at most GROUPS_MAX are
 * on their way, then it goes on filling. */
#include "mqtt/test_node.h"
#include "access/access.h"
#include "base/clock.h"
#include "mqtt/broker.h"
#include "mqtt/test_virtual_loop.h"
#include "state/propose.h"
#include "state/snapshot.h"
#include "state/state.h"
#include <assert.h>
#include <errno.h>

#define NODE_ID    1
#define GROUPS_MAX 8

/* ---- the log ---- */

static uint8_t *on_append(void *owner, size_t length)
{
    struct node *node = owner;

    if (node->is_dead || node->refusals > 0) {
        node->refusals -= node->refusals > 0;
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

static int on_append_error(void *owner)
{
    const struct node *node = owner;
    return node->append_error != 0 ? node->append_error : -EAGAIN;
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

static void apply(struct state *state, uint64_t index, GBytes *entry)
{
    GError *error = NULL;

    if (state_apply(state, index, view(entry), &error) != 0) {
        g_error("entry %" G_GUINT64_FORMAT " was not applied: %s", index,
                error ? error->message : "no reason");
    }
}

static void commit(struct node *node, GBytes *entry)
{
    g_ptr_array_add(node->entries, entry);
    node->index++;
    apply(node->follower, node->index, entry);
    apply(node->state, node->index, entry);
}

static void send_group(struct node *node)
{
    static const uint8_t zeros[8];

    if (node->filling->len > 0 && g_queue_get_length(&node->groups) < GROUPS_MAX) {
        g_byte_array_append(node->filling, zeros, (8 - node->filling->len % 8) % 8);
        g_queue_push_tail(&node->groups, g_byte_array_free_to_bytes(node->filling));
        node->filling = g_byte_array_new();
    }
}

/* ---- time ---- */

static void on_ticked(void *owner, uint64_t token, const struct state_result *result)
{
    ((struct node *)owner)->is_ticking = false;
}

static void tick(struct node *node)
{
    uint64_t due_unix_ms = state_next_due_unix_ms(node->state);
    struct state_completion completion = {on_ticked, node, 0};

    if (!node->is_ticking && due_unix_ms != 0 && due_unix_ms <= clock_unix_ms()) {
        node->is_ticking = state_propose_tick(node->state, clock_unix_ms(), &completion) == 0;
    }
}

bool node_turn(struct node *node, unsigned groups)
{
    bool has_done = false;

    tick(node);
    virtual_loop_end_turn(node->loop);
    send_group(node);
    while (groups-- > 0 && !g_queue_is_empty(&node->groups)) {
        commit(node, g_queue_pop_head(&node->groups));
        virtual_loop_end_turn(node->loop);
        has_done = true;
    }
    send_group(node);
    return has_done;
}

bool node_is_quiet(const struct node *node)
{
    return node->filling->len == 0 && g_queue_get_length((GQueue *)&node->groups) == 0 &&
           state_pending(node->state) == 0;
}

/* ---- life ---- */

static uint8_t *on_refuse(void *owner, size_t length)
{
    return NULL;
}

static struct state *state_from_disk(struct node *node, uint64_t node_id,
                                     const struct state_log *log)
{
    struct state_options options = {node_id, node->epoch};
    struct state *state = state_new(&options, log);
    uint64_t index = node->index - node->entries->len;

    if (node->snapshot && state_restore(state, view(node->snapshot), NULL) != 0) {
        g_error("the snapshot was not restored");
    }
    for (guint i = 0; i < node->entries->len; i++) {
        apply(state, ++index, node->entries->pdata[i]);
    }
    return state;
}

static void start(struct node *node)
{
    struct state_log log = {on_append, node, on_append_error};
    bool is_recovered = false;

    node->epoch++;
    node->is_dead = node->is_ticking = false;
    node->refusals = 0;
    node->append_error = 0;
    node->state = state_from_disk(node, NODE_ID, &log);
    node->access = access_new(node->loop, node->state);
    node->broker = broker_new(&(struct broker_options){.loop = node->loop,
                                                       .state = node->state,
                                                       .access = node->access,
                                                       .node_id = NODE_ID,
                                                       .epoch = node->epoch,
                                                       .version = "sim"});
    if (state_propose_recover(node->state, NULL) == 0) {
        is_recovered = node_turn(node, GROUPS_MAX);
    }
    assert(is_recovered);
}

static void stop(struct node *node)
{
    node->is_dead = true;
    state_group_failed(node->state, 0, -ECANCELED);
    broker_free(node->broker);
    access_free(node->access);
    state_free(node->state);
    g_byte_array_set_size(node->filling, 0);
    g_queue_clear_full(&node->groups, unref);
}

static struct state *follower_new(struct node *node)
{
    struct state_log log = {.append = on_refuse};
    return state_from_disk(node, NODE_ID + 1, &log);
}

void node_init(struct node *node, struct loop *loop, GRand *random)
{
    *node = (struct node){.loop = loop, .random = random};
    node->filling = g_byte_array_new();
    node->entries = g_ptr_array_new_with_free_func(unref);
    g_queue_init(&node->groups);
    node->follower = follower_new(node);
    start(node);
}

void node_deinit(struct node *node)
{
    stop(node);
    state_free(node->follower);
    g_byte_array_unref(node->filling);
    g_ptr_array_unref(node->entries);
    g_clear_pointer(&node->snapshot, g_bytes_unref);
}

void node_crash(struct node *node)
{
    /* What was on its way may have reached the disk although nobody was told. */
    unsigned written = (unsigned)g_rand_int_range(node->random, 0, GROUPS_MAX);

    node->is_dead = true;
    while (written-- > 0 && !g_queue_is_empty(&node->groups)) {
        GBytes *entry = g_queue_pop_head(&node->groups);
        g_ptr_array_add(node->entries, entry);
        apply(node->follower, ++node->index, entry);
    }
    stop(node);
    start(node);
}

void node_fail(struct node *node, int error)
{
    assert(g_queue_is_empty(&node->groups));
    g_byte_array_set_size(node->filling, 0);
    state_group_failed(node->state, 0, error);
    virtual_loop_end_turn(node->loop);
}

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

void node_compare(struct node *node)
{
    g_autofree char *here = state_digest(node->state);
    g_autofree char *there = state_digest(node->follower);

    if (strcmp(here, there) != 0) {
        g_error("the states differ at entry %" G_GUINT64_FORMAT, node->index);
    }
    g_clear_pointer(&node->snapshot, g_bytes_unref);
    node->snapshot = snapshot_of(node->state);
    g_ptr_array_set_size(node->entries, 0);
    state_free(node->follower);
    node->follower = follower_new(node);
}

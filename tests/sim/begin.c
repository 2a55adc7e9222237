/* See begin.h: a state that has had the commands of founding and joining, as a snapshot. */
#include "begin.h"
#include "consensus/checksum.h"
#include "consensus/snapshot_file.h"
#include "crowd.h"
#include "disk.h"
#include "state/propose_cluster.h"
#include "state/snapshot.h"
#include "state/state.h"

struct beginning {
    struct state *state;
    GByteArray *group;
    uint64_t now_unix_ms;
};

static uint8_t *on_append(void *owner, size_t length)
{
    struct beginning *beginning = owner;

    if (beginning->group->len == 0) {
        g_byte_array_set_size(beginning->group, STATE_GROUP_HEADER_BYTES);
        state_group_begin(beginning->state, beginning->now_unix_ms, beginning->group->data);
    }
    guint at = beginning->group->len;
    g_byte_array_set_size(beginning->group, at + (guint)length);
    return beginning->group->data + at;
}

static void on_said(void *owner, uint64_t token, const struct state_result *result)
{
    if (result->message) {
        crowd_broken("the beginning: %s", result->message);
    }
}

static void join(struct beginning *beginning, unsigned number)
{
    struct state_completion completion = {on_said, NULL, 0, 0};
    struct join_token token = {.id = number, .expires_unix_ms = UINT64_MAX};
    char name[16], address[16];

    g_snprintf(name, sizeof name, "box-%u", number);
    g_snprintf(address, sizeof address, "box-%u:7474", number);
    struct state_node_join wanted = {.node_id = number,
                                     .name = name,
                                     .address = address,
                                     .version = "0.1.0",
                                     .certificate = "",
                                     .token_id = number == 1 ? 0 : number,
                                     .command_level = STATE_COMMAND_LEVEL};
    state_propose_token_put(beginning->state, &token, &completion);
    state_propose_node_join(beginning->state, &wanted, &completion);
}

static GBytes *snapshot_of(struct state *state)
{
    struct state_snapshot *snapshot = state_snapshot_new(state);
    GByteArray *whole = g_byte_array_new();
    struct checksum checksum;
    uint32_t count = 0;
    const struct consensus_piece *pieces = state_snapshot_pieces(snapshot, &count);

    checksum_init(&checksum);
    g_byte_array_set_size(whole, SNAPSHOT_HEADER_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        g_byte_array_append(whole, pieces[i].base, (guint)pieces[i].length);
        checksum_add(&checksum, pieces[i].base, pieces[i].length);
    }
    snapshot_header_write(whole->data, whole->len - SNAPSHOT_HEADER_BYTES,
                          checksum_value(&checksum));
    state_snapshot_free(snapshot);
    return g_byte_array_free_to_bytes(whole);
}

GBytes *begin_cluster(unsigned nodes, uint64_t now_unix_ms)
{
    static const uint8_t zeros[8];
    struct beginning beginning = {.group = g_byte_array_new(), .now_unix_ms = now_unix_ms};
    struct state_log log = {.append = on_append, .owner = &beginning};
    struct state_options options = {.node_id = 99, .epoch = 1};
    struct state_completion completion = {on_said, NULL, 0, 0};

    beginning.state = state_new(&options, &log);
    for (unsigned number = 1; number <= nodes; number++) {
        join(&beginning, number);
    }
    state_propose_vip_set(beginning.state, "192.0.2.100/24", "", &completion);
    g_byte_array_append(beginning.group, zeros, (8 - beginning.group->len % 8) % 8);
    struct bytes group = {beginning.group->data, beginning.group->len};
    if (state_apply(beginning.state, DISK_FOUNDED, group, NULL) < 0 ||
        state_vip_count(beginning.state) != 1 || state_node_count(beginning.state) != nodes) {
        crowd_broken("the cluster did not begin");
    }
    GBytes *snapshot = snapshot_of(beginning.state);
    state_free(beginning.state);
    g_byte_array_unref(beginning.group);
    return snapshot;
}

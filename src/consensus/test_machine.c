/* The state machine of each log in faults_test.c: it counts and mixes what is applied, and compares
 * itself with the others at the same index. */
#include "consensus/test_switchboard.h"

#include "consensus/harness.h"
#include "loop/loop.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define RECORD_HEAD_BYTES 12

/* What a group begins with. */
struct group_header {
    uint64_t origin, epoch, first, unused[2];
};
G_STATIC_ASSERT(sizeof(struct group_header) == CONSENSUS_GROUP_HEADER_BYTES);

bool switchboard_has_failed(const struct node *node, uint64_t epoch, uint64_t number)
{
    for (guint i = 0; i < node->failed->len; i++) {
        const struct switchboard_failed *range =
            &g_array_index(node->failed, struct switchboard_failed, i);
        if (range->epoch == epoch && number >= range->from && number <= range->to) {
            return true;
        }
    }
    return false;
}

static uint64_t mix(uint64_t digest, uint64_t word)
{
    digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
    return digest ^ (digest >> 29);
}

/* The same at the same place on every node. */
static void compare_with_others(struct node *node)
{
    GArray *reference = node->cluster->reference;

    if (node->count > reference->len) {
        assert_int_equal(node->count, reference->len + 1);
        g_array_append_val(reference, node->digest);
    } else if (node->count > 0 &&
               g_array_index(reference, uint64_t, node->count - 1) != node->digest) {
        fail_msg("node %d applied something else as group %d", (int)node->id, (int)node->count);
    }
}

static uint64_t check_records(const struct group_header *header, struct bytes entry)
{
    size_t at = CONSENSUS_GROUP_HEADER_BYTES;
    uint64_t next = header->first;

    while (at < entry.length) {
        uint32_t length;
        uint64_t number;
        memcpy(&length, entry.at + at, 4);
        memcpy(&number, entry.at + at + 4, 8);
        assert_int_equal(number, next);
        next++;
        at += RECORD_HEAD_BYTES + length;
    }
    assert_int_equal(at, entry.length);
    return next - 1;
}

static void acknowledge(struct node *node)
{
    const struct origin *own = &node->origins[node->id];
    if (own->epoch == node->epoch && own->last > node->acknowledged) {
        node->acknowledged = own->last;
    }
}

static void on_apply(void *owner, uint64_t index, struct bytes entry)
{
    struct node *node = owner;
    struct group_header header;

    memcpy(&header, entry.at, sizeof header);
    assert_true(header.origin >= 1 && header.origin <= NODES_MAX);
    struct origin *origin = &node->origins[header.origin];
    uint64_t last = check_records(&header, entry);
    if (header.epoch < origin->epoch ||
        (header.epoch == origin->epoch && header.first <= origin->last)) {
        return; /* again */
    }
    uint64_t expected = header.epoch == origin->epoch ? origin->last + 1 : 1;
    for (uint64_t number = expected; number < header.first; number++) {
        if (!switchboard_has_failed(&node->cluster->nodes[header.origin], header.epoch, number)) {
            fail_msg("node %d: record %d of node %d is missing before %d", (int)node->id,
                     (int)number, (int)header.origin, (int)header.first);
        }
    }
    *origin = (struct origin){header.epoch, last};
    node->count++;
    node->records += last - header.first + 1;
    node->digest =
        mix(mix(mix(mix(node->digest, header.origin), header.epoch), header.first), last);
    compare_with_others(node);
    acknowledge(node);
    loop_stop(node->cluster->loop);
}

static void on_group_begin(void *owner, uint8_t header[CONSENSUS_GROUP_HEADER_BYTES])
{
    struct node *node = owner;
    struct group_header mine = {node->id, node->epoch, node->written + 1, {0}};
    memcpy(header, &mine, sizeof mine);
}

static void on_group_failed(void *owner, const uint8_t header[CONSENSUS_GROUP_HEADER_BYTES],
                            int error)
{
    struct node *node = owner;
    struct group_header mine;
    memcpy(&mine, header, sizeof mine);
    assert_int_equal(mine.origin, node->id);
    assert_int_equal(mine.epoch, node->epoch);
    struct switchboard_failed range = {mine.epoch, mine.first, node->written};
    g_array_append_val(node->failed, range);
    node->failed_error = error;
    loop_stop(node->cluster->loop);
}

static void on_release(void *owner)
{
    struct node *node = owner;
    node->releases++;
    g_free((void *)node->pieces[1].base);
}

static int on_snapshot(void *owner, struct consensus_snapshot *out)
{
    struct node *node = owner;
    size_t ballast = node->cluster->ballast_bytes;

    node->snapshots++;
    node->snapshot_content[0] = node->count;
    node->snapshot_content[1] = node->digest;
    node->snapshot_content[2] = node->records;
    memcpy(&node->snapshot_content[3], node->origins, sizeof node->origins);
    node->pieces[0] =
        (struct consensus_piece){node->snapshot_content, sizeof node->snapshot_content};
    node->pieces[1] = (struct consensus_piece){g_malloc0(ballast + 1), ballast};
    *out = (struct consensus_snapshot){node->pieces, 2, on_release, node};
    return 0;
}

static int on_restore(void *owner, struct bytes snapshot, GError **error)
{
    struct node *node = owner;
    uint64_t content[G_N_ELEMENTS(node->snapshot_content)];

    assert_true(snapshot.length >= sizeof content);
    memcpy(content, snapshot.at, sizeof content);
    assert_true(content[0] >= node->count); /* never back */
    node->count = content[0];
    node->digest = content[1];
    node->records = content[2];
    memcpy(node->origins, &content[3], sizeof node->origins);
    node->restores++;
    compare_with_others(node);
    acknowledge(node);
    return 0;
}

static void on_state(void *owner, enum consensus_state state)
{
    struct node *node = owner;
    node->state = state;
    loop_stop(node->cluster->loop);
}

static void on_leader(void *owner, uint64_t leader_id, uint64_t term)
{
    struct node *node = owner;
    node->leader_id = leader_id;
    node->leader_term = term;
    loop_stop(node->cluster->loop);
}

static void on_members(void *owner)
{
    struct node *node = owner;
    node->member_changes++;
}

static void on_fatal(void *owner, const char *message)
{
    struct node *node = owner;
    assert_null(node->fatal);
    node->fatal = g_strdup(message);
    loop_stop(node->cluster->loop);
}

const struct consensus_events switchboard_machine = {.on_apply = on_apply,
                                                     .on_group_begin = on_group_begin,
                                                     .on_group_failed = on_group_failed,
                                                     .on_snapshot = on_snapshot,
                                                     .on_restore = on_restore,
                                                     .on_state = on_state,
                                                     .on_leader = on_leader,
                                                     .on_members = on_members,
                                                     .on_fatal = on_fatal};

int node_write(struct node *node, uint32_t records, size_t filler_bytes)
{
    for (uint32_t i = 0; i < records; i++) {
        int error = 0;
        uint32_t length = (uint32_t)filler_bytes;
        uint8_t *room = consensus_append(node->consensus, RECORD_HEAD_BYTES + filler_bytes, &error);
        if (!room) {
            return error;
        }
        uint64_t number = ++node->written;
        memcpy(room, &length, 4);
        memcpy(room + 4, &number, 8);
        memset(room + RECORD_HEAD_BYTES, (int)(number & 0xff), filler_bytes);
    }
    return 0;
}

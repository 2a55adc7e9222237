/* Who was away is told who came meanwhile: what is believed of it. */
#include "cluster/raft_transport.h"
#include "node/call.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/cluster_tables.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"

#define OWN    1
#define TELLER 3
#define GONE   NODE_ID /* whose commands the fixture proposes */

struct consensus *cluster_consensus(const struct node_cluster *cluster)
{
    return NULL;
}

static enum consensus_state log_state;

void consensus_status(const struct consensus *consensus, struct consensus_status *status)
{
    *status = (struct consensus_status){.state = log_state};
}

void cluster_removed_look(struct node_cluster *cluster)
{
}

void cluster_clock_look(struct node_cluster *cluster)
{
}

void cluster_roles_look(struct node_cluster *cluster)
{
}

void cluster_rotation_look(struct node_cluster *cluster)
{
}

void raft_transport_drop(struct raft_transport *transport, uint64_t node_id)
{
}

void broker_peer_forget(struct broker *broker, uint64_t node_id)
{
}

int links_send(struct links *links, uint64_t node_id, uint8_t channel, struct bytes payload)
{
    return 0;
}

static uint64_t reset; /* the ids together */

void links_reset(struct links *links, uint64_t node_id)
{
    reset += node_id;
}

void links_send_all(struct links *links, uint8_t channel, struct bytes payload)
{
}

static size_t dialled; /* so many, when it was last said whom links are to */
static unsigned saved;

void links_set_peers(struct links *links, const struct links_peer *peers, size_t count)
{
    dialled = count;
}

int cluster_peers_save(const char *data, GHashTable *addresses, GError **error)
{
    saved++;
    return 0;
}

/* ---- a node that is behind ---- */

struct scene {
    struct fixture fixture;
    struct node node;
    struct node_cluster cluster;
};

static int setup(void **out)
{
    struct scene *scene = g_new0(struct scene, 1);

    fixture_init(&scene->fixture);
    scene->node.state = scene->fixture.state;
    scene->node.identity.id = OWN;
    scene->cluster.node = &scene->node;
    scene->cluster.addresses = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    dialled = saved = 0;
    reset = 0;
    log_state = CONSENSUS_FOLLOWING;
    *out = scene;
    return 0;
}

static int teardown(void **in)
{
    struct scene *scene = *in;

    g_hash_table_unref(scene->cluster.addresses);
    fixture_deinit(&scene->fixture);
    g_free(scene);
    return 0;
}

static GByteArray *frame_new(uint64_t index)
{
    GByteArray *frame = g_byte_array_new();

    call_put_nodes(frame, index);
    return frame;
}

/* Of a copy with nothing behind it, for the sanitizers. */
static void tell(struct scene *scene, const GByteArray *frame, size_t length)
{
    g_autofree uint8_t *copy = g_memdup2(frame->data, length);

    cluster_told_nodes(&scene->cluster, TELLER, (struct bytes){copy, length});
}

static const char *address_of(const struct scene *scene, uint64_t id)
{
    return g_hash_table_lookup(scene->cluster.addresses, &id);
}

static void who_came_meanwhile_is_dialled(void **in)
{
    struct scene *scene = *in;
    g_autoptr(GByteArray) frame = frame_new(9);

    call_put_node(frame, OWN, "10.0.0.1:7474");
    call_put_node(frame, 2, "10.0.0.2:7474");
    call_put_node(frame, 0, "10.0.0.3:7474");
    tell(scene, frame, frame->len);
    assert_string_equal(address_of(scene, 2), "10.0.0.2:7474");
    assert_int_equal(dialled, 1);
    assert_int_equal(scene->cluster.told_index, 9);
    assert_true(cluster_is_member(&scene->cluster, 2));
    assert_false(cluster_is_member(&scene->cluster, OWN));
    tell(scene, frame, frame->len);
    assert_int_equal(saved, 1);
}

static void join(struct fixture *fixture, uint64_t node_id, const char *name, uint64_t token_id)
{
    struct state_node_join wanted = {.node_id = node_id,
                                     .name = name,
                                     .address = "10.0.0.1:7474",
                                     .version = "0.1.0",
                                     .certificate = "ab",
                                     .token_id = token_id,
                                     .command_level = STATE_COMMAND_LEVEL};

    assert_null(run(fixture, state_propose_node_join(fixture->state, &wanted, &fixture->completion))
                    ->message);
}

static void remove_one(struct fixture *fixture)
{
    struct join_token token = {.id = 7, .expires_unix_ms = UINT64_MAX};

    join(fixture, GONE, "hall", 0);
    run(fixture, state_propose_token_put(fixture->state, &token, &fixture->completion));
    join(fixture, OWN, "attic", 7);
    run(fixture, state_propose_node_remove(fixture->state, GONE, false, &fixture->completion));
    assert_null(state_find_node(fixture->state, GONE));
}

/* A link that is begun anew first is not told so by links_set_peers. */
static void only_who_was_removed_is_told_so(void **in)
{
    struct scene *scene = *in;
    g_autoptr(GByteArray) gone = frame_new(0), young = frame_new(0);

    call_put_node(gone, GONE, "10.0.0.5:7474");
    tell(scene, gone, gone->len);
    call_put_node(young, 2, "10.0.0.2:7474");
    tell(scene, young, young->len);
    assert_int_equal(dialled, 2);
    remove_one(&scene->fixture);
    scene->cluster.is_ready = true;
    scene->cluster.links = (struct links *)scene; /* nobody looks into it */
    cluster_on_nodes(&scene->cluster);
    assert_int_equal(dialled, 0);
    assert_int_equal(reset, 2);
    assert_false(cluster_let_in(&scene->cluster, 2)); /* all of the log is here */
}

static void who_was_removed_does_not_come_back(void **in)
{
    struct scene *scene = *in;
    g_autoptr(GByteArray) frame = frame_new(9);

    remove_one(&scene->fixture);
    call_put_node(frame, GONE, "10.0.0.5:7474");
    tell(scene, frame, frame->len);
    assert_false(cluster_let_in(&scene->cluster, GONE));
    assert_null(address_of(scene, GONE));
    assert_int_equal(saved, 0);
}

static void a_stranger_is_no_member_until_it_has_said_where_it_is(void **in)
{
    struct scene *scene = *in;
    g_autoptr(GByteArray) frame = frame_new(9);

    assert_true(cluster_let_in(&scene->cluster, 2));
    assert_int_equal(dialled, 1);
    assert_false(cluster_is_member(&scene->cluster, 2));
    call_put_node(frame, 2, "10.0.0.2:7474");
    tell(scene, frame, frame->len);
    assert_true(cluster_is_member(&scene->cluster, 2));
    assert_string_equal(address_of(scene, 2), "10.0.0.2:7474");
    assert_false(cluster_let_in(&scene->cluster, OWN));
    assert_false(cluster_let_in(&scene->cluster, 0));
}

/* A table of its own, that counts but for what a member tells, which is wrong. */
static void be_told_wrongly(struct scene *scene)
{
    g_autoptr(GByteArray) wrong = frame_new(UINT64_MAX);

    join(&scene->fixture, OWN, "attic", 0);
    scene->cluster.is_ready = true;
    scene->cluster.links = (struct links *)scene; /* nobody looks into it */
    call_put_node(wrong, 2, "10.0.0.2:7474");
    tell(scene, wrong, wrong->len);
    cluster_nodes_look(&scene->cluster);
    assert_true(cluster_is_member(&scene->cluster, 2));
}

static void a_member_that_is_wrong_is_believed_until_the_leader_tells(void **in)
{
    struct scene *scene = *in;
    uint64_t index;

    be_told_wrongly(scene);
    index = state_applied_index(scene->fixture.state);
    g_autoptr(GByteArray) newer = frame_new(index + 1), same = frame_new(index);
    tell(scene, same, same->len); /* as any other */
    cluster_nodes_look(&scene->cluster);
    assert_true(cluster_is_member(&scene->cluster, 2));
    scene->cluster.leader_id = TELLER;
    tell(scene, newer, newer->len);
    cluster_nodes_look(&scene->cluster);
    assert_true(cluster_is_member(&scene->cluster, 2));
    tell(scene, same, same->len);
    cluster_nodes_look(&scene->cluster);
    assert_false(cluster_is_member(&scene->cluster, 2));
}

static void a_member_that_is_wrong_is_believed_until_a_change_when_leading(void **in)
{
    struct scene *scene = *in;

    log_state = CONSENSUS_LEADING;
    be_told_wrongly(scene);
    cluster_on_nodes(&scene->cluster);
    assert_false(cluster_is_member(&scene->cluster, 2));
}

static void what_was_cut_off_is_not_believed(void **in)
{
    struct scene *scene = *in;
    g_autoptr(GByteArray) frame = frame_new(9);

    call_put_node(frame, 2, "10.0.0.2:7474");
    for (size_t length = 1; length < frame->len; length++) {
        tell(scene, frame, length);
    }
    assert_int_equal(g_hash_table_size(scene->cluster.addresses), 0);
}

static void no_more_are_kept_than_a_cluster_has(void **in)
{
    struct scene *scene = *in;
    g_autoptr(GByteArray) frame = frame_new(9);

    for (uint64_t id = 2; id < 2 + 3 * NODES_MAX; id++) {
        call_put_node(frame, id, "10.0.0.2:7474");
    }
    tell(scene, frame, frame->len);
    assert_int_equal(g_hash_table_size(scene->cluster.addresses), NODES_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_came_meanwhile_is_dialled),
        TEST(only_who_was_removed_is_told_so),
        TEST(a_stranger_is_no_member_until_it_has_said_where_it_is),
        TEST(who_was_removed_does_not_come_back),
        TEST(a_member_that_is_wrong_is_believed_until_the_leader_tells),
        TEST(a_member_that_is_wrong_is_believed_until_a_change_when_leading),
        TEST(what_was_cut_off_is_not_believed),
        TEST(no_more_are_kept_than_a_cluster_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

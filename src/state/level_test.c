/* Nodes of different versions: what waits, what all refuse, and what ends a node. */
#include "state/level.h"
#include "state/cluster_tables.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include "state/record.h"
#include "state/wire.h"
#include <errno.h>

#define NEXT_LEVEL (STATE_COMMAND_LEVEL + 1)

static int setup(void **out)
{
    struct fixture *fixture = g_new(struct fixture, 1);
    fixture_init(fixture);
    struct state_node_join join = {.node_id = NODE_ID,
                                   .name = "attic",
                                   .address = "10.0.0.1:7474",
                                   .version = "0.1.0",
                                   .certificate = "ab",
                                   .command_level = STATE_COMMAND_LEVEL};
    run(fixture, state_propose_node_join(fixture->state, &join, &fixture->completion));
    *out = fixture;
    return 0;
}

static int teardown(void **in)
{
    fixture_deinit(*in);
    g_free(*in);
    return 0;
}

static int propose_level(struct fixture *fixture, uint32_t level)
{
    struct state_node_update update = {.node_id = NODE_ID,
                                       .fields = NODE_FIELD_VERSION,
                                       .version = level < STATE_COMMAND_LEVEL ? "0.0.9" : "0.2.0",
                                       .command_level = level};
    return state_propose_node_update(fixture->state, &update, &fixture->completion);
}

static void assert_message(const char *message, const char *part)
{
    if (!message || !strstr(message, part)) {
        fail_msg("'%s' does not say '%s'", message ? message : "(nothing)", part);
    }
}

/* A command from another node, as another program packed it. */
static int apply_foreign(struct fixture *fixture, const void *command, size_t length,
                         GError **error)
{
    static const uint64_t other = 99;
    g_autofree uint8_t *group = g_malloc0(STATE_GROUP_HEADER_BYTES + RECORD_LENGTH_BYTES + length);
    struct record_header header = {.origin = other,
                                   .epoch = 1,
                                   .first_sequence = fixture->index + 1,
                                   .time_unix_ms = START_UNIX_MS};
    record_header_encode(group, &header);
    wire_put_u32(group + STATE_GROUP_HEADER_BYTES, (uint32_t)length);
    memcpy(group + STATE_GROUP_HEADER_BYTES + RECORD_LENGTH_BYTES, command, length);
    struct bytes bytes = {group, STATE_GROUP_HEADER_BYTES + RECORD_LENGTH_BYTES + length};
    return state_apply(fixture->state, ++fixture->index, bytes, error);
}

/* Command { level: NEXT_LEVEL, 500: {} }: of a kind that comes with the next version. */
static int apply_next(struct fixture *fixture, GError **error)
{
    const uint8_t command[] = {0xc8, 0x3e, NEXT_LEVEL, 0xa2, 0x1f, 0x00};
    return apply_foreign(fixture, command, sizeof command, error);
}

static void a_command_under_way_while_an_older_node_comes_is_refused_and_names_it(void **in)
{
    struct fixture *fixture = *in;
    propose_level(fixture, 1);
    assert_int_equal(state_propose_vip_set(fixture->state, "10.0.0.9/24", "", &fixture->completion),
                     0);
    fixture_flush(fixture);
    assert_int_equal(fixture->result.error, -ENOTSUP);
    assert_string_equal(fixture->message, "node 'attic' runs microcloud 0.0.9, which cannot apply "
                                          "this change: upgrade it first");
    assert_int_equal(state_vip_count(fixture->state), 0);
    /* And now it is not even proposed, for the same reason. */
    assert_int_equal(state_propose_vip_set(fixture->state, "10.0.0.9/24", "", &fixture->completion),
                     -ENOTSUP);
    g_autofree char *problem = state_level_problem(fixture->state);
    assert_string_equal(problem, fixture->message);
    /* The way out is open. */
    run(fixture, propose_level(fixture, STATE_COMMAND_LEVEL));
    assert_int_equal(fixture->result.error, 0);
    assert_null(state_level_problem(fixture->state));
    run(fixture, state_propose_vip_set(fixture->state, "10.0.0.9/24", "", &fixture->completion));
    assert_int_equal(state_vip_count(fixture->state), 1);
}

static void what_a_newer_node_said_is_refused_while_this_one_is_of_its_own_version(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GError) error = NULL;
    fixture_clear_events(fixture);
    assert_int_equal(apply_next(fixture, &error), 0);
    assert_string_equal(fixture->events->str, "");
    publish(fixture, "a", "goes on", 1, true);
    assert_non_null(retained_find(state_retained(fixture->state), text("a")));
}

static void what_a_newer_node_said_ends_a_node_that_was_newer_itself(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GError) error = NULL;
    run(fixture, propose_level(fixture, NEXT_LEVEL));
    assert_int_equal(apply_next(fixture, &error), -ENOTSUP);
    g_autofree char *expected =
        g_strdup_printf("command of level %d, and microcloud %s applies those up to level %d: this "
                        "node ran a newer version",
                        NEXT_LEVEL, MICROCLOUD_VERSION, STATE_COMMAND_LEVEL);
    assert_message(error->message, expected);
}

static void a_box_that_stands_alone_is_ended_too(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GError) error = NULL;
    run(fixture, state_propose_node_remove(fixture->state, NODE_ID, false, &fixture->completion));
    assert_int_equal(apply_next(fixture, &error), -ENOTSUP);
    assert_message(error->message, "install that one again");
}

static void a_field_that_is_not_known_is_never_lost(void **in)
{
    /* Publish { 90: 1 }; Publish { targets: { 90: 1 } }; Open { will: { 90: 1 } }; { 900: 1 } */
    static const struct {
        const char *bytes;
        size_t length;
    } commands[] = {{"\x0a\x03\xd0\x05\x01", 5},
                    {"\x0a\x05\x4a\x03\xd0\x05\x01", 7},
                    {"\x22\x05\x4a\x03\xd0\x05\x01", 7},
                    {"\x52\x00\xa0\x38\x01", 5}};
    struct fixture *fixture = *in;
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autoptr(GError) error = NULL;
        assert_int_equal(apply_foreign(fixture, commands[i].bytes, commands[i].length, &error),
                         -ENOTSUP);
        assert_message(error->message, "does not know its kind or one of its fields");
    }
    /* Tick {}, wholly known */
    assert_int_equal(apply_foreign(fixture, "\x52\x00", 2, NULL), 0);
}

static void a_snapshot_says_which_level_is_needed_to_read_it(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GBytes) before = snapshot_of(fixture->state);
    assert_int_equal(wire_get_u32((const uint8_t *)g_bytes_get_data(before, NULL) + 12), 0);
    run(fixture, state_propose_vip_set(fixture->state, "10.0.0.9/24", "", &fixture->completion));
    g_autoptr(GBytes) after = snapshot_of(fixture->state);
    gsize length = 0;
    const uint8_t *at = g_bytes_get_data(after, &length);
    assert_int_equal(wire_get_u32(at + 12), 2);

    struct state *other = empty_state();
    assert_int_equal(state_restore(other, (struct bytes){at, length}, NULL), 0);
    g_autofree char *digest = state_digest(fixture->state), *same = state_digest(other);
    assert_string_equal(digest, same);

    g_autofree uint8_t *newer = g_memdup2(at, length);
    g_autoptr(GError) error = NULL;
    wire_put_u32(newer + 12, NEXT_LEVEL);
    assert_int_equal(state_restore(other, (struct bytes){newer, length}, &error), -ENOTSUP);
    g_autofree char *expected =
        g_strdup_printf("snapshot: commands of level %d are in use", NEXT_LEVEL);
    assert_message(error->message, expected);
    g_autofree char *still = state_digest(other);
    assert_string_equal(digest, still);
    state_free(other);
}

static const struct session *open_at_level(struct fixture *fixture, uint32_t level,
                                           uint32_t counter, uint32_t snapshot_level)
{
    run(fixture, propose_level(fixture, level));
    open_session(fixture, "x", counter);
    g_autoptr(GBytes) snapshot = snapshot_of(fixture->state);
    gsize length = 0;
    const uint8_t *at = g_bytes_get_data(snapshot, &length);
    assert_int_equal(wire_get_u32(at + 12), snapshot_level);
    struct state *other = empty_state();
    assert_int_equal(state_restore(other, (struct bytes){at, length}, NULL), 0);
    g_autofree char *digest = state_digest(fixture->state), *same = state_digest(other);
    assert_string_equal(digest, same);
    const struct session *session = session_of(fixture, "x");
    assert_int_equal(session_store_find(state_sessions(other), text("x"))->last_opening,
                     session->last_opening);
    state_free(other);
    return session;
}

static void who_opened_last_is_kept_as_soon_as_every_node_can(void **in)
{
    struct fixture *fixture = *in;
    assert_int_equal(open_at_level(fixture, LEVEL_OPENINGS - 1, 1, 0)->last_opening, 0);
    assert_int_equal(open_at_level(fixture, LEVEL_OPENINGS, 2, LEVEL_OPENINGS)->last_opening,
                     connection(2));
    /* An older node comes, and does not know it. */
    assert_int_equal(open_at_level(fixture, LEVEL_OPENINGS - 1, 3, LEVEL_OPENINGS)->last_opening,
                     0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_command_under_way_while_an_older_node_comes_is_refused_and_names_it),
        TEST(what_a_newer_node_said_is_refused_while_this_one_is_of_its_own_version),
        TEST(what_a_newer_node_said_ends_a_node_that_was_newer_itself),
        TEST(a_box_that_stands_alone_is_ended_too),
        TEST(a_field_that_is_not_known_is_never_lost),
        TEST(a_snapshot_says_which_level_is_needed_to_read_it),
        TEST(who_opened_last_is_kept_as_soon_as_every_node_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

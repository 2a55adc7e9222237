/* Groups of the log: duplicates, padding, damage, results, and what the log refuses. */
#include "state/fixture.h"
#include "state/record.h"
#include "state/wire.h"
#include <errno.h>

static int setup(void **out)
{
    struct fixture *fixture = g_new(struct fixture, 1);
    fixture_init(fixture);
    *out = fixture;
    return 0;
}

static int teardown(void **in)
{
    fixture_deinit(*in);
    g_free(*in);
    return 0;
}

static struct bytes last_entry(const struct fixture *fixture)
{
    size_t length = 0;
    const uint8_t *at =
        g_bytes_get_data(fixture->entries->pdata[fixture->entries->len - 1], &length);
    return (struct bytes){at, length};
}

static void a_group_applied_twice_is_applied_once(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "device", 1);
    subscribe(fixture, "device", "a/#", 1);
    publish(fixture, "a/b", "1", 1, false);
    assert_int_equal(waiting_of(fixture, "device"), 1);

    uint32_t results = fixture->result_count;
    assert_int_equal(state_apply(fixture->state, ++fixture->index, last_entry(fixture), NULL), 0);
    assert_int_equal(waiting_of(fixture, "device"), 1);
    assert_int_equal(fixture->result_count, results);
    assert_int_equal(state_applied_index(fixture->state), fixture->index);
}

static void a_group_of_an_earlier_life_is_not_applied_after_one_of_a_later(void **in)
{
    struct fixture *fixture = *in;
    publish(fixture, "a", "1", 1, true);
    g_autofree uint8_t *copy = g_memdup2(last_entry(fixture).at, last_entry(fixture).length);
    wire_put_u64(copy + 16, EPOCH - 1);
    wire_put_u64(copy + 24, 100);
    fixture_clear_events(fixture);
    struct bytes group = {copy, last_entry(fixture).length};
    assert_int_equal(state_apply(fixture->state, 9, group, NULL), 0);
    assert_string_equal(fixture->events->str, "");
    wire_put_u64(copy + 16, EPOCH + 1);
    wire_put_u64(copy + 24, 1);
    assert_int_equal(state_apply(fixture->state, 10, group, NULL), 0);
    assert_string_equal(fixture->events->str, "publish a by ;");
}

static void groups_of_other_nodes_are_applied_and_complete_nothing_here(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "device", 1);
    struct state *other = empty_state();
    replay(other, fixture, 0, fixture->entries->len);
    assert_int_equal(session_store_count(state_sessions(other)), 1);
    assert_int_equal(state_pending(other), 0);
    state_free(other);
}

static void the_last_group_may_be_applied_up_to_its_middle_and_again_whole(void **in)
{
    struct fixture *fixture = *in;
    struct state_publish publish = {
        .topic = text("a"), .payload = text("1"), .qos = 1, .retain = true};
    state_propose_publish(fixture->state, &publish, NULL);
    publish.topic = text("b");
    state_propose_publish(fixture->state, &publish, NULL);
    fixture_flush(fixture);
    struct bytes whole = last_entry(fixture);
    size_t first_bytes = STATE_GROUP_HEADER_BYTES + RECORD_LENGTH_BYTES +
                         wire_get_u32(whole.at + STATE_GROUP_HEADER_BYTES);

    struct state *other = empty_state();
    assert_int_equal(state_apply(other, 1, (struct bytes){whole.at, first_bytes}, NULL), 0);
    assert_int_equal(retained_count(state_retained(other)), 1);
    assert_int_equal(state_apply(other, 1, whole, NULL), 0);
    assert_int_equal(retained_count(state_retained(other)), 2);
    g_autofree char *here = state_digest(fixture->state), *there = state_digest(other);
    assert_string_equal(here, there);
    state_free(other);
}

static void results_come_in_order_and_only_to_those_who_asked(void **in)
{
    struct fixture *fixture = *in;
    struct state_publish publish = {.topic = text("a"), .payload = text("1"), .qos = 1};
    assert_int_equal(state_propose_publish(fixture->state, &publish, NULL), 0);
    assert_int_equal(state_propose_publish(fixture->state, &publish, &fixture->completion), 0);
    assert_int_equal(state_propose_publish(fixture->state, &publish, &(struct state_completion){0}),
                     0);
    assert_int_equal(state_propose_publish(fixture->state, &publish, &fixture->completion), 0);
    assert_int_equal(state_pending(fixture->state), 2);
    assert_int_equal(fixture->result_count, 0);
    fixture_flush(fixture);
    assert_int_equal(fixture->result_count, 2);
    assert_int_equal(state_pending(fixture->state), 0);
}

struct chain {
    struct fixture *fixture;
    uint32_t left;
    GString *order;
};

static void on_chain(void *owner, uint64_t token, const struct state_result *result)
{
    struct chain *chain = owner;
    g_string_append_printf(chain->order, "%" G_GUINT64_FORMAT ",%d;", token, result->error);
    if (chain->left > 0) {
        chain->left--;
        struct state_completion completion = {on_chain, chain, token + 1};
        assert_int_equal(state_propose_tick(chain->fixture->state, 1, &completion), 0);
    }
}

static void a_completion_may_propose(void **in)
{
    struct fixture *fixture = *in;
    struct chain chain = {fixture, 2, g_string_new(NULL)};
    struct state_completion completion = {on_chain, &chain, 1};
    state_propose_tick(fixture->state, 1, &completion);
    fixture_flush(fixture);
    assert_string_equal(chain.order->str, "1,0;");
    fixture_flush(fixture);
    fixture_flush(fixture);
    assert_string_equal(chain.order->str, "1,0;2,0;3,0;");
    g_string_free(chain.order, TRUE);
}

static void refused_groups_end_their_proposals_and_no_others(void **in)
{
    struct fixture *fixture = *in;
    struct chain chain = {fixture, 0, g_string_new(NULL)};
    for (uint32_t i = 1; i <= 200; i++) { /* the queue of completions grows on the way */
        struct state_completion completion = {on_chain, &chain, i};
        state_propose_tick(fixture->state, 1, &completion);
    }
    fixture_flush(fixture);
    assert_true(g_str_has_suffix(chain.order->str, "199,0;200,0;"));
    g_string_truncate(chain.order, 0);

    struct state_completion completion = {on_chain, &chain, 1000};
    state_propose_tick(fixture->state, 1, &completion); /* sequence 201 */
    completion.token = 1001;
    state_propose_tick(fixture->state, 1, &completion);
    chain.left = 1;
    state_group_failed(fixture->state, 202, -ENOSPC);
    assert_string_equal(chain.order->str, "1001,-28;");
    assert_int_equal(state_pending(fixture->state), 2); /* 1000, and what 1001 proposed */
    state_group_failed(fixture->state, 0, -ECANCELED);
    assert_string_equal(chain.order->str, "1001,-28;1000,-125;1002,-125;");
    g_string_free(chain.order, TRUE);
}

static void what_was_lost_on_the_way_ends_as_unknown_when_something_later_is_applied(void **in)
{
    struct fixture *fixture = *in;
    struct chain chain = {fixture, 0, g_string_new(NULL)};
    struct state_completion completion = {on_chain, &chain, 1};
    state_propose_tick(fixture->state, 1, &completion);
    g_byte_array_set_size(fixture->pending, 0); /* the log loses the group */
    completion.token = 2;
    state_propose_tick(fixture->state, 1, &completion);
    fixture_flush(fixture);
    assert_string_equal(chain.order->str, "1,-125;2,0;");
    g_string_free(chain.order, TRUE);
}

static void the_reason_of_the_log_is_handed_to_the_proposer(void **in)
{
    struct fixture *fixture = *in;
    fixture->append_error = -ENOSPC;
    assert_int_equal(state_propose_tick(fixture->state, 1, &fixture->completion), -ENOSPC);
    struct state *plain = empty_state();
    assert_int_equal(state_propose_tick(plain, 1, NULL), -EAGAIN);
    state_free(plain);
    fixture->append_error = 0;
    assert_int_equal(state_pending(fixture->state), 0);
    g_autofree uint8_t *large = g_malloc0(STATE_RECORD_BYTES_MAX);
    struct state_publish publish = {.topic = text("a"), .payload = {large, STATE_RECORD_BYTES_MAX}};
    assert_int_equal(state_propose_publish(fixture->state, &publish, &fixture->completion),
                     -EMSGSIZE);
    publish.payload.length = STATE_RECORD_BYTES_MAX - 64;
    publish.qos = 1;
    run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion));
}

/* ---- damage ---- */

static void expect_error(struct fixture *fixture, struct bytes group, int error,
                         const char *message)
{
    g_autoptr(GError) given = NULL;
    assert_int_equal(state_apply(fixture->state, 77, group, &given), error);
    assert_non_null(strstr(given->message, message));
}

static void a_group_of_a_newer_version_is_refused_with_a_message(void **in)
{
    struct fixture *fixture = *in;
    uint8_t header[STATE_GROUP_HEADER_BYTES];
    state_group_begin(fixture->state, 1, header);
    wire_put_u32(header, RECORD_FORMAT_VERSION + 1);
    expect_error(fixture, (struct bytes){header, sizeof header}, -ENOTSUP,
                 "run a newer microcloud");
    wire_put_u32(header, 0);
    expect_error(fixture, (struct bytes){header, sizeof header}, -EBADMSG, "does not begin");
    expect_error(fixture, (struct bytes){header, 39}, -EBADMSG, "at least 40 bytes, got 39");
    state_group_begin(fixture->state, 1, header);
    assert_int_equal(state_apply(fixture->state, 1, (struct bytes){header, sizeof header}, NULL),
                     0);
}

static GByteArray *group_with(struct fixture *fixture, const void *record, size_t length)
{
    GByteArray *group = g_byte_array_new();
    g_byte_array_set_size(group, STATE_GROUP_HEADER_BYTES + RECORD_LENGTH_BYTES);
    state_group_begin(fixture->state, 1, group->data);
    wire_put_u32(group->data + STATE_GROUP_HEADER_BYTES, (uint32_t)length);
    g_byte_array_append(group, record, (guint)length);
    return group;
}

static void expect_record_error(struct fixture *fixture, const void *record, size_t length,
                                int error, const char *message)
{
    g_autoptr(GByteArray) group = group_with(fixture, record, length);
    /* Not applied before: the sequence is the next one, which the state does not count without a
     * proposal. */
    wire_put_u64(group->data + 8, 99);
    static uint64_t sequence = 1;
    wire_put_u64(group->data + 24, sequence++);
    expect_error(fixture, (struct bytes){group->data, group->len}, error, message);
}

static void records_that_cannot_be_read_are_errors(void **in)
{
    struct fixture *fixture = *in;
    expect_record_error(fixture, "\xff\xff\xff", 3, -EBADMSG,
                        "log entry 77: command: it is not a packed");
    expect_record_error(fixture, "\xfa\x7f\x00", 3, -ENOTSUP,
                        "run a newer microcloud"); /* an unknown kind */
    g_autoptr(GByteArray) group = group_with(fixture, "abc", 3);
    wire_put_u32(group->data + STATE_GROUP_HEADER_BYTES, 4);
    expect_error(fixture, (struct bytes){group->data, group->len}, -EBADMSG,
                 "says 4 bytes, only 3");
}

static void padding_is_zeros_up_to_a_multiple_of_eight_and_nothing_else(void **in)
{
    struct fixture *fixture = *in;
    uint8_t group[STATE_GROUP_HEADER_BYTES + 16] = {0};
    state_group_begin(fixture->state, 1, group);
    for (size_t more = 0; more < 8; more++) {
        struct bytes padded = {group, STATE_GROUP_HEADER_BYTES + more};
        assert_int_equal(state_apply(fixture->state, 1, padded, NULL), 0);
    }
    expect_error(fixture, (struct bytes){group, STATE_GROUP_HEADER_BYTES + 8}, -EBADMSG,
                 "no record at");
    group[STATE_GROUP_HEADER_BYTES + 6] = 1;
    expect_error(fixture, (struct bytes){group, STATE_GROUP_HEADER_BYTES + 7}, -EBADMSG,
                 "no record at");
}

/* What no version proposes is damage; each breaks one rule of its command. */
static void expect_malformed(struct fixture *fixture, int proposed)
{
    assert_int_equal(proposed, 0);
    g_autoptr(GByteArray) group = fixture->pending;
    fixture->pending = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    assert_int_equal(state_apply(fixture->state, fixture->index + 1,
                                 (struct bytes){group->data, group->len}, &error),
                     -EBADMSG);
    assert_non_null(error);
    state_group_failed(fixture->state, 0, -ECANCELED);
}

static void publishes_against_the_rules_are_errors(void **in)
{
    struct fixture *fixture = *in;
    struct state *state = fixture->state;
    const char *topics[] = {"", "a/#", "+", "\xff", "a\xed\xa0\x80"};
    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        struct state_publish publish = {.topic = text(topics[i])};
        expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
    }
    struct state_publish publish = {.topic = {(const uint8_t *)"a\0b", 3}};
    expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
    publish = (struct state_publish){.topic = text("a"), .qos = 3};
    expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
    publish = (struct state_publish){.topic = text("a"), .publisher = text("\xff")};
    expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
    struct state_share_target target = {.client_id = text("x"), .filter = text("a/#/b")};
    publish = (struct state_publish){.topic = text("a"), .targets = &target, .target_count = 1};
    expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
    target = (struct state_share_target){.filter = text("$share/g/a")};
    expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
    g_autofree uint8_t *large = g_malloc(70000);
    memset(large, 'a', 70000);
    publish = (struct state_publish){.topic = {large, 70000}};
    expect_malformed(fixture, state_propose_publish(state, &publish, NULL));
}

static void opens_against_the_rules_are_errors(void **in)
{
    struct fixture *fixture = *in;
    struct state_open good = {.client_id = text("x"),
                              .is_persistent = true,
                              .expiry_s = 1,
                              .receive_maximum = 1,
                              .connection_number = 1};
    struct state_will will = {.topic = text("a/+")};
    struct state_open bad[] = {good, good, good, good, good, good};
    bad[0].client_id = text("");
    bad[1].client_id = text("\xff");
    bad[2].connection_number = 0;
    bad[3].username = text("\xc0\x80");
    bad[4].will = &will;
    struct state_will will_of_qos_3 = {.topic = text("a"), .qos = 3};
    bad[5].will = &will_of_qos_3;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        expect_malformed(fixture, state_propose_open(fixture->state, &bad[i], NULL));
    }
}

static void other_commands_against_the_rules_are_errors(void **in)
{
    struct fixture *fixture = *in;
    struct state *state = fixture->state;
    struct bytes none = {0}, id = text("x"), filter = text("a"), bad = text("a/#/b");
    struct subscription_options options = {.qos = 1}, worse = {.qos = 3};
    uint16_t packet_id = 1;
    struct state_close close = {.client_id = id}, close_nobody = {.connection_number = 1};
    expect_malformed(fixture, state_propose_close(state, &close, NULL));
    expect_malformed(fixture, state_propose_close(state, &close_nobody, NULL));
    expect_malformed(fixture, state_propose_session_remove(state, none, NULL));
    expect_malformed(fixture, state_propose_subscribe(state, none, filter, &options, NULL));
    expect_malformed(fixture, state_propose_subscribe(state, id, bad, &options, NULL));
    expect_malformed(fixture, state_propose_subscribe(state, id, filter, &worse, NULL));
    expect_malformed(fixture, state_propose_unsubscribe(state, none, filter, NULL));
    expect_malformed(fixture, state_propose_unsubscribe(state, id, bad, NULL));
    expect_malformed(fixture, state_propose_release(state, none, 1, NULL));
    expect_malformed(fixture,
                     state_propose_acknowledge(state, none, SESSION_PUBACK, &packet_id, 1, NULL));
    expect_malformed(
        fixture, state_propose_acknowledge(state, id, (enum session_ack)9, &packet_id, 1, NULL));
    expect_malformed(fixture, state_propose_send_retained(state, none, filter, 1, 0, NULL));
    expect_malformed(fixture, state_propose_send_retained(state, id, bad, 1, 0, NULL));
    expect_malformed(fixture, state_propose_send_retained(state, id, filter, 3, 0, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_group_applied_twice_is_applied_once),
        TEST(a_group_of_an_earlier_life_is_not_applied_after_one_of_a_later),
        TEST(groups_of_other_nodes_are_applied_and_complete_nothing_here),
        TEST(the_last_group_may_be_applied_up_to_its_middle_and_again_whole),
        TEST(results_come_in_order_and_only_to_those_who_asked),
        TEST(a_completion_may_propose),
        TEST(refused_groups_end_their_proposals_and_no_others),
        TEST(what_was_lost_on_the_way_ends_as_unknown_when_something_later_is_applied),
        TEST(the_reason_of_the_log_is_handed_to_the_proposer),
        TEST(a_group_of_a_newer_version_is_refused_with_a_message),
        TEST(records_that_cannot_be_read_are_errors),
        TEST(padding_is_zeros_up_to_a_multiple_of_eight_and_nothing_else),
        TEST(publishes_against_the_rules_are_errors),
        TEST(opens_against_the_rules_are_errors),
        TEST(other_commands_against_the_rules_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

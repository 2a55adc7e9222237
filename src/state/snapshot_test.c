/* Snapshots: the same state gives the same bytes however it came there, and damaged ones are
 * refused. */
#include "state/snapshot.h"
#include "base/clock.h"
#include "state/cluster_tables.h"
#include "state/snapshot_format.h"
#include "state/test_random_log.h"
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

static struct bytes view(GBytes *bytes)
{
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(bytes, &length);
    return (struct bytes){at, length};
}

static struct state *restored(struct bytes snapshot)
{
    struct state *state = empty_state();
    GError *error = NULL;
    state_restore(state, snapshot, &error);
    if (error) {
        fail_msg("%s", error->message);
    }
    return state;
}

static void assert_same(const struct state *a, const struct state *b, uint64_t seed)
{
    g_autoptr(GBytes) left = snapshot_of(a), right = snapshot_of(b);
    if (!g_bytes_equal(left, right)) {
        fail_msg("seed %" G_GUINT64_FORMAT ": snapshots differ", seed);
    }
    assert_int_equal(state_bytes(a), state_bytes(b));
    assert_int_equal(state_next_due_unix_ms(a), state_next_due_unix_ms(b));
    assert_int_equal(session_store_subscription_count(state_sessions((struct state *)a)),
                     session_store_subscription_count(state_sessions((struct state *)b)));
    assert_int_equal(session_store_shared_count(state_sessions((struct state *)a)),
                     session_store_shared_count(state_sessions((struct state *)b)));
}

static void the_same_log_gives_the_same_tables_directly_and_by_way_of_snapshots(void **in)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fixture fixture;
        fixture_init(&fixture);
        struct random_log log;
        random_log_init(&log, &fixture, seed);
        for (uint32_t i = 0; i < 1500; i++) {
            random_log_step(&log);
        }
        fixture_flush(&fixture);
        uint32_t count = fixture.entries->len;

        struct state *again = empty_state();
        replay(again, &fixture, 0, count);
        assert_same(fixture.state, again, seed);
        state_free(again);

        struct state *by_snapshot = empty_state();
        for (uint32_t from = 0; from < count;) {
            uint32_t to = MIN(count, from + 1 + count / 7);
            replay(by_snapshot, &fixture, from, to);
            g_autoptr(GBytes) snapshot = snapshot_of(by_snapshot);
            state_free(by_snapshot);
            by_snapshot = restored(view(snapshot));
            from = to;
        }
        assert_same(fixture.state, by_snapshot, seed);
        g_autofree char *here = state_digest(fixture.state), *there = state_digest(by_snapshot);
        assert_string_equal(here, there);
        state_free(by_snapshot);
        fixture_deinit(&fixture);
    }
}

static void a_snapshot_stays_as_it_was_while_the_state_goes_on(void **in)
{
    struct fixture *fixture = *in;
    g_autofree char *payload = g_strnfill(5000, 'p');
    publish(fixture, "large", payload, 1, true);
    publish(fixture, "small", "1", 1, true);
    g_autoptr(GBytes) before = snapshot_of(fixture->state);
    struct state_snapshot *snapshot = state_snapshot_new(fixture->state);
    publish(fixture, "large", "", 1, true);
    publish(fixture, "small", "2", 1, true);
    uint32_t count = 0;
    const struct consensus_piece *pieces = state_snapshot_pieces(snapshot, &count);
    assert_true(count >= 3); /* the large one stands by itself */
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_memory_equal(pieces[i].base, view(before).at + at, pieces[i].length);
        at += pieces[i].length;
    }
    state_snapshot_free(snapshot);
    state_snapshot_free(NULL);
}

static void a_message_in_many_places_stands_there_once(void **in)
{
    struct fixture *fixture = *in;
    for (uint32_t i = 0; i < 100; i++) {
        g_autofree char *client_id = g_strdup_printf("c%03u", i);
        open_session(fixture, client_id, i + 1);
        subscribe(fixture, client_id, "a", 1);
    }
    g_autoptr(GBytes) before = snapshot_of(fixture->state);
    g_autofree char *payload = g_strnfill(5000, 'p');
    publish(fixture, "a", payload, 1, true);
    g_autoptr(GBytes) after = snapshot_of(fixture->state);
    assert_true(view(after).length < view(before).length + 6000);
    struct state *state = restored(view(after));
    assert_same(fixture->state, state, 0);
    state_free(state);
}

static void what_is_received_or_done_in_a_queue_is_kept(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    subscribe(fixture, "x", "a", 2);
    for (int i = 0; i < 70000; i++) { /* so that packet ids have gone round */
        publish(fixture, "a", "1", 2, false);
        uint16_t id = delivery_packet_id(session_of(fixture, "x")->deliveries.first);
        if (i < 69990) {
            state_propose_acknowledge(fixture->state, text("x"), SESSION_PUBREC_ERROR, &id, 1,
                                      NULL);
        }
    }
    fixture_flush(fixture);
    uint64_t first = session_of(fixture, "x")->deliveries.first;
    uint16_t ids[] = {delivery_packet_id(first + 1), delivery_packet_id(first + 3)};
    run(fixture, state_propose_acknowledge(fixture->state, text("x"), SESSION_PUBREC, ids, 2,
                                           &fixture->completion));
    run(fixture, state_propose_acknowledge(fixture->state, text("x"), SESSION_PUBCOMP, ids + 1, 1,
                                           &fixture->completion));
    g_autoptr(GBytes) snapshot = snapshot_of(fixture->state);
    struct state *state = restored(view(snapshot));
    assert_same(fixture->state, state, 0);
    const struct delivery_ring *ring =
        &session_store_find(state_sessions(state), text("x"))->deliveries;
    assert_int_equal(ring->first, first);
    assert_int_equal(delivery_ring_at(ring, first + 1)->state, DELIVERY_RECEIVED);
    assert_int_equal(delivery_ring_at(ring, first + 3)->state, DELIVERY_DONE);
    assert_int_equal(delivery_ring_at(ring, first + 4)->state, DELIVERY_WAITING);
    state_free(state);
}

static void a_setting_that_this_version_does_not_know_is_kept(void **in)
{
    struct fixture *fixture = *in;
    g_tree_replace(fixture->state->tables.setting_values, g_strdup("mqtt.of_the_future"),
                   g_strdup("x"));
    set(fixture, "mqtt.receive_maximum", "9");
    g_autoptr(GBytes) snapshot = snapshot_of(fixture->state);
    struct state *state = restored(view(snapshot));
    assert_int_equal(state_settings(state)->receive_maximum, 9);
    assert_same(fixture->state, state, 0);
    state_free(state);
}

static void restoring_replaces_what_is_there_and_tells_the_watches(void **in)
{
    struct fixture *fixture = *in;
    struct state *other = empty_state();
    g_autoptr(GBytes) empty = snapshot_of(other);
    state_free(other);
    open_session(fixture, "x", 1);
    publish(fixture, "a", "1", 1, true);
    fixture_clear_events(fixture);
    assert_int_equal(state_restore(fixture->state, view(empty), NULL), 0);
    assert_string_equal(fixture->events->str, "end x;settings;access;nodes;vips;ca;");
    assert_int_equal(state_bytes(fixture->state), 0);
    assert_int_equal(state_applied_index(fixture->state), 0);
}

static void proposals_that_a_snapshot_already_holds_end_as_unknown(void **in)
{
    struct fixture *fixture = *in;
    struct state_publish publish = {
        .topic = text("a"), .payload = text("1"), .qos = 1, .retain = true};
    assert_int_equal(state_propose_publish(fixture->state, &publish, &fixture->completion), 0);
    size_t length = fixture->pending->len;
    struct state *other = empty_state();
    assert_int_equal(state_apply(other, 5, (struct bytes){fixture->pending->data, length}, NULL),
                     0);
    g_autoptr(GBytes) snapshot = snapshot_of(other);
    state_free(other);
    assert_int_equal(state_restore(fixture->state, view(snapshot), NULL), 0);
    assert_int_equal(fixture->result_count, 1);
    assert_int_equal(fixture->result.error, -ECANCELED);
    fixture_flush(fixture); /* and is not applied again */
    assert_int_equal(fixture->result_count, 1);
}

/* ---- damage ---- */

static GBytes *full_snapshot(struct fixture *fixture)
{
    struct random_log log;
    random_log_init(&log, fixture, 4711);
    for (uint32_t i = 0; i < 600; i++) {
        random_log_step(&log);
    }
    fixture_flush(fixture);
    return snapshot_of(fixture->state);
}

static void a_newer_version_is_refused_with_a_message(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GBytes) snapshot = full_snapshot(fixture);
    g_autofree uint8_t *copy = g_memdup2(view(snapshot).at, view(snapshot).length);
    wire_put_u32(copy + 8, STATE_SNAPSHOT_VERSION + 1);
    g_autoptr(GError) error = NULL;
    struct state *state = empty_state();
    struct bytes bytes = {copy, view(snapshot).length};
    assert_int_equal(state_restore(state, bytes, &error), -ENOTSUP);
    assert_string_equal(error->message,
                        "snapshot: format 3 is newer than this program, which reads up "
                        "to 2: run a newer microcloud");
    wire_put_u32(copy + 8, 0);
    assert_int_equal(state_restore(state, bytes, NULL), -EBADMSG);
    copy[0] ^= 1;
    assert_int_equal(state_restore(state, bytes, NULL), -EBADMSG);
    state_free(state);
}

static void a_snapshot_cut_off_anywhere_is_refused_and_changes_nothing(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GBytes) snapshot = full_snapshot(fixture);
    struct state *state = restored(view(snapshot));
    for (size_t length = 0; length < view(snapshot).length; length++) {
        g_autofree uint8_t *copy = g_memdup2(view(snapshot).at, MAX(length, 1));
        if (length >= SNAPSHOT_HEADER_BYTES) {
            wire_put_u64(copy + 16, length); /* so that not only the length tells */
        }
        g_autoptr(GError) error = NULL;
        assert_int_equal(state_restore(state, (struct bytes){copy, length}, &error), -EBADMSG);
        assert_non_null(error);
    }
    assert_same(fixture->state, state, 0);
    g_autofree uint8_t *longer = g_malloc0(view(snapshot).length + 1);
    memcpy(longer, view(snapshot).at, view(snapshot).length);
    assert_int_equal(state_restore(state, (struct bytes){longer, view(snapshot).length + 1}, NULL),
                     -EBADMSG);
    wire_put_u64(longer + 16, view(snapshot).length + 1);
    assert_int_equal(state_restore(state, (struct bytes){longer, view(snapshot).length + 1}, NULL),
                     -EBADMSG);
    state_free(state);
}

static void one_of_the_first_version_is_still_read(void **in)
{
    static const uint8_t magic[] = SNAPSHOT_MAGIC;
    /* index, origins, settings, users, next rule id, rules, retained, wills, sessions */
    static const uint8_t body[] = {5, 0, 1, 1, 'k', 1, 'v', 0, 1, 0, 0, 0, 0};
    uint8_t bytes[SNAPSHOT_HEADER_BYTES + sizeof body] = {0};
    memcpy(bytes, magic, SNAPSHOT_MAGIC_BYTES);
    wire_put_u32(bytes + 8, 1);
    wire_put_u64(bytes + 16, sizeof bytes);
    memcpy(bytes + SNAPSHOT_HEADER_BYTES, body, sizeof body);
    struct state *state = restored((struct bytes){bytes, sizeof bytes});
    assert_int_equal(state_applied_index(state), 5);
    assert_int_equal(state_time_unix_ms(state), 0);
    assert_int_equal(state_node_count(state), 0);
    g_autoptr(GBytes) again = snapshot_of(state);
    struct state *second = restored(view(again));
    assert_same(state, second, 0);
    state_free(second);
    state_free(state);
}

/* Consensus's checksum finds flipped bytes; here they only must never crash, nor give a state that
 * cannot be written again. */
static void a_flipped_byte_is_refused_or_gives_a_state_that_holds_together(void **in)
{
    struct fixture *fixture = *in;
    g_autoptr(GBytes) snapshot = full_snapshot(fixture);
    uint32_t refused = 0;
    for (size_t at = 0; at < view(snapshot).length; at++) {
        g_autofree uint8_t *copy = g_memdup2(view(snapshot).at, view(snapshot).length);
        copy[at] ^= (uint8_t)(1u << at % 8);
        struct state *state = empty_state();
        if (state_restore(state, (struct bytes){copy, view(snapshot).length}, NULL) < 0) {
            refused++;
        } else {
            g_autofree char *digest = state_digest(state);
            assert_non_null(digest);
        }
        state_free(state);
    }
    assert_true(refused > 0);
}

/* A body of numbers below 128, behind a fitting header of the first version, which is still read.
 */
static void expect_damaged(const uint8_t *body, size_t length, const char *message)
{
    g_autofree uint8_t *bytes = g_malloc0(SNAPSHOT_HEADER_BYTES + length);
    static const uint8_t magic[SNAPSHOT_MAGIC_BYTES] = SNAPSHOT_MAGIC;
    memcpy(bytes, magic, sizeof magic);
    wire_put_u32(bytes + 8, 1);
    wire_put_u64(bytes + 16, SNAPSHOT_HEADER_BYTES + length);
    memcpy(bytes + SNAPSHOT_HEADER_BYTES, body, length);
    struct state *state = empty_state();
    g_autoptr(GError) error = NULL;
    assert_int_equal(
        state_restore(state, (struct bytes){bytes, SNAPSHOT_HEADER_BYTES + length}, &error),
        -EBADMSG);
    if (!strstr(error->message, message)) {
        fail_msg("expected '%s', got '%s'", message, error->message);
    }
    state_free(state);
}

#define DAMAGED(message, ...)                                                                      \
    expect_damaged((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), message)

static void each_rule_of_the_form_is_held(void **in)
{
    /* index, origins, settings, users, next rule id, rules, retained, wills, sessions */
    DAMAGED("too long", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    DAMAGED("an origin is not in its place", 0, 2, 5, 1, 1, 5, 1, 1, 0, 0, 1, 0, 0, 0, 0);
    DAMAGED("out of its range", 0, 100);
    DAMAGED("holds a zero byte", 0, 0, 1, 1, 0, 1, 'x', 0, 1, 0, 0, 0, 0);
    DAMAGED("it ends too early", 0, 0, 1, 100, 'x');
    DAMAGED("a user is not valid", 0, 0, 0, 1, 1, 'u', 1, 'r', 0, 1, 0, 0, 0, 0);
    DAMAGED("an access rule is not valid", 0, 0, 0, 0, 9, 1, 1, 1, '*', 1, 'x', 1, 'a', 1, 0, 0, 0);
    DAMAGED("an access rule is not valid", 0, 0, 0, 0, 1, 1, 1, 1, '*', 4, 'r', 'e', 'a', 'd', 1,
            'a', 1, 0, 0, 0);
    DAMAGED("topic or QoS", 0, 0, 0, 0, 1, 0, 1, 0, 3, 0, 1, 0, 1, 'a', 'p', 0, 0);
    DAMAGED("topic or QoS", 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, '#', 'p', 0, 0);
    DAMAGED("no payload or stands there twice", 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 'a', 0, 0);
    DAMAGED("no payload or stands there twice", 0, 0, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0, 1, 'a', 'p', 1,
            0, 0);
    DAMAGED("a client id is not valid", 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 1, 'a', 'p', 0, 1,
            0, 0, 0);
    DAMAGED("a client id is not valid", 0, 0, 0, 0, 1, 0, 0, 2, 1, 'x', 0, 1, 0, 1, 0, 1, 'a', 'p',
            0, 1, 0, 0, 1, 'x', 1, 0, 1, 0, 0, 0);
#define SESSION_X 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 0
    DAMAGED("a subscription is not valid", SESSION_X, 1, 1, '#', 3, 0, 0, 0, 0);
    DAMAGED("a subscription is not valid", SESSION_X, 1, 2, '#', '#', 1, 0, 0, 0, 0);
    DAMAGED("stands there twice", SESSION_X, 2, 1, '#', 1, 0, 1, '#', 1, 0, 0, 0, 0);
    DAMAGED("a packet id is not valid", SESSION_X, 0, 1, 0, 0, 0);
    DAMAGED("a packet id is not valid", SESSION_X, 0, 2, 7, 7, 0, 0);
    DAMAGED("begins with what is done", SESSION_X, 0, 0, 0, 1, 0x20);
    DAMAGED("a delivery's QoS", SESSION_X, 0, 0, 0, 1, 0x00, 0, 0, 1, 0, 1, 0, 1, 'a', 'p');
    DAMAGED("out of its range", SESSION_X, 0, 0, 0, 1, 0x30);
    DAMAGED("behind its end", SESSION_X, 0, 0, 0, 0, 0);
}

static void a_hundred_thousand_retained_and_ten_thousand_sessions_are_restored_at_once(void **in)
{
    struct fixture *fixture = *in;
    for (uint32_t i = 0; i < 10000; i++) {
        g_autofree char *client_id = g_strdup_printf("client-%05u", i);
        g_autofree char *filter = g_strdup_printf("devices/%05u/#", i);
        struct state_open open = {.client_id = text(client_id),
                                  .is_persistent = true,
                                  .expiry_s = 3600,
                                  .connection_number = connection(i + 1)};
        struct subscription_options options = {.qos = 1};
        state_propose_open(fixture->state, &open, NULL);
        state_propose_subscribe(fixture->state, text(client_id), text(filter), &options, NULL);
    }
    fixture_flush(fixture);
    for (uint32_t i = 0; i < 100000; i++) {
        g_autofree char *name = g_strdup_printf("house/%03u/sensor/%u", i % 1000, i);
        struct state_publish publish = {
            .topic = text(name), .payload = {(const uint8_t[64]){1}, 64}, .qos = 1, .retain = true};
        state_propose_publish(fixture->state, &publish, NULL);
    }
    fixture_flush(fixture);
    uint64_t start_us = clock_now_us();
    g_autoptr(GBytes) snapshot = snapshot_of(fixture->state);
    uint64_t taken_us = clock_now_us();
    struct state *state = restored(view(snapshot));
    uint64_t restored_us = clock_now_us();
    print_message("%zu bytes: taken in %" G_GUINT64_FORMAT " us, restored in %" G_GUINT64_FORMAT
                  " us\n",
                  view(snapshot).length, taken_us - start_us, restored_us - taken_us);
    assert_int_equal(retained_count(state_retained(state)), 100000);
    assert_int_equal(session_store_count(state_sessions(state)), 10000);
    assert_same(fixture->state, state, 0);
    state_free(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_log_gives_the_same_tables_directly_and_by_way_of_snapshots),
        TEST(a_snapshot_stays_as_it_was_while_the_state_goes_on),
        TEST(a_message_in_many_places_stands_there_once),
        TEST(what_is_received_or_done_in_a_queue_is_kept),
        TEST(a_setting_that_this_version_does_not_know_is_kept),
        TEST(restoring_replaces_what_is_there_and_tells_the_watches),
        TEST(proposals_that_a_snapshot_already_holds_end_as_unknown),
        TEST(a_newer_version_is_refused_with_a_message),
        TEST(one_of_the_first_version_is_still_read),
        TEST(a_snapshot_cut_off_anywhere_is_refused_and_changes_nothing),
        TEST(a_flipped_byte_is_refused_or_gives_a_state_that_holds_together),
        TEST(each_rule_of_the_form_is_held),
        TEST(a_hundred_thousand_retained_and_ten_thousand_sessions_are_restored_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

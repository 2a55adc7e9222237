/* What nodes say of their addresses, over the wire's bytes. */
#include "ingress/peer_states.h"
#include "ingress/ingress.h"
#include "loop/loop.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include <string.h>

static const struct virtual_address first = {.address = "10.0.0.1", .interface = "", .prefix = 24};
static const struct virtual_address second = {
    .address = "fd00::1", .interface = "", .prefix = 64, .is_ipv6 = true};

static GByteArray *state_of(uint8_t is_able)
{
    GByteArray *bytes = g_byte_array_new();

    return g_byte_array_append(bytes, &is_able, 1);
}

static void add(GByteArray *bytes, bool is_ipv6, bool is_held, const char *problem)
{
    uint8_t row[19] = {is_ipv6 ? 6 : 4};

    memcpy(row + 1, is_ipv6 ? "\xfd" : "\x0a", 1);
    row[is_ipv6 ? 16 : 4] = 1;
    row[17] = is_held;
    row[18] = (uint8_t)strlen(problem);
    g_byte_array_append(bytes, row, sizeof row);
    g_byte_array_append(bytes, (const uint8_t *)problem, (guint)strlen(problem));
}

static void tell(struct peer_states *states, uint64_t node_id, GByteArray *bytes)
{
    peer_states_told(states, node_id, (struct bytes){bytes->data, bytes->len});
    g_byte_array_unref(bytes);
}

static void each_knows_who_holds_and_what_is_wrong(void **state)
{
    struct peer_states *states = peer_states_new();
    GByteArray *bytes = state_of(1);

    add(bytes, false, true, "");
    add(bytes, true, false, "another host answers for it");
    tell(states, 7, bytes);
    assert_true(peer_states_holder(states, &first) == 7);
    assert_true(peer_states_holder(states, &second) == 0);
    assert_null(peer_states_problem(states, &first));
    assert_string_equal(peer_states_problem(states, &second), "another host answers for it");
    assert_true(peer_states_is_able(states, 7));
    assert_false(peer_states_is_able(states, 8));
    assert_false(peer_states_is_unable(states, 7));
    assert_false(peer_states_is_unable(states, 8)); /* nothing is known of it */
    assert_true(peer_states_is_holder(states, 7));
    peer_states_forget(states, 7);
    assert_true(peer_states_holder(states, &first) == 0);
    assert_false(peer_states_is_any_able(states));
    peer_states_free(states);
}

static void the_newest_holder_is_the_only_one(void **state)
{
    struct peer_states *states = peer_states_new();
    GByteArray *bytes = state_of(1);

    add(bytes, false, true, "");
    tell(states, 7, bytes);
    bytes = state_of(1);
    add(bytes, false, true, "");
    tell(states, 8, bytes);
    assert_true(peer_states_holder(states, &first) == 8);
    assert_false(peer_states_is_holder(states, 7));
    peer_states_free(states);
}

static void what_is_cut_off_is_left_aside(void **state)
{
    struct peer_states *states = peer_states_new();
    GByteArray *bytes = state_of(0);

    add(bytes, false, true, "");
    add(bytes, true, true, "a problem");
    g_byte_array_set_size(bytes, bytes->len - 1);
    peer_states_told(states, 7, (struct bytes){bytes->data, 0});
    assert_false(peer_states_is_any_able(states));
    tell(states, 7, bytes);
    assert_true(peer_states_holder(states, &first) == 7);
    assert_true(peer_states_holder(states, &second) == 0);
    assert_false(peer_states_is_able(states, 7));
    peer_states_free(states);
}

static void on_held(void *owner, const struct virtual_address *vip)
{
}

static void on_changed(void *owner)
{
}

static void what_a_node_says_of_itself_is_understood(void **state)
{
    static const struct ingress_events events = {on_held, on_changed};
    struct fixture fixture;
    struct peer_states *states = peer_states_new();
    GByteArray *bytes = g_byte_array_new();

    fixture_init(&fixture);
    run(&fixture, state_propose_vip_set(fixture.state, "10.0.0.1/24", "", &fixture.completion));
    struct loop *loop = loop_new();
    struct ingress *ingress = ingress_new(loop, (struct keeper_ends){-1, -1}, &events, NULL);
    ingress_set(ingress, fixture.state, false);
    peer_states_describe(bytes, ingress);
    tell(states, 7, bytes);
    assert_false(peer_states_is_able(states, 7)); /* it has no keeper */
    assert_true(peer_states_is_unable(states, 7));
    assert_true(peer_states_holder(states, &first) == 0);
    ingress_free(ingress);
    loop_free(loop);
    fixture_deinit(&fixture);
    peer_states_free(states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_knows_who_holds_and_what_is_wrong),
        cmocka_unit_test(the_newest_holder_is_the_only_one),
        cmocka_unit_test(what_is_cut_off_is_left_aside),
        cmocka_unit_test(what_a_node_says_of_itself_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

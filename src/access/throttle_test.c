/* Tests of how failed logins slow their address down. */
#include "access/throttle.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MOST_MS 5000

static int setup(void **state)
{
    *state = throttle_new();
    return 0;
}

static int teardown(void **state)
{
    throttle_free(*state);
    return 0;
}

static void nobody_waits_before_a_failure(void **state)
{
    assert_int_equal(throttle_delay_ms(*state, "a", 1000, MOST_MS), 0);
    assert_int_equal(throttle_delay_ms(*state, "a", 1000, MOST_MS), 0);
}

static void each_failure_doubles_the_wait_up_to_the_most(void **state)
{
    uint64_t now_ms = 1000;
    static const uint64_t expected_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};

    for (unsigned i = 0; i < G_N_ELEMENTS(expected_ms); i++) {
        throttle_failed(*state, "a", now_ms);
        assert_int_equal(throttle_delay_ms(*state, "a", now_ms, MOST_MS), expected_ms[i]);
        now_ms += 10000;
    }
    for (unsigned i = 0; i < 100; i++) {
        throttle_failed(*state, "a", now_ms);
    }
    assert_int_equal(throttle_delay_ms(*state, "a", now_ms, MOST_MS), MOST_MS);
    assert_int_equal(throttle_delay_ms(*state, "a", now_ms, 0), 0);
}

static void attempts_at_the_same_time_stand_in_line(void **state)
{
    throttle_failed(*state, "a", 0);
    assert_int_equal(throttle_delay_ms(*state, "a", 0, MOST_MS), 100);
    assert_int_equal(throttle_delay_ms(*state, "a", 0, MOST_MS), 200);
    assert_int_equal(throttle_delay_ms(*state, "a", 50, MOST_MS), 250);
    assert_int_equal(throttle_delay_ms(*state, "a", 1000, MOST_MS), 100);
}

static void other_addresses_do_not_wait(void **state)
{
    throttle_failed(*state, "a", 0);
    assert_int_equal(throttle_delay_ms(*state, "b", 0, MOST_MS), 0);
}

static void a_right_password_is_forgiveness(void **state)
{
    throttle_failed(*state, "a", 0);
    throttle_failed(*state, "a", 0);
    throttle_succeeded(*state, "a");
    throttle_succeeded(*state, "never failed");
    assert_int_equal(throttle_delay_ms(*state, "a", 0, MOST_MS), 0);
}

static void a_quiet_address_is_forgotten(void **state)
{
    uint64_t later_ms = THROTTLE_FORGET_MS + 1;

    for (unsigned i = 0; i < 5; i++) {
        throttle_failed(*state, "a", 0);
    }
    assert_int_equal(throttle_delay_ms(*state, "a", later_ms, MOST_MS), 0);
    throttle_failed(*state, "a", later_ms);
    assert_int_equal(throttle_delay_ms(*state, "a", later_ms, MOST_MS), 100);
}

static void a_flood_of_addresses_does_not_grow_without_end(void **state)
{
    g_autofree char *last = NULL;

    for (unsigned i = 0; i < 3 * THROTTLE_ADDRESSES_MAX; i++) {
        g_free(last);
        last = g_strdup_printf("address-%u", i);
        throttle_failed(*state, last, i);
    }
    assert_int_equal(throttle_delay_ms(*state, last, 3 * THROTTLE_ADDRESSES_MAX, MOST_MS), 100);
    assert_int_equal(throttle_delay_ms(*state, "address-0", 0, MOST_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_waits_before_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(each_failure_doubles_the_wait_up_to_the_most, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(attempts_at_the_same_time_stand_in_line, setup, teardown),
        cmocka_unit_test_setup_teardown(other_addresses_do_not_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(a_right_password_is_forgiveness, setup, teardown),
        cmocka_unit_test_setup_teardown(a_quiet_address_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_addresses_does_not_grow_without_end, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

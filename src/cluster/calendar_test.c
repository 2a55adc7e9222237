/* Whose clock counts: the majority's, and between two the one that did not jump. */
#include "cluster/calendar.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define HOUR_MS ((int64_t)3600 * 1000)

static int64_t choose(int64_t counted_ms, size_t count, const int64_t *clocks_ms)
{
    return calendar_choose(clocks_ms, count, &counted_ms);
}

static void alone_the_own_clock_counts_also_after_it_was_set(void **state)
{
    assert_int_equal(choose(-HOUR_MS, 1, (int64_t[]){0}), 0);
    assert_int_equal(calendar_choose((int64_t[]){0}, 1, NULL), 0);
}

static void one_of_three_that_jumps_is_outvoted(void **state)
{
    int64_t other_jumps[] = {0, HOUR_MS, 3}, other_jumps_back[] = {0, -HOUR_MS, 3};
    int64_t own_jumps[] = {0, -HOUR_MS, 3 - HOUR_MS}, own_jumps_back[] = {0, HOUR_MS, HOUR_MS - 3};

    assert_int_equal(choose(0, 3, other_jumps), 3);
    assert_int_equal(choose(0, 3, other_jumps_back), 0);
    assert_int_equal(choose(-HOUR_MS, 3, own_jumps), 3 - HOUR_MS);
    assert_int_equal(choose(HOUR_MS, 3, own_jumps_back), HOUR_MS - 3);
}

static void what_the_majority_sets_is_followed(void **state)
{
    assert_int_equal(choose(0, 3, (int64_t[]){0, HOUR_MS, HOUR_MS + 5}), HOUR_MS);
}

static void between_two_the_one_counts_that_did_not_jump(void **state)
{
    assert_int_equal(choose(0, 2, (int64_t[]){0, HOUR_MS}), 0);
    assert_int_equal(choose(0, 2, (int64_t[]){0, -HOUR_MS}), 0);
    assert_int_equal(choose(-HOUR_MS, 2, (int64_t[]){0, -HOUR_MS}), -HOUR_MS);
    assert_int_equal(choose(HOUR_MS, 2, (int64_t[]){0, HOUR_MS}), HOUR_MS);
}

static void between_two_at_the_start_the_earlier_one_counts(void **state)
{
    assert_int_equal(calendar_choose((int64_t[]){0, HOUR_MS}, 2, NULL), 0);
    assert_int_equal(calendar_choose((int64_t[]){0, -HOUR_MS}, 2, NULL), -HOUR_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_the_own_clock_counts_also_after_it_was_set),
        cmocka_unit_test(one_of_three_that_jumps_is_outvoted),
        cmocka_unit_test(what_the_majority_sets_is_followed),
        cmocka_unit_test(between_two_the_one_counts_that_did_not_jump),
        cmocka_unit_test(between_two_at_the_start_the_earlier_one_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

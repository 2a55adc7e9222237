/* SIGKILL at any instant under load: every acknowledged record is there at the next start, in
 * order. */
#include "consensus/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t count_of(const char *directory)
{
    struct harness harness;
    g_autoptr(GError) error = NULL;
    harness_init(&harness, directory);
    if (!harness_open(&harness, &error)) {
        fail_msg("%s", error->message);
    }
    uint64_t count = harness.count;
    harness_fill(&harness, 3, 100);
    harness_close(&harness);
    harness_deinit(&harness);
    return count;
}

static void kill_rounds(unsigned rounds, uint32_t filler_bytes_max, uint64_t snapshot_log_bytes)
{
    char *directory = harness_make_directory();
    GRand *random = g_rand_new_with_seed(rounds + filler_bytes_max);
    uint64_t before = 0;
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t records = (uint64_t)g_rand_int_range(random, 1, 3000);
        uint64_t acknowledged =
            harness_run_and_kill(directory, records, filler_bytes_max, snapshot_log_bytes);
        assert_true(acknowledged > before);
        if (round % 3 == 0) {
            uint64_t count = count_of(directory);
            assert_true(count >= acknowledged);
            acknowledged = count + 3;
        }
        before = acknowledged;
    }
    assert_true(count_of(directory) >= before);
    g_rand_free(random);
    harness_remove_directory(directory);
}

static void no_acknowledged_record_is_lost_by_a_kill(void **test)
{
    kill_rounds(8, 300, 0);
}

static void nor_while_snapshots_are_taken(void **test)
{
    kill_rounds(8, 2000, 32 * 1024);
}

static void nor_with_records_larger_than_a_group(void **test)
{
    kill_rounds(3, 300 * 1000, 1024 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_acknowledged_record_is_lost_by_a_kill),
        cmocka_unit_test(nor_while_snapshots_are_taken),
        cmocka_unit_test(nor_with_records_larger_than_a_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

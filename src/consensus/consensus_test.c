/* The living log: order, replay, groups, back-pressure, snapshots, stop. */
#include "consensus/harness.h"

#include "base/clock.h"
#include <errno.h>
#include <raft/uv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct fixture {
    struct harness harness;
    char *directory;
};

static int setup(void **test)
{
    struct fixture *fixture = g_new0(struct fixture, 1);
    fixture->directory = harness_make_directory();
    harness_init(&fixture->harness, fixture->directory);
    *test = fixture;
    return 0;
}

static int teardown(void **test)
{
    struct fixture *fixture = *test;
    harness_deinit(&fixture->harness);
    harness_remove_directory(fixture->directory);
    g_free(fixture);
    return 0;
}

static struct harness *opened(void **test)
{
    struct fixture *fixture = *test;
    g_autoptr(GError) error = NULL;
    if (!harness_open(&fixture->harness, &error)) {
        fail_msg("%s", error->message);
    }
    return &fixture->harness;
}

static void records_are_applied_in_order_and_again_after_a_restart(void **test)
{
    struct harness *harness = opened(test);
    for (uint32_t size = 0; size < 200; size++) {
        harness_fill(harness, 3, size);
    }
    assert_int_equal(harness->count, 600);
    harness_close(harness);

    harness = opened(test);
    assert_int_equal(harness->count, 600);
    harness_fill(harness, 10, 100);
    harness_close(harness);
}

static void a_lone_record_is_one_group_and_many_of_one_turn_share_groups(void **test)
{
    struct harness *harness = opened(test);
    harness_fill(harness, 1, 100);
    assert_int_equal(harness->groups_begun, 1);
    harness_fill(harness, 1000, 100);
    assert_in_range(harness->groups_begun, 2, 4);
    assert_int_equal(harness->groups_applied, harness->groups_begun);
    harness_close(harness);
}

static void records_up_to_the_limit_are_durable_and_larger_ones_refused(void **test)
{
    struct harness *harness = opened(test);
    harness_fill(harness, 2, 100);
    harness_fill(harness, 3, 1200 * 1024);
    harness_fill(harness, 12, CONSENSUS_RECORD_BYTES_MAX - 12);
    assert_int_equal(harness_append(harness, CONSENSUS_RECORD_BYTES_MAX - 11), -EMSGSIZE);
    assert_null(consensus_append(harness->consensus, 0, NULL));
    harness_close(harness);
    harness = opened(test);
    assert_int_equal(harness->count, 17);
    harness_close(harness);
}

/* Bytes that the files of the log take. */
static uint64_t disk_bytes(const char *directory)
{
    g_autoptr(GDir) files = g_dir_open(directory, 0, NULL);
    const char *name;
    uint64_t bytes = 0;

    while ((name = g_dir_read_name(files))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        bytes += (uint64_t)status.st_blocks * 512;
    }
    return bytes;
}

static void a_small_log_needs_less_disk_and_takes_the_same(void **test)
{
    struct fixture *fixture = *test;
    struct harness *harness = &fixture->harness;

    harness->is_small = true;
    harness_fill(opened(test), 2, 100);
    assert_in_range(disk_bytes(harness->directory), 1, 10 * 1024 * 1024);
    harness_fill(harness, 12, CONSENSUS_RECORD_BYTES_MAX - 12);
    harness_close(harness);
    harness_fill(opened(test), 4, 1000 * 1024);
    harness_close(harness);
    harness->is_small = false; /* started as another kind of node */
    assert_int_equal(opened(test)->count, 18);
    harness_fill(harness, 2, 100);
    harness_close(harness);
}

static void what_waits_is_bounded(void **test)
{
    struct harness *harness = opened(test);
    uint32_t taken = 0;
    int r;
    while ((r = harness_append(harness, 1000)) == 0) {
        taken++;
    }
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(taken, CONSENSUS_PENDING_BYTES_MAX / 1012);
    assert_int_equal(consensus_pending_bytes(harness->consensus), taken * 1012);
    harness_run(harness, harness_is_settled);
    assert_int_equal(consensus_pending_bytes(harness->consensus), 0);
    harness_close(harness);
}

static void the_status_tells_what_is_so(void **test)
{
    struct harness *harness = opened(test);
    struct consensus_status status;
    harness_fill(harness, 5, 10);
    consensus_status(harness->consensus, &status);
    assert_int_equal(status.state, CONSENSUS_LEADING);
    assert_string_equal(consensus_state_to_string(status.state), "leading");
    assert_int_equal(status.node_id, 7);
    assert_int_equal(status.leader_id, 7);
    assert_int_equal(status.term, 1);
    assert_int_equal(status.applied_index, status.last_index);
    assert_int_equal(status.commit_index, status.last_index);
    assert_int_equal(status.in_flight, 0);
    assert_true(status.log_bytes > 0);
    assert_true(g_str_has_prefix(status.engine, "libraft 0."));
    harness_close(harness);
}

static bool is_bounded(struct harness *harness)
{
    struct consensus_status status;
    consensus_status(harness->consensus, &status);
    return harness->releases >= 2 && status.log_bytes < 64 * 1024 && status.snapshot_index > 0;
}

/* A further snapshot is only taken in a pause of 40 ms, which a slow disk may make. */
static void the_log_is_bounded_by_snapshots_that_rest_between(void **test)
{
    struct fixture *fixture = *test;
    uint32_t pauses = 0;
    fixture->harness.snapshot_log_bytes = 64 * 1024;
    struct harness *harness = opened(test);
    for (uint32_t round = 0; round < 40; round++) {
        uint64_t begun_ms = clock_now_ms();
        harness_fill(harness, 100, 200);
        pauses += clock_now_ms() - begun_ms >= 20; /* one may reach from a round into the next */
    }
    assert_in_range(harness->snapshots, 1, 1 + pauses);
    harness_run(harness, is_bounded);
    harness_fill(harness, 1, 1);
    harness_close(harness);

    harness = opened(test);
    assert_int_equal(harness->count, 4001);
    assert_true(harness->restored > 0);
    harness_fill(harness, 1, 1);
    harness_close(harness);
}

static bool has_new_snapshot(struct harness *harness)
{
    struct consensus_status status;
    consensus_status(harness->consensus, &status);
    return status.snapshot_index > 0 && status.log_bytes == 0;
}

static void a_snapshot_can_be_asked_for_and_holds_large_content(void **test)
{
    struct harness *harness = opened(test);
    harness->ballast_bytes = 20 * 1000 * 1000;
    harness_fill(harness, 100, 200);
    consensus_snapshot_soon(harness->consensus);
    harness_run(harness, has_new_snapshot);
    struct consensus_status status;
    consensus_status(harness->consensus, &status);
    assert_int_equal(status.snapshot_bytes, 20 * 1000 * 1000 + 16 + 32);
    harness_close(harness);
    harness->ballast_bytes = 0;
    harness = opened(test);
    assert_int_equal(harness->restored, 100);
    harness_close(harness);
}

static bool has_refused(struct harness *harness)
{
    return harness->refusals > 0;
}

static void a_state_that_gives_no_snapshot_is_asked_again_later(void **test)
{
    struct fixture *fixture = *test;
    fixture->harness.snapshot_log_bytes = 64 * 1024;
    struct harness *harness = opened(test);
    harness->refuse_snapshots = true;
    while (!has_refused(harness)) {
        harness_fill(harness, 100, 200);
    }
    assert_int_equal(harness->refusals, 1);
    harness_fill(harness, 100, 200);
    assert_int_equal(harness->refusals, 1);
    harness->refuse_snapshots = false;
    for (uint32_t round = 0; round < 20; round++) {
        harness_fill(harness, 100, 200);
    }
    assert_true(harness->snapshots >= 1);
    harness_close(harness);
}

static void a_clean_stop_leaves_a_snapshot_when_the_log_is_long(void **test)
{
    struct harness *harness = opened(test);
    for (uint32_t round = 0; round < 10; round++) {
        harness_fill(harness, 100, 200);
    }
    assert_int_equal(harness->snapshots, 0);
    harness_close(harness);
    assert_int_equal(harness->snapshots, 1);
    harness = opened(test);
    assert_int_equal(harness->restored, 1000);
    assert_int_equal(harness->groups_applied, harness->groups_begun); /* nothing was replayed */
    harness_close(harness);
    assert_int_equal(harness->snapshots, 1);
}

static void a_stop_finishes_what_was_appended(void **test)
{
    struct harness *harness = opened(test);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(harness_append(harness, 300), 0);
    }
    harness_close(harness);
    assert_int_equal(harness->count, 5000);
    assert_int_equal(harness->refusals, 0);
    harness = opened(test);
    assert_int_equal(harness->count, 5000);
    harness_close(harness);
}

static bool is_stopped(struct harness *harness)
{
    return harness->is_stopped;
}

static void on_stopped(void *owner)
{
    struct harness *harness = owner;
    harness->is_stopped = true;
}

static void nothing_is_taken_while_stopping(void **test)
{
    struct harness *harness = opened(test);
    consensus_stop(harness->consensus, on_stopped, harness);
    assert_int_equal(harness_append(harness, 1), -ENOTCONN);
    harness_run(harness, is_stopped);
    assert_int_equal(harness_append(harness, 1), -ENOTCONN);
    consensus_free(harness->consensus);
    harness->consensus = NULL;
}

static void a_state_that_cannot_read_its_snapshot_stops_the_start(void **test)
{
    struct fixture *fixture = *test;
    struct harness *harness = opened(test);
    g_autoptr(GError) error = NULL;
    harness_fill(harness, 1000, 200);
    harness_close(harness);
    harness->refuse_restore = true;
    assert_false(harness_open(harness, &error));
    assert_non_null(strstr(error->message, "tables of the future"));
    assert_non_null(strstr(error->message, fixture->directory));
}

static void two_processes_cannot_have_the_same_directory(void **test)
{
    struct fixture *fixture = *test;
    struct harness *harness = opened(test);
    struct harness second;
    g_autoptr(GError) error = NULL;
    harness_init(&second, fixture->directory);
    assert_false(harness_open(&second, &error));
    assert_int_equal(error->code, CONSENSUS_ERROR_BUSY);
    harness_deinit(&second);
    harness_close(harness);
}

static void the_directory_of_another_node_is_refused(void **test)
{
    struct harness *harness = opened(test);
    g_autoptr(GError) error = NULL;
    harness_fill(harness, 1, 1);
    harness_close(harness);
    harness->node_id = 8;
    assert_false(harness_open(harness, &error));
    assert_int_equal(error->code, CONSENSUS_ERROR_FOREIGN);
    assert_non_null(strstr(error->message, "belongs to node 7"));
}

#define with_fixture(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_fixture(records_are_applied_in_order_and_again_after_a_restart),
        with_fixture(a_lone_record_is_one_group_and_many_of_one_turn_share_groups),
        with_fixture(records_up_to_the_limit_are_durable_and_larger_ones_refused),
        with_fixture(a_small_log_needs_less_disk_and_takes_the_same),
        with_fixture(what_waits_is_bounded),
        with_fixture(the_status_tells_what_is_so),
        with_fixture(the_log_is_bounded_by_snapshots_that_rest_between),
        with_fixture(a_snapshot_can_be_asked_for_and_holds_large_content),
        with_fixture(a_state_that_gives_no_snapshot_is_asked_again_later),
        with_fixture(a_clean_stop_leaves_a_snapshot_when_the_log_is_long),
        with_fixture(a_stop_finishes_what_was_appended),
        with_fixture(nothing_is_taken_while_stopping),
        with_fixture(a_state_that_cannot_read_its_snapshot_stops_the_start),
        with_fixture(two_processes_cannot_have_the_same_directory),
        with_fixture(the_directory_of_another_node_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

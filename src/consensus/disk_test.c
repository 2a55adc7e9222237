/* A disk that is full, and one that fails. */
#include "consensus/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_OPTIONS "size=64m"

struct fixture {
    char *mount_point, *directory, *ballast;
    struct harness harness;
};

/* A small disk of our own; that needs the right to mount. */
static int setup(void **test)
{
    struct fixture *fixture = g_new0(struct fixture, 1);
    fixture->mount_point = harness_make_directory();
    if (mount("none", fixture->mount_point, "tmpfs", 0, DISK_OPTIONS) == 0) {
        fixture->directory = g_build_filename(fixture->mount_point, "raft", NULL);
        fixture->ballast = g_build_filename(fixture->mount_point, "ballast", NULL);
        g_mkdir(fixture->directory, 0700);
    }
    harness_init(&fixture->harness, fixture->directory);
    *test = fixture;
    return 0;
}

static int teardown(void **test)
{
    struct fixture *fixture = *test;
    harness_deinit(&fixture->harness);
    umount2(fixture->mount_point, MNT_DETACH);
    harness_remove_directory(fixture->mount_point);
    g_free(fixture->directory);
    g_free(fixture->ballast);
    g_free(fixture);
    return 0;
}

static struct fixture *fixture_of(void **test)
{
    struct fixture *fixture = *test;
    if (!fixture->directory) {
        print_message("skipped: a small disk cannot be mounted without the right to\n");
        skip();
    }
    return fixture;
}

/* Leaves so many bytes free. libraft may be allocating a segment at the same time. */
static void fill_disk(struct fixture *fixture, uint64_t free_bytes)
{
    int r = ENOSPC;
    int fd = open(fixture->ballast, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    for (unsigned tries = 0; tries < 1000 && r == ENOSPC; tries++) {
        struct statvfs disk;
        assert_int_equal(statvfs(fixture->mount_point, &disk), 0);
        uint64_t size = disk.f_bavail * disk.f_frsize;
        r = size > free_bytes ? posix_fallocate(fd, 0, (off_t)(size - free_bytes)) : 0;
    }
    assert_int_equal(r, 0);
    close(fd);
}

static bool is_full(struct harness *harness)
{
    return harness->state == CONSENSUS_DISK_FULL;
}

/* Appends as fast as it is taken until it is refused for good. */
static void append_until_full(struct harness *harness)
{
    uint64_t deadline = (uint64_t)g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    while (!is_full(harness) && (uint64_t)g_get_monotonic_time() < deadline) {
        int r = harness_append(harness, 20000);
        if (r == -EAGAIN) {
            harness_run(harness, harness_is_settled_or_full);
        } else {
            assert_true(r == 0 || r == -ENOSPC);
        }
    }
    assert_true(is_full(harness));
}

static void a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room(void **test)
{
    struct fixture *fixture = fixture_of(test);
    struct harness *harness = &fixture->harness;
    harness->snapshot_log_bytes = 1ull << 40;
    assert_true(harness_open(harness, NULL));
    harness_fill(harness, 10, 100);
    fill_disk(fixture, 2 * 1024 * 1024);
    append_until_full(harness);
    assert_int_equal(harness->refused_error, -ENOSPC);
    assert_int_equal(harness_append(harness, 1), -ENOSPC);
    assert_null(harness->fatal);
    uint64_t acknowledged = harness->count;

    g_remove(fixture->ballast);
    harness_run(harness, harness_is_leading);
    harness_run(harness, harness_is_settled);
    harness_fill(harness, 100, 1000);
    assert_true(harness->count >= acknowledged + 100);
    acknowledged = harness->count;
    harness_close(harness);
    assert_true(harness_open(harness, NULL));
    assert_int_equal(harness->count, acknowledged);
    harness_close(harness);
}

static void a_node_that_starts_on_a_full_disk_takes_writes_when_there_is_room(void **test)
{
    struct fixture *fixture = fixture_of(test);
    struct harness *harness = &fixture->harness;
    assert_true(harness_open(harness, NULL));
    harness_fill(harness, 10, 100);
    harness_close(harness);
    fill_disk(fixture, 1024 * 1024);
    assert_true(harness_open(harness, NULL));
    assert_int_equal(harness->count, 10);
    assert_int_equal(harness_append(harness, 1), 0);
    harness_run(harness, is_full);
    assert_int_equal(harness->refused_error, -ENOSPC);
    g_remove(fixture->ballast);
    harness_run(harness, harness_is_leading);
    harness_fill(harness, 10, 100);
    harness_close(harness);
}

static void a_stop_on_a_full_disk_ends(void **test)
{
    struct fixture *fixture = fixture_of(test);
    struct harness *harness = &fixture->harness;
    harness->snapshot_log_bytes = 1ull << 40;
    assert_true(harness_open(harness, NULL));
    fill_disk(fixture, 2 * 1024 * 1024);
    append_until_full(harness);
    uint64_t acknowledged = harness->count;
    harness_close(harness);
    assert_true(harness_open(harness, NULL));
    assert_true(harness->count >= acknowledged);
    harness_close(harness);
}

static void a_snapshot_that_finds_no_room_waits_for_it(void **test)
{
    struct fixture *fixture = fixture_of(test);
    struct harness *harness = &fixture->harness;
    harness->ballast_bytes = 5 * 1000 * 1000;
    assert_true(harness_open(harness, NULL));
    harness_fill(harness, 10, 100);
    fill_disk(fixture, 1024 * 1024);
    consensus_snapshot_soon(harness->consensus);
    harness_fill(harness, 10, 100); /* writes go on meanwhile */
    assert_int_equal(harness->releases, 0);
    g_remove(fixture->ballast);
    harness_run(harness, harness_has_released);
    harness_close(harness);
    assert_true(harness_open(harness, NULL));
    assert_int_equal(harness->restored, 10);
    assert_int_equal(harness->count, 20);
    harness_close(harness);
}

static void no_room_at_all_is_told_at_start(void **test)
{
    struct fixture *fixture = fixture_of(test);
    g_autoptr(GError) error = NULL;
    fill_disk(fixture, 0);
    assert_false(harness_open(&fixture->harness, &error));
    assert_non_null(strstr(error->message, fixture->directory));
    assert_non_null(strstr(error->message, "space"));
}

static bool has_failed(struct harness *harness)
{
    return harness->fatal != NULL;
}

static void a_write_that_the_disk_refuses_is_fatal(void **test)
{
    struct rlimit before, limit;
    struct harness harness;
    char *directory = harness_make_directory();
    harness_init(&harness, directory);
    assert_true(harness_open(&harness, NULL));
    harness_fill(&harness, 10, 100);
    uint64_t acknowledged = harness.count;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 8192;
    setrlimit(RLIMIT_FSIZE, &limit);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(harness_append(&harness, 10000), 0);
    }
    harness_run(&harness, has_failed);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(harness.fatal, directory));
    assert_int_equal(harness.state, CONSENSUS_FAILED);
    assert_int_equal(harness_append(&harness, 1), -ENOTCONN);
    assert_int_equal(harness.count, acknowledged);
    harness_close(&harness);
    harness_deinit(&harness);

    harness_init(&harness, directory);
    assert_true(harness_open(&harness, NULL));
    assert_true(harness.count >= acknowledged);
    harness_close(&harness);
    harness_deinit(&harness);
    harness_remove_directory(directory);
}

static void a_snapshot_that_cannot_be_written_is_tried_again_while_writes_go_on(void **test)
{
    struct rlimit before, limit;
    struct harness harness;
    char *directory = harness_make_directory();
    harness_init(&harness, directory);
    harness.ballast_bytes = 30 * 1000 * 1000;
    assert_true(harness_open(&harness, NULL));
    harness_fill(&harness, 10, 100);

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 20 * 1000 * 1000; /* a segment still fits */
    setrlimit(RLIMIT_FSIZE, &limit);
    consensus_snapshot_soon(harness.consensus);
    harness_fill(&harness, 10, 100);
    harness_fill(&harness, 10, 100);
    assert_int_equal(harness.snapshots, 1);
    assert_int_equal(harness.releases, 0);
    assert_null(harness.fatal);
    setrlimit(RLIMIT_FSIZE, &before);
    harness_run(&harness, harness_has_released);
    harness_close(&harness);

    assert_true(harness_open(&harness, NULL));
    assert_int_equal(harness.restored, 10);
    assert_int_equal(harness.count, 30);
    harness_close(&harness);
    harness_deinit(&harness);
    harness_remove_directory(directory);
}

#define on_small_disk(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_small_disk(a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room),
        on_small_disk(a_node_that_starts_on_a_full_disk_takes_writes_when_there_is_room),
        on_small_disk(a_stop_on_a_full_disk_ends),
        on_small_disk(a_snapshot_that_finds_no_room_waits_for_it),
        on_small_disk(no_room_at_all_is_told_at_start),
        cmocka_unit_test(a_write_that_the_disk_refuses_is_fatal),
        cmocka_unit_test(a_snapshot_that_cannot_be_written_is_tried_again_while_writes_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Files that are damaged, missing, foreign or of the future: never a crash, never silently less,
 * always a message that names the directory and says what to do. */
#include "consensus/harness.h"

#include "consensus/checksum.h"
#include "consensus/snapshot_file.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char *original;  /* as made */
    char *directory; /* a copy to be damaged */
    uint64_t acknowledged;
};

static char *path_in(const char *directory, const char *name)
{
    return g_build_filename(directory, name, NULL);
}

/* The first or last file that begins so; freed by the caller. */
static char *find_file(const char *directory, const char *prefix, bool is_last)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    char *found = NULL;
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        bool is_better = !found || (strcmp(name, found) > 0) == is_last;
        if (g_str_has_prefix(name, prefix) && is_better) {
            g_free(found);
            found = g_strdup(name);
        }
    }
    return found;
}

static void make_original(struct fixture *fixture)
{
    fixture->original = harness_make_directory();
    fixture->directory = harness_make_directory();
}

static int free_fixture(void **test)
{
    struct fixture *fixture = *test;
    harness_remove_directory(fixture->original);
    harness_remove_directory(fixture->directory);
    g_free(fixture);
    return 0;
}

/* Killed: a snapshot, a closed segment, an open one. */
static int setup_killed(void **test)
{
    struct fixture *fixture = g_new0(struct fixture, 1);
    make_original(fixture);
    fixture->acknowledged = harness_run_and_kill(fixture->original, 2000, 800, 256 * 1024);
    *test = fixture;
    return 0;
}

/* Stopped cleanly, without a snapshot: closed segments only. */
static int setup_stopped(void **test)
{
    struct fixture *fixture = g_new0(struct fixture, 1);
    struct harness harness;
    make_original(fixture);
    for (unsigned round = 0; round < 3; round++) {
        harness_init(&harness, fixture->original);
        assert_true(harness_open(&harness, NULL));
        harness_fill(&harness, 40, 200);
        fixture->acknowledged = harness.count;
        harness_close(&harness);
        assert_int_equal(harness.snapshots, 0);
        harness_deinit(&harness);
    }
    *test = fixture;
    return 0;
}

/* Opens the copy; the message when it was refused, else NULL and the count. */
static char *try_open(struct fixture *fixture, uint64_t *count, int *code)
{
    struct harness harness;
    GError *error = NULL;
    char *message = NULL;

    harness_init(&harness, fixture->directory);
    harness.found = false;
    if (harness_open(&harness, &error)) {
        *count = harness.count;
        harness_fill(&harness, 1, 10);
        harness_close(&harness);
    } else {
        message = g_strdup(error->message);
        *code = error->code;
        g_error_free(error);
        assert_non_null(strstr(message, fixture->directory));
    }
    harness_deinit(&harness);
    return message;
}

static void assert_refused(struct fixture *fixture, enum consensus_error code, const char *part)
{
    uint64_t count = 0;
    int seen = -1;
    g_autofree char *message = try_open(fixture, &count, &seen);
    if (!message) {
        fail_msg("started with %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT, count,
                 fixture->acknowledged);
    }
    if (seen != (int)code || !strstr(message, part)) {
        fail_msg("code %d, not %d with '%s': %s", seen, code, part, message);
    }
}

static void assert_whole(struct fixture *fixture)
{
    uint64_t count = 0;
    int code;
    g_autofree char *message = try_open(fixture, &count, &code);
    if (message) {
        fail_msg("%s", message);
    }
    assert_true(count >= fixture->acknowledged);
}

static void restore(struct fixture *fixture)
{
    harness_copy_directory(fixture->original, fixture->directory);
}

static void flip(const char *path, off_t at, uint8_t change)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= change;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Where the content of a file ends and its zeros begin. */
static off_t content_end(const char *path)
{
    g_autofree char *content = NULL;
    size_t length;
    assert_true(g_file_get_contents(path, &content, &length, NULL));
    while (length > 0 && content[length - 1] == 0) {
        length--;
    }
    return (off_t)length;
}

static void flip_everywhere(struct fixture *fixture, unsigned rounds, unsigned seed)
{
    GRand *random = g_rand_new_with_seed(seed);
    unsigned refused = 0;

    for (unsigned round = 0; round < rounds; round++) {
        restore(fixture);
        GDir *dir = g_dir_open(fixture->directory, 0, NULL);
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
        const char *name;
        while ((name = g_dir_read_name(dir)) != NULL) {
            g_ptr_array_add(names, g_strdup(name));
        }
        g_dir_close(dir);
        const char *chosen = names->pdata[g_rand_int_range(random, 0, (int)names->len)];
        g_autofree char *path = path_in(fixture->directory, chosen);
        off_t end = content_end(path) + 16;
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        end = end < status.st_size ? end : status.st_size;
        off_t at = g_rand_int_range(random, 0, (int)end);
        uint8_t change = (uint8_t)g_rand_int_range(random, 1, 256);
        flip(path, at, change);

        uint64_t count = 0;
        int code;
        g_autofree char *message = try_open(fixture, &count, &code);
        refused += message != NULL;
        if (!message && count < fixture->acknowledged) {
            fail_msg("%s at %ld changed by %u: silently %" G_GUINT64_FORMAT
                     " of %" G_GUINT64_FORMAT,
                     chosen, (long)at, change, count, fixture->acknowledged);
        }
        g_ptr_array_unref(names);
    }
    assert_true(refused > rounds / 10);
    g_rand_free(random);
}

static void a_flipped_byte_anywhere_after_a_kill_never_costs_an_acknowledged_record(void **test)
{
    flip_everywhere(*test, 150, 1);
}

static void a_flipped_byte_anywhere_after_a_stop_never_costs_an_acknowledged_record(void **test)
{
    flip_everywhere(*test, 100, 2);
}

static void what_was_not_damaged_is_taken(void **test)
{
    restore(*test);
    assert_whole(*test);
    assert_whole(*test);
}

static void a_missing_segment_is_noticed(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    g_autofree char *first = find_file(fixture->directory, "0", false);
    g_autofree char *path = path_in(fixture->directory, first);
    g_remove(path);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "a file is missing");
}

static void segments_that_were_cut_off_are_noticed(void **test)
{
    struct fixture *fixture = *test;
    for (off_t length = 0; length < 3000; length += 400) {
        restore(fixture);
        g_autofree char *last = find_file(fixture->directory, "0", true);
        g_autofree char *path = path_in(fixture->directory, last);
        assert_int_equal(truncate(path, length), 0);
        assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, last);
    }
}

static void a_segment_that_is_not_one_is_refused(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    g_autofree char *last = find_file(fixture->directory, "0", true);
    g_autofree char *path = path_in(fixture->directory, last);
    assert_int_equal(truncate(path, 20 * 1024 * 1024), 0);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "larger than any segment");

    restore(fixture);
    g_remove(path);
    assert_int_equal(g_mkdir(path, 0700), 0);
    assert_refused(fixture, CONSENSUS_ERROR_ACCESS, last);
    g_rmdir(path);

    restore(fixture);
    g_autofree char *renamed = path_in(fixture->directory, "0000000000000001-0000000000000099");
    g_autofree char *first = find_file(fixture->directory, "0", false);
    g_autofree char *first_path = path_in(fixture->directory, first);
    g_rename(first_path, renamed);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "0000000000000001-0000000000000099");
}

static void a_truncated_open_segment_is_noticed_or_whole(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    g_autofree char *name = find_file(fixture->directory, "open-", false);
    g_autofree char *path = path_in(fixture->directory, name);
    off_t end = content_end(path);
    assert_true(end > 100);
    assert_int_equal(truncate(path, end + 4096),
                     0); /* rule 8: libraft alone frees twice here, for ever */
    assert_whole(fixture);
    restore(fixture);
    assert_int_equal(truncate(path, end - 20), 0);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "cut off");
    for (off_t length = 0; length <= 8; length += 8) {
        restore(fixture);
        assert_int_equal(truncate(path, length), 0);
        assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, name);
    }
}

static void lost_metadata_is_refused(void **test)
{
    struct fixture *fixture = *test;
    g_autofree char *first = path_in(fixture->directory, "metadata1");
    g_autofree char *second = path_in(fixture->directory, "metadata2");
    restore(fixture);
    assert_int_equal(truncate(first, 0), 0);
    assert_int_equal(truncate(second, 0), 0);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "metadata1 and metadata2");
    restore(fixture);
    g_remove(first);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "metadata1 and metadata2");
    restore(fixture);
    assert_int_equal(truncate(first, 40), 0);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "metadata1");
    restore(fixture);
    flip(second, 0, 3); /* format 2 */
    assert_refused(fixture, CONSENSUS_ERROR_NEWER, "metadata2");
    restore(fixture);
    g_remove(second);
    assert_int_equal(g_mkdir(second, 0700), 0);
    assert_refused(fixture, CONSENSUS_ERROR_ACCESS, "metadata2");
    g_rmdir(second);
}

static void metadata_older_than_the_log_is_refused(void **test)
{
    struct fixture *fixture = *test;
    g_autofree char *first = path_in(fixture->directory, "metadata1");
    g_autofree char *second = path_in(fixture->directory, "metadata2");
    restore(fixture);
    flip(first, 16, 1); /* term 0 in both */
    flip(second, 16, 1);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "older than the log");
}

static void a_log_without_segments_is_refused_even_for_founding(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    for (char *name; (name = find_file(fixture->directory, "0", false)) != NULL; g_free(name)) {
        g_autofree char *path = path_in(fixture->directory, name);
        g_remove(path);
    }
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "the log is gone");
    struct harness harness;
    harness_init(&harness, fixture->directory);
    g_autoptr(GError) error = NULL;
    assert_false(harness_open(&harness, &error));
    assert_non_null(strstr(error->message, "the log is gone"));
    harness_deinit(&harness);
}

static void snapshots_are_verified(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    g_autofree char *meta = find_file(fixture->directory, "snapshot-", true);
    assert_true(g_str_has_suffix(meta, ".meta"));
    g_autofree char *name = g_strndup(meta, strlen(meta) - strlen(".meta"));
    g_autofree char *path = path_in(fixture->directory, name);
    g_autofree char *meta_path = path_in(fixture->directory, meta);
    struct {
        const char *path;
        off_t cut; /* -1: flip instead */
        off_t at;
        uint8_t change;
        enum consensus_error code;
    } cases[] = {
        {path, 0, 0, 0, CONSENSUS_ERROR_DAMAGED},
        {path, 10, 0, 0, CONSENSUS_ERROR_DAMAGED},
        {path, 40, 0, 0, CONSENSUS_ERROR_DAMAGED},
        {path, -1, 0, 1, CONSENSUS_ERROR_DAMAGED},
        {path, -1, 6, 1, CONSENSUS_ERROR_DAMAGED},
        {path, -1, 20, 1, CONSENSUS_ERROR_DAMAGED},
        {path, -1, 40, 1, CONSENSUS_ERROR_DAMAGED},
        {meta_path, 20, 0, 0, CONSENSUS_ERROR_DAMAGED},
        {meta_path, -1, 0, 3, CONSENSUS_ERROR_NEWER},
        {meta_path, -1, 40, 1, CONSENSUS_ERROR_DAMAGED},
        {meta_path, -1, 6, 0x80, CONSENSUS_ERROR_DAMAGED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        restore(fixture);
        if (cases[i].cut >= 0) {
            assert_int_equal(truncate(cases[i].path, cases[i].cut), 0);
        } else {
            flip(cases[i].path, cases[i].at, cases[i].change);
        }
        assert_refused(fixture, cases[i].code, name);
    }
    restore(fixture);
    g_remove(path);
    assert_refused(fixture, CONSENSUS_ERROR_DAMAGED, "missing");
}

static void a_snapshot_of_a_newer_version_is_named_as_such(void **test)
{
    uint8_t file[SNAPSHOT_HEADER_BYTES + 4] = {0};
    struct checksum checksum;
    struct bytes content;
    g_autoptr(GError) error = NULL;
    checksum_init(&checksum);
    checksum_add(&checksum, file + SNAPSHOT_HEADER_BYTES, 4);
    snapshot_header_write(file, 4, checksum_value(&checksum));
    assert_int_equal(snapshot_verify((struct bytes){file, sizeof file}, &content, NULL), 0);
    assert_int_equal(content.length, 4);
    file[6] = SNAPSHOT_VERSION + 1;
    checksum_init(&checksum);
    checksum_add(&checksum, file, 24);
    uint64_t value = checksum_value(&checksum);
    memcpy(file + 24, &value, 8);
    assert_true(snapshot_verify((struct bytes){file, sizeof file}, &content, &error) < 0);
    assert_int_equal(error->code, CONSENSUS_ERROR_NEWER);
    uint64_t bytes;
    assert_true(snapshot_file_verify("/nonexistent/snapshot", &bytes, NULL) < 0);
    assert_true(snapshot_meta_verify("/nonexistent/snapshot.meta", NULL) < 0);
}

static void leftovers_of_a_crash_are_taken_away(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    g_autofree char *orphan = path_in(fixture->directory, "snapshot-1-99999-1.meta");
    g_autofree char *temporary = path_in(fixture->directory, "tmp-metadata1");
    g_autofree char *lost = path_in(fixture->directory, "lost+found");
    assert_true(g_file_set_contents(orphan, "x", 1, NULL));
    assert_true(g_file_set_contents(temporary, "x", 1, NULL));
    assert_int_equal(g_mkdir(lost, 0700), 0);
    assert_whole(fixture);
    assert_false(g_file_test(orphan, G_FILE_TEST_EXISTS));
    g_rmdir(lost);
}

static void what_was_not_taken_back_to_the_end_is_whole(void **test)
{
    struct fixture *fixture = *test;
    restore(fixture);
    g_autofree char *last = find_file(fixture->directory, "0", true);
    uint64_t from, to;
    assert_int_equal(sscanf(last, "%" SCNu64 "-%" SCNu64, &from, &to), 2);
    g_autofree char *name = g_strdup_printf("%016" PRIu64 "-%016" PRIu64, from, to - 1);
    g_autofree char *copy = path_in(fixture->directory, name);
    assert_true(g_file_set_contents(copy, "x", 1, NULL));
    assert_whole(fixture);
    assert_false(g_file_test(copy, G_FILE_TEST_EXISTS));
}

static void foreign_files_are_refused(void **test)
{
    struct fixture *fixture = *test;
    const char *names[] = {"holiday.jpg", "open-", "open-1x",
                           "metadata3",   "1-2",   "0000000000000005-0000000000000002",
                           "snapshot-1-2"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        restore(fixture);
        g_autofree char *path = path_in(fixture->directory, names[i]);
        assert_true(g_file_set_contents(path, "x", 1, NULL));
        assert_refused(fixture, CONSENSUS_ERROR_FOREIGN, names[i]);
    }
}

static void an_empty_directory_is_refused_unless_it_is_to_be_founded(void **test)
{
    struct fixture *fixture = *test;
    assert_refused(fixture, CONSENSUS_ERROR_EMPTY, "empty");
    /* A founding that was cut short is undone. */
    g_autofree char *metadata = path_in(fixture->directory, "metadata1");
    assert_true(g_file_set_contents(metadata, "", 0, NULL));
    assert_refused(fixture, CONSENSUS_ERROR_EMPTY, "empty");
    struct harness harness;
    harness_init(&harness, fixture->directory);
    assert_true(harness_open(&harness, NULL));
    harness_fill(&harness, 1, 1);
    harness_close(&harness);
    harness_deinit(&harness);
    fixture->acknowledged = 1;
    assert_whole(fixture);
}

static void a_directory_that_is_not_there_or_a_file_is_refused(void **test)
{
    struct harness harness;
    harness_init(&harness, "/nonexistent/raft");
    g_autoptr(GError) error = NULL;
    assert_false(harness_open(&harness, &error));
    assert_int_equal(error->code, CONSENSUS_ERROR_ACCESS);
    assert_non_null(strstr(error->message, "/nonexistent/raft"));
    g_clear_error(&error);
    harness.directory = (char *)"/proc/self/status";
    assert_false(harness_open(&harness, &error));
    assert_int_equal(error->code, CONSENSUS_ERROR_ACCESS);
    harness_deinit(&harness);
}

static void a_directory_without_rights_is_refused(void **test)
{
    struct fixture *fixture = *test;
    chmod(fixture->directory, 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct harness harness;
        GError *error = NULL;
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
            _exit(2);
        }
        harness_init(&harness, fixture->directory);
        bool is_open = harness_open(&harness, &error);
        _exit(!is_open && error->code == CONSENSUS_ERROR_ACCESS &&
                      strstr(error->message, fixture->directory)
                  ? 0
                  : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    chmod(fixture->directory, 0700);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int setup_empty(void **test)
{
    struct fixture *fixture = g_new0(struct fixture, 1);
    make_original(fixture);
    *test = fixture;
    return 0;
}

#define after_kill(test) cmocka_unit_test_setup_teardown(test, setup_killed, free_fixture)
#define after_stop(test) cmocka_unit_test_setup_teardown(test, setup_stopped, free_fixture)
#define when_empty(test) cmocka_unit_test_setup_teardown(test, setup_empty, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        after_kill(what_was_not_damaged_is_taken),
        after_stop(what_was_not_damaged_is_taken),
        after_kill(a_flipped_byte_anywhere_after_a_kill_never_costs_an_acknowledged_record),
        after_stop(a_flipped_byte_anywhere_after_a_stop_never_costs_an_acknowledged_record),
        after_stop(a_missing_segment_is_noticed),
        after_stop(segments_that_were_cut_off_are_noticed),
        after_stop(a_segment_that_is_not_one_is_refused),
        after_kill(a_truncated_open_segment_is_noticed_or_whole),
        after_stop(lost_metadata_is_refused),
        after_stop(metadata_older_than_the_log_is_refused),
        after_stop(a_log_without_segments_is_refused_even_for_founding),
        after_kill(snapshots_are_verified),
        cmocka_unit_test(a_snapshot_of_a_newer_version_is_named_as_such),
        after_kill(leftovers_of_a_crash_are_taken_away),
        after_kill(what_was_not_taken_back_to_the_end_is_whole),
        after_stop(foreign_files_are_refused),
        when_empty(an_empty_directory_is_refused_unless_it_is_to_be_founded),
        cmocka_unit_test(a_directory_that_is_not_there_or_a_file_is_refused),
        when_empty(a_directory_without_rights_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

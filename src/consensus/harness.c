/* The state machine of the tests, and a loop that is run until something is so. */
#include "consensus/harness.h"

#include "base/clock.h"
#include "loop/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS       30000
#define LOOK_MS           5
#define RECORD_HEAD_BYTES 12

static uint8_t filler_of(uint64_t number, uint32_t at)
{
    return (uint8_t)((number * 31 + at * 7) % 255 + 1); /* never 0 */
}

static void on_apply(void *owner, uint64_t index, struct bytes entry)
{
    struct harness *harness = owner;
    size_t at = CONSENSUS_GROUP_HEADER_BYTES;
    uint64_t first;

    assert_true(index > harness->last_index);
    harness->last_index = index;
    memcpy(&first, entry.at, sizeof first);
    assert_int_equal(first, harness->count + 1);
    while (at < entry.length) {
        uint32_t length;
        uint64_t number;
        memcpy(&length, entry.at + at, 4);
        memcpy(&number, entry.at + at + 4, 8);
        assert_int_equal(number, harness->count + 1);
        for (uint32_t i = 0; i < length; i++) {
            if (entry.at[at + RECORD_HEAD_BYTES + i] != filler_of(number, i)) {
                fail_msg("record %" G_GUINT64_FORMAT " was changed at %u", number, i);
            }
        }
        at += RECORD_HEAD_BYTES + length;
        harness->count = number;
    }
    assert_int_equal(at, entry.length);
    harness->groups_applied++;
    if (harness->shared_count) {
        __atomic_store_n(harness->shared_count, harness->count, __ATOMIC_SEQ_CST);
    }
    loop_stop(harness->loop);
}

static void on_group_begin(void *owner, uint8_t header[CONSENSUS_GROUP_HEADER_BYTES])
{
    struct harness *harness = owner;
    uint64_t first = harness->appended + 1;
    memset(header, 0, CONSENSUS_GROUP_HEADER_BYTES);
    memcpy(header, &first, sizeof first);
    harness->groups_begun++;
}

static void on_group_failed(void *owner, const uint8_t header[CONSENSUS_GROUP_HEADER_BYTES],
                            int error)
{
    struct harness *harness = owner;
    uint64_t first;
    memcpy(&first, header, sizeof first);
    if (harness->refusals++ == 0) {
        harness->first_refused = first;
    }
    harness->refused_error = error;
    harness->appended = first - 1;
    loop_stop(harness->loop);
}

static void on_release(void *owner)
{
    struct harness *harness = owner;
    harness->releases++;
    g_free((void *)harness->pieces[1].base);
    loop_stop(harness->loop);
}

static int on_snapshot(void *owner, struct consensus_snapshot *out)
{
    struct harness *harness = owner;
    if (harness->refuse_snapshots) {
        harness->refusals++;
        return -EBUSY;
    }
    harness->snapshots++;
    harness->snapshot_content[0] = harness->count;
    harness->snapshot_content[1] = harness->last_index;
    harness->pieces[0] =
        (struct consensus_piece){harness->snapshot_content, sizeof harness->snapshot_content};
    harness->pieces[1] =
        (struct consensus_piece){g_malloc0(harness->ballast_bytes), harness->ballast_bytes};
    *out = (struct consensus_snapshot){harness->pieces, 2, on_release, harness};
    return 0;
}

static int on_restore(void *owner, struct bytes snapshot, GError **error)
{
    struct harness *harness = owner;
    if (harness->refuse_restore) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_NEWER, "tables of the future");
        return -EPROTONOSUPPORT;
    }
    assert_true(snapshot.length >= 16);
    memcpy(&harness->count, snapshot.at, 8);
    memcpy(&harness->last_index, snapshot.at + 8, 8);
    harness->restored = harness->appended = harness->count;
    return 0;
}

static void on_state(void *owner, enum consensus_state state)
{
    struct harness *harness = owner;
    harness->state = state;
    loop_stop(harness->loop);
}

static void on_fatal(void *owner, const char *message)
{
    struct harness *harness = owner;
    assert_null(harness->fatal);
    harness->fatal = g_strdup(message);
    loop_stop(harness->loop);
}

/* Lets harness_run look again: not all that it waits for is an event. */
static void on_look(void *owner)
{
    struct harness *harness = owner;
    timer_start(harness->look, LOOK_MS);
    loop_stop(harness->loop);
}

static void on_stopped(void *owner)
{
    struct harness *harness = owner;
    harness->is_stopped = true;
    loop_stop(harness->loop);
}

char *harness_make_directory(void)
{
    char *directory = g_strdup_printf("%s/consensus-XXXXXX", g_get_tmp_dir());
    assert_non_null(g_mkdtemp(directory));
    return directory;
}

static void for_each_file(const char *directory,
                          void (*fn)(const char *path, const char *name, const char *to),
                          const char *to)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const char *name;
    assert_non_null(dir);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        fn(path, name, to);
    }
}

static void file_remove(const char *path, const char *name, const char *to)
{
    g_remove(path);
}

static void file_copy(const char *path, const char *name, const char *to)
{
    g_autofree char *target = g_build_filename(to, name, NULL);
    static const char zeros[4096];
    char block[4096];
    off_t at = 0;
    ssize_t length;
    int from_fd = open(path, O_RDONLY);
    int to_fd = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(from_fd >= 0 && to_fd >= 0);
    off_t begin = lseek(from_fd, 0, SEEK_DATA);
    at = begin < 0 ? lseek(from_fd, 0, SEEK_END) : 0;
    while ((length = pread(from_fd, block, sizeof block, at)) > 0) {
        if (memcmp(block, zeros, (size_t)length) != 0) {
            assert_int_equal(pwrite(to_fd, block, (size_t)length, at), length);
        }
        at += length;
    }
    assert_int_equal(ftruncate(to_fd, at), 0);
    close(from_fd);
    close(to_fd);
}

void harness_remove_directory(char *directory)
{
    for_each_file(directory, file_remove, NULL);
    g_rmdir(directory);
    g_free(directory);
}

void harness_copy_directory(const char *from, const char *to)
{
    for_each_file(to, file_remove, NULL);
    for_each_file(from, file_copy, to);
}

void harness_init(struct harness *harness, const char *directory)
{
    *harness = (struct harness){
        .loop = loop_new(),
        .directory = (char *)directory,
        .events =
            {
                .on_apply = on_apply,
                .on_group_begin = on_group_begin,
                .on_group_failed = on_group_failed,
                .on_snapshot = on_snapshot,
                .on_restore = on_restore,
                .on_state = on_state,
                .on_fatal = on_fatal,
            },
        .found = true,
        .node_id = 7,
    };
    harness->look = timer_new(harness->loop, on_look, harness);
}

void harness_deinit(struct harness *harness)
{
    timer_free(harness->look);
    if (!harness->consensus) { /* else the test has failed, and the loop would never end */
        loop_free(harness->loop);
    }
    g_clear_pointer(&harness->fatal, g_free);
}

bool harness_open(struct harness *harness, GError **error)
{
    struct consensus_options options = {
        .loop = harness->loop,
        .directory = harness->directory,
        .node_id = harness->node_id,
        .address = "node:7474",
        .found = harness->found,
        .is_small = harness->is_small,
        .snapshot_log_bytes = harness->snapshot_log_bytes,
        .events = &harness->events,
        .owner = harness,
    };
    harness->count = harness->appended = harness->last_index = harness->restored = 0;
    harness->is_stopped = false;
    harness->consensus = consensus_new(&options, error);
    if (!harness->consensus) {
        return false;
    }
    if (consensus_start(harness->consensus, error) < 0) {
        consensus_free(harness->consensus);
        harness->consensus = NULL;
        return false;
    }
    harness->appended = harness->count;
    harness_run(harness, harness_is_leading);
    return true;
}

static bool is_stopped(struct harness *harness)
{
    return harness->is_stopped;
}

void harness_close(struct harness *harness)
{
    consensus_stop(harness->consensus, on_stopped, harness);
    harness_run(harness, is_stopped);
    consensus_free(harness->consensus);
    harness->consensus = NULL;
    assert_int_equal(harness->snapshots, harness->releases);
}

int harness_append(struct harness *harness, size_t filler_bytes)
{
    int error = 0;
    uint32_t length = (uint32_t)filler_bytes;
    uint8_t *room = consensus_append(harness->consensus, RECORD_HEAD_BYTES + filler_bytes, &error);
    if (!room) {
        return error;
    }
    uint64_t number = ++harness->appended;
    memcpy(room, &length, 4);
    memcpy(room + 4, &number, 8);
    for (uint32_t i = 0; i < length; i++) {
        room[RECORD_HEAD_BYTES + i] = filler_of(number, i);
    }
    return 0;
}

void harness_run(struct harness *harness, bool (*is_done)(struct harness *harness))
{
    uint64_t deadline_ms = clock_now_ms() + DEADLINE_MS;

    timer_start(harness->look, LOOK_MS);
    while (!is_done(harness) && clock_now_ms() < deadline_ms) {
        loop_run(harness->loop);
    }
    timer_stop(harness->look);
    assert_true(is_done(harness));
}

bool harness_is_settled(struct harness *harness)
{
    return harness->count == harness->appended;
}

bool harness_is_leading(struct harness *harness)
{
    return harness->state == CONSENSUS_LEADING;
}

bool harness_is_settled_or_full(struct harness *harness)
{
    return harness->state == CONSENSUS_DISK_FULL || harness_is_settled(harness);
}

bool harness_has_released(struct harness *harness)
{
    return harness->releases > 0 && harness->releases == harness->snapshots;
}

void harness_fill(struct harness *harness, uint32_t records, size_t filler_bytes)
{
    for (uint32_t i = 0; i < records; i++) {
        int r;
        while ((r = harness_append(harness, filler_bytes)) == -EAGAIN) {
            harness_run(harness, harness_is_settled);
        }
        assert_int_equal(r, 0);
    }
    harness_run(harness, harness_is_settled);
}

static void append_for_ever(const char *directory, uint32_t filler_bytes_max,
                            uint64_t snapshot_log_bytes, uint64_t *shared)
{
    struct harness harness;
    uint64_t step = 0;

    harness_init(&harness, directory);
    harness.snapshot_log_bytes = snapshot_log_bytes;
    if (!harness_open(&harness, NULL)) {
        _exit(1);
    }
    harness.shared_count = shared; /* what is replayed was acknowledged before */
    for (;;) {
        for (uint32_t i = 0;
             i < 50 && harness_append(&harness, (size_t)(step * 7919 % filler_bytes_max)) == 0;
             i++) {
            step++;
        }
        loop_run(harness.loop);
    }
}

uint64_t harness_run_and_kill(const char *directory, uint64_t records, uint32_t filler_bytes_max,
                              uint64_t snapshot_log_bytes)
{
    uint64_t *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t deadline_ms = clock_now_ms() + DEADLINE_MS;
    assert_ptr_not_equal(shared, MAP_FAILED);

    pid_t pid = fork();
    if (pid == 0) {
        append_for_ever(directory, filler_bytes_max, snapshot_log_bytes, shared);
    }
    uint64_t first = 0, now;
    do {
        g_usleep(200);
        now = __atomic_load_n(shared, __ATOMIC_SEQ_CST);
        first = first == 0 ? now : first;
    } while ((first == 0 || now < first + records) && clock_now_ms() < deadline_ms);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    uint64_t count = __atomic_load_n(shared, __ATOMIC_SEQ_CST);
    munmap(shared, sizeof *shared);
    assert_true(count > 0);
    return count;
}

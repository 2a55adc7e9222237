/* Order of the look: names, metadata, newest snapshot, closed segments in order of their indexes,
 * open segments in order of their counters. Each segment is read once; every entry must follow on
 * the one before. Only when all of it holds together are the files changed: open segments that hold
 * entries become closed ones (an unfinished last write is cut off: it was never acknowledged),
 * unused ones go, and so do closed ones that the snapshot or a longer one has made superfluous,
 * since libraft would keep them in memory whole. */
#include "consensus/directory.h"

#include "base/log.h"
#include "consensus/consensus.h"
#include "consensus/file_list.h"
#include "consensus/metadata.h"
#include "consensus/segment.h"
#include "consensus/snapshot_file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TRUNCATION_SPARE_BYTES (256 * 1024)
#define REPAIR                 "restore a backup, or empty the data directory and join anew"

/* What is to be done with one open segment. */
struct plan {
    const struct file_name *file; /* of the list */
    uint64_t first_index, last_index;
    size_t used_bytes; /* 0 = remove */
};

struct look {
    const char *path;
    struct file_list list;
    struct metadata metadata;
    struct directory_report report;
    const struct file_name *newest; /* snapshot, of the list */
    uint64_t first_index;           /* of the first segment, 0 = none seen */
    uint64_t last_term;
    GArray *plans; /* of struct plan, owned */
};

int directory_lock(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || access(path, R_OK | W_OK | X_OK) < 0) {
        int r = -errno;
        g_set_error(
            error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS,
            "%s: %s: it must be a directory that the user who runs microcloud can read and write",
            path, g_strerror(-r));
        if (fd >= 0) {
            close(fd);
        }
        return r;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = -errno;
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_BUSY,
                    "%s: in use by another process: stop the other microcloud first", path);
        close(fd);
        return r;
    }
    return fd;
}

bool directory_has_room(const char *path)
{
    struct statvfs disk;

    return statvfs(path, &disk) < 0 ||
           (uint64_t)disk.f_bavail * disk.f_frsize >= SEGMENT_BYTES + TRUNCATION_SPARE_BYTES;
}

static char *path_of(const struct look *look, const struct file_name *file)
{
    return g_build_filename(look->path, file->name, NULL);
}

static int fail(GError **error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED, "%s: " REPAIR, message);
    return -EBADMSG;
}

/* The newest snapshot of which both files are there; a single one is what a crash leaves. */
static int look_at_snapshot(struct look *look, GError **error)
{
    const struct file_name *newest = NULL;
    const struct file_name *newest_meta = NULL;

    for (uint32_t i = 0; i < file_list_count(&look->list, FILE_SNAPSHOT); i++) {
        const struct file_name *file = file_list_find(&look->list, FILE_SNAPSHOT, i);
        for (uint32_t j = 0; j < file_list_count(&look->list, FILE_SNAPSHOT_META); j++) {
            const struct file_name *meta = file_list_find(&look->list, FILE_SNAPSHOT_META, j);
            if (meta->a == file->a && meta->b == file->b && meta->c == file->c) {
                newest = file;
                newest_meta = meta;
            }
        }
    }
    if (!newest) {
        return 0;
    }
    g_autofree char *path = path_of(look, newest);
    g_autofree char *meta_path = path_of(look, newest_meta);
    int r = snapshot_meta_verify(meta_path, error);
    if (r < 0) {
        g_prefix_error(error, "%s: ", newest_meta->name);
        return r;
    }
    r = snapshot_file_verify(path, &look->report.snapshot_bytes, error);
    if (r < 0) {
        g_prefix_error(error, "%s: ", newest->name);
        return r;
    }
    look->newest = newest;
    look->report.snapshot_index = look->report.last_index = newest->b;
    look->last_term = 0;
    return 0;
}

/* Segments are allocated ahead: one that was never written to need not be read. */
static bool is_hole(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_empty = fd >= 0 && lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO;
    if (fd >= 0) {
        close(fd);
    }
    return is_empty;
}

static int segment_load(struct look *look, const struct file_name *file, enum segment_kind kind,
                        uint64_t first_index, struct segment_report *report, GError **error)
{
    g_autofree char *path = path_of(look, file);
    g_autofree char *content = NULL;
    size_t length = 0;
    struct stat status;
    GError *cause = NULL;

    if (stat(path, &status) == 0 && status.st_size > 2 * SEGMENT_BYTES) {
        return fail(error, "%s: damaged: larger than any segment of the log", file->name);
    }
    bool is_unused = kind != SEGMENT_CLOSED && is_hole(path);
    if (!is_unused && !g_file_get_contents(path, &content, &length, &cause)) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS, "%s", cause->message);
        g_error_free(cause);
        return -EIO;
    }
    struct bytes bytes = {(const uint8_t *)content, length};
    int r = segment_scan(bytes, kind, first_index, look->last_term, report, error);
    if (r == -EBADMSG) {
        g_prefix_error(error, "%s: ", file->name);
        g_autofree char *advice = g_strdup_printf(": %s", REPAIR);
        GError *damage = *error;
        char *message = g_strconcat(damage->message, advice, NULL);
        g_free(damage->message);
        damage->message = message;
    } else if (r < 0) {
        g_prefix_error(error, "%s: ", file->name);
    }
    if (r == 0 && report->entries > 0) {
        look->last_term = report->last_term;
    }
    return r;
}

/* The beginning of the next one. libraft takes entries back by such a copy, and a crash came before
 * it could remove the original: which is as good, the leader overrules it again. */
static bool is_copy(const struct look *look, uint32_t n)
{
    const struct file_name *file = file_list_find(&look->list, FILE_CLOSED, n);
    const struct file_name *next = file_list_find(&look->list, FILE_CLOSED, n + 1);

    return next && next->a == file->a;
}

static int look_at_closed(struct look *look, GError **error)
{
    for (uint32_t i = 0; i < file_list_count(&look->list, FILE_CLOSED); i++) {
        const struct file_name *file = file_list_find(&look->list, FILE_CLOSED, i);
        struct segment_report report = {0};

        if (file->b <= look->report.snapshot_index || is_copy(look, i)) {
            continue; /* superfluous */
        }
        uint64_t expected =
            look->first_index == 0 ? look->report.snapshot_index + 1 : look->report.last_index + 1;
        bool is_contiguous = look->first_index == 0 ? file->a <= expected : file->a == expected;
        if (!is_contiguous) {
            return fail(error, "%s: a file is missing: the log should go on with entry %" PRIu64,
                        file->name, expected);
        }
        int r = segment_load(look, file, SEGMENT_CLOSED, file->a, &report, error);
        if (r < 0) {
            return r;
        }
        if (report.entries != file->b - file->a + 1) {
            return fail(error, "%s: damaged: it holds %" PRIu64 " entries, not what its name says",
                        file->name, report.entries);
        }
        look->first_index = look->first_index == 0 ? file->a : look->first_index;
        look->report.last_index = file->b;
        look->report.log_bytes += file->b > look->report.snapshot_index ? report.used_bytes : 0;
    }
    return 0;
}

/* Whether an open segment behind number `n` was written to: its first block says so. */
static bool has_later_open(const struct look *look, uint32_t n)
{
    for (uint32_t i = n + 1; i < file_list_count(&look->list, FILE_OPEN); i++) {
        g_autofree char *path = path_of(look, file_list_find(&look->list, FILE_OPEN, i));
        char block[4096];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, block, sizeof block);
        if (fd >= 0) {
            close(fd);
        }
        for (ssize_t at = 0; at < length; at++) {
            if (block[at] != 0) {
                return true;
            }
        }
    }
    return false;
}

/* Of an open segment; -1 = not known. */
static off_t length_of_open(const struct look *look, uint32_t n)
{
    struct stat status;
    g_autofree char *path = path_of(look, file_list_find(&look->list, FILE_OPEN, n));

    return stat(path, &status) == 0 ? status.st_size : -1;
}

/* libraft gives each open segment its full length before it begins the next one, and shortens it
 * again only to what it holds. So one that is short and holds nothing was cut off. All of one life
 * are of one length, which need not be the one of this life. */
static bool was_emptied(const struct look *look, uint32_t n)
{
    uint32_t count = file_list_count(&look->list, FILE_OPEN);
    off_t length = length_of_open(look, n), full = SEGMENT_BYTES_SMALL;

    for (uint32_t i = n + 1; i < count; i++) {
        full = MAX(full, MIN(length_of_open(look, i), SEGMENT_BYTES));
    }
    return n + 1 < count && length >= 0 && length < full;
}

static int look_at_open(struct look *look, GError **error)
{
    for (uint32_t i = 0; i < file_list_count(&look->list, FILE_OPEN); i++) {
        const struct file_name *file = file_list_find(&look->list, FILE_OPEN, i);
        struct segment_report report = {0};
        uint64_t first_index = look->report.last_index + 1;
        enum segment_kind kind = has_later_open(look, i) ? SEGMENT_OPEN : SEGMENT_OPEN_LAST;

        int r = segment_load(look, file, kind, first_index, &report, error);
        if (r < 0) {
            return r;
        }
        if (report.entries == 0 && was_emptied(look, i)) {
            return fail(error, "%s: damaged: the file is cut off or empty", file->name);
        }
        if (report.is_torn) {
            log_warning("dropped a write that was never finished", "file=%s index=%" PRIu64,
                        file->name, first_index + report.entries);
        }
        struct plan plan = {file, first_index, first_index + report.entries - 1, report.used_bytes};
        g_array_append_val(look->plans, plan);
        look->report.last_index += report.entries;
        look->report.log_bytes += report.used_bytes;
        look->first_index =
            look->first_index == 0 && report.entries > 0 ? first_index : look->first_index;
    }
    return 0;
}

/* Nothing was committed yet, or the log is gone? */
static int look_at_nothing(struct look *look, enum directory_use use, GError **error)
{
    /* Founding ends with the vote, which is version 2. */
    bool was_founding = look->metadata.version <= 1 || use == DIRECTORY_JOIN;

    if (file_list_count(&look->list, FILE_METADATA) > 0 && !was_founding) {
        return fail(error,
                    "the log is gone: metadata files are there, but no segments and no snapshot");
    }
    if (use == DIRECTORY_EXISTING) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_EMPTY,
                    "empty: this node's log is gone, or this is not its data directory: restore a "
                    "backup, or empty the data directory and join anew");
        return -ENOENT;
    }
    look->report.is_empty = true;
    return 0;
}

static int look_at_all(struct look *look, uint64_t only_voter, enum directory_use use,
                       GError **error)
{
    int r = metadata_check(look->path, &look->list, &look->metadata, error);
    r = r < 0 ? r : look_at_snapshot(look, error);
    r = r < 0 ? r : look_at_closed(look, error);
    r = r < 0 ? r : look_at_open(look, error);
    if (r < 0) {
        return r;
    }
    look->report.term = look->metadata.term;
    look->report.has_vote = look->metadata.vote != 0;
    if (look->report.last_index == 0) {
        return look_at_nothing(look, use, error);
    }
    if (look->metadata.version == 0) {
        return fail(error,
                    "metadata1 and metadata2 are missing or empty: this node's vote is lost");
    }
    if (only_voter != 0 && look->metadata.vote != 0 && look->metadata.vote != only_voter) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_FOREIGN,
                    "the log belongs to node %" PRIu64 ", this is node %" PRIu64
                    ": give this node its own data directory",
                    look->metadata.vote, only_voter);
        return -EINVAL;
    }
    if (look->metadata.term < look->last_term ||
        (look->newest && look->metadata.term < look->newest->a)) {
        return fail(error, "metadata1 and metadata2 are older than the log");
    }
    return 0;
}

static int apply_unlink(const struct look *look, const struct file_name *file)
{
    g_autofree char *path = path_of(look, file);
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int apply_plan(const struct look *look, const struct plan *plan)
{
    if (plan->used_bytes == 0) {
        return apply_unlink(look, plan->file);
    }
    g_autofree char *path = path_of(look, plan->file);
    g_autofree char *closed = g_strdup_printf("%s/%016" PRIu64 "-%016" PRIu64, look->path,
                                              plan->first_index, plan->last_index);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r = fd < 0 || ftruncate(fd, (off_t)plan->used_bytes) < 0 || fsync(fd) < 0 ||
                    rename(path, closed) < 0
                ? -errno
                : 0;
    if (fd >= 0) {
        close(fd);
    }
    return r;
}

/* Older snapshots go: should the newest disappear, the node must not start from an older one as if
 * nothing were missing. */
static int apply_old_snapshots(const struct look *look)
{
    int r = 0;
    for (uint32_t i = 0; i < look->list.files->len && r == 0; i++) {
        const struct file_name *file = look->list.files->pdata[i];
        bool is_snapshot = file->kind == FILE_SNAPSHOT || file->kind == FILE_SNAPSHOT_META;
        bool is_newest = look->newest && file->a == look->newest->a && file->b == look->newest->b &&
                         file->c == look->newest->c;
        r = is_snapshot && !is_newest ? apply_unlink(look, file) : 0;
    }
    return r;
}

static int apply_open(const struct look *look)
{
    int r = 0;
    for (uint32_t i = 0; i < look->plans->len && r == 0; i++) {
        const struct plan *plan = &g_array_index(look->plans, struct plan, i);
        /* Behind the snapshot nothing of it is needed. */
        bool is_superfluous =
            plan->used_bytes > 0 && plan->last_index <= look->report.snapshot_index;
        r = is_superfluous ? apply_unlink(look, plan->file) : apply_plan(look, plan);
    }
    return r;
}

static int apply_closed(const struct look *look)
{
    int r = 0;
    for (uint32_t i = 0; i < file_list_count(&look->list, FILE_CLOSED) && r == 0; i++) {
        const struct file_name *file = file_list_find(&look->list, FILE_CLOSED, i);
        bool is_superfluous = file->b <= look->report.snapshot_index || is_copy(look, i);
        r = is_superfluous ? apply_unlink(look, file) : 0;
    }
    return r;
}

/* Of a founding that was cut short. */
static int apply_metadata(const struct look *look)
{
    int r = 0;
    for (uint32_t i = 0; i < file_list_count(&look->list, FILE_METADATA) && r == 0; i++) {
        r = apply_unlink(look, file_list_find(&look->list, FILE_METADATA, i));
    }
    return r;
}

static int apply(const struct look *look)
{
    int r = apply_open(look);
    r = r < 0 ? r : apply_closed(look);
    r = r < 0 ? r : apply_old_snapshots(look);
    r = r < 0 || !look->report.is_empty ? r : apply_metadata(look);
    if (r < 0) {
        return r;
    }
    int fd = open(look->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

int directory_prepare(const char *path, uint64_t only_voter, enum directory_use use,
                      struct directory_report *report, GError **error)
{
    struct look look = {.path = path};

    int r = file_list_init(&look.list, path, error);
    if (r < 0) {
        g_prefix_error(error, "%s: ", path);
        return r;
    }
    look.plans = g_array_new(false, false, sizeof(struct plan));
    r = look_at_all(&look, only_voter, use, error);
    if (r == 0) {
        r = apply(&look);
        if (r < 0) {
            g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS,
                        "cannot change the files: %s", g_strerror(-r));
        }
    }
    if (r < 0) {
        g_prefix_error(error, "%s: ", path);
    } else {
        *report = look.report;
    }
    g_array_unref(look.plans);
    file_list_deinit(&look.list);
    return r;
}

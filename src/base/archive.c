/* See archive.h. The form: "MCBACKUP" 1 0 0 0, then for each file: u32 bytes of the name, name, u32
 * mode, u64 size, u64 stored, content; a name of 0 bytes ends the list; then 32 bytes of SHA-256
 * over all before. Numbers are little-endian. */
#include "base/archive.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC          "MCBACKUP\1\0\0"
#define MAGIC_BYTES    12
#define DIGEST_BYTES   32
#define NAME_BYTES_MAX 1024
#define FILE_BYTES_MAX (1ull << 32)

/* ---- packing ---- */

static void append_number(GByteArray *to, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        guint8 byte = (guint8)(number >> 8 * i);
        g_byte_array_append(to, &byte, 1);
    }
}

static bool append_file(GByteArray *to, const char *directory, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *content = NULL;
    gsize length;
    struct stat status;

    if (stat(path, &status) < 0 || !g_file_get_contents(path, &content, &length, error)) {
        if (error && !*error) {
            g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "'%s': %s", path,
                        g_strerror(errno));
        }
        return false;
    }
    gsize stored = length;
    while (stored > 0 && content[stored - 1] == '\0') {
        stored--;
    }
    append_number(to, strlen(name), 4);
    g_byte_array_append(to, (const guint8 *)name, (guint)strlen(name));
    append_number(to, status.st_mode & 0777, 4);
    append_number(to, length, 8);
    append_number(to, stored, 8);
    g_byte_array_append(to, (const guint8 *)content, (guint)stored);
    return true;
}

static bool is_left_out(const char *name)
{
    return g_str_has_prefix(name, "tmp-") || g_str_has_suffix(name, ".tmp") ||
           g_str_has_suffix(name, ".sock") || strcmp(name, "lock") == 0;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names relative to `directory`, sorted. */
static GPtrArray *list_files(const char *directory, const char *const *parts)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    for (; *parts; parts++) {
        g_autofree char *path = g_build_filename(directory, *parts, NULL);
        GDir *dir = g_dir_open(path, 0, NULL);
        const char *name;
        if (!dir && g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
            g_ptr_array_add(names, g_strdup(*parts));
        }
        while (dir && (name = g_dir_read_name(dir))) {
            if (!is_left_out(name)) {
                g_ptr_array_add(names, g_build_filename(*parts, name, NULL));
            }
        }
        if (dir) {
            g_dir_close(dir);
        }
    }
    g_ptr_array_sort(names, compare_names);
    return names;
}

static bool same_names(const GPtrArray *a, const GPtrArray *b)
{
    bool is_same = a->len == b->len;

    for (guint i = 0; is_same && i < a->len; i++) {
        is_same = strcmp(a->pdata[i], b->pdata[i]) == 0;
    }
    return is_same;
}

GByteArray *archive_pack(const char *directory, const char *const *parts, GError **error)
{
    g_autoptr(GByteArray) archive = g_byte_array_new();
    g_autoptr(GPtrArray) names = list_files(directory, parts);

    g_byte_array_append(archive, (const guint8 *)MAGIC, MAGIC_BYTES);
    for (guint i = 0; i < names->len; i++) {
        if (!append_file(archive, directory, names->pdata[i], error)) {
            return NULL;
        }
    }
    g_autoptr(GPtrArray) names_after = list_files(directory, parts);
    if (!same_names(names, names_after)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN, "files changed while they were read");
        return NULL;
    }
    append_number(archive, 0, 4);
    guint8 digest[DIGEST_BYTES];
    gsize digest_bytes = sizeof digest;
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(checksum, archive->data, archive->len);
    g_checksum_get_digest(checksum, digest, &digest_bytes);
    g_byte_array_append(archive, digest, sizeof digest);
    return TAKE(archive);
}

/* ---- unpacking ---- */

struct reader {
    const guint8 *at, *end;
};

struct packed_file {
    char *name;
    uint64_t mode, size, stored;
    const guint8 *content;
};

static int fail(GError **error, int code, const char *what)
{
    g_set_error(error, G_FILE_ERROR, code == -EIO ? G_FILE_ERROR_IO : G_FILE_ERROR_INVAL,
                "backup: %s", what);
    return code;
}

static bool read_number(struct reader *reader, unsigned bytes, uint64_t *number)
{
    if ((size_t)(reader->end - reader->at) < bytes) {
        return false;
    }
    *number = 0;
    for (unsigned i = 0; i < bytes; i++) {
        *number |= (uint64_t)reader->at[i] << 8 * i;
    }
    reader->at += bytes;
    return true;
}

/* Only names as archive_pack makes them: no absolute ones, no "..". */
static bool is_name(const char *name)
{
    return name[0] != '/' && !strstr(name, "..") && name[0] != '\0';
}

/* 1 with a file, 0 at the end, -EINVAL. */
static int read_file(struct reader *reader, struct packed_file *file)
{
    uint64_t name_bytes;

    if (!read_number(reader, 4, &name_bytes)) {
        return -EINVAL;
    }
    if (name_bytes == 0) {
        return reader->at == reader->end ? 0 : -EINVAL;
    }
    if (name_bytes > NAME_BYTES_MAX || name_bytes > (uint64_t)(reader->end - reader->at)) {
        return -EINVAL;
    }
    g_autofree char *name = g_strndup((const char *)reader->at, name_bytes);
    reader->at += name_bytes;
    if (!is_name(name) || !read_number(reader, 4, &file->mode) ||
        !read_number(reader, 8, &file->size) || !read_number(reader, 8, &file->stored) ||
        file->stored > (uint64_t)(reader->end - reader->at) || file->stored > file->size ||
        file->size > FILE_BYTES_MAX) {
        return -EINVAL;
    }
    file->content = reader->at;
    file->name = TAKE(name);
    reader->at += file->stored;
    return 1;
}

static int check_whole(const guint8 *bytes, gsize length, GError **error)
{
    guint8 digest[DIGEST_BYTES];
    gsize digest_bytes = sizeof digest;

    if (length < MAGIC_BYTES + 4 + DIGEST_BYTES || memcmp(bytes, MAGIC, 8) != 0) {
        return fail(error, -EINVAL, "the file is no backup of microcloud");
    }
    if (memcmp(bytes, MAGIC, MAGIC_BYTES) != 0) {
        return fail(error, -EINVAL, "it was made by a newer version of microcloud");
    }
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(checksum, bytes, (gssize)(length - DIGEST_BYTES));
    g_checksum_get_digest(checksum, digest, &digest_bytes);
    if (memcmp(digest, bytes + length - DIGEST_BYTES, DIGEST_BYTES) != 0) {
        return fail(error, -EINVAL, "it is damaged or cut short: the checksum is wrong");
    }
    return 0;
}

static int write_file(const struct packed_file *file, const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, file->name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);

    if (g_mkdir_with_parents(parent, 0700) < 0) {
        return fail(error, -EIO, g_strerror(errno));
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)file->mode & 0777);
    bool is_written = fd >= 0;
    for (uint64_t done = 0; is_written && done < file->stored;) {
        ssize_t n = write(fd, file->content + done, file->stored - done);
        is_written = n > 0;
        done += (uint64_t)MAX(n, 0);
    }
    is_written = is_written && ftruncate(fd, (off_t)file->size) == 0 && fsync(fd) == 0;
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (!is_written) {
        g_autofree char *what = g_strdup_printf("'%s': %s", path, g_strerror(saved));
        return fail(error, -EIO, what);
    }
    return 0;
}

static bool is_empty(const char *directory)
{
    GDir *dir = g_dir_open(directory, 0, NULL);
    bool has_member = dir && g_dir_read_name(dir);

    if (dir) {
        g_dir_close(dir);
    }
    return !has_member;
}

int archive_unpack(const guint8 *bytes, gsize length, const char *directory, GError **error)
{
    int r = check_whole(bytes, length, error);

    if (r < 0) {
        return r;
    }
    if (!is_empty(directory)) {
        g_autofree char *what = g_strdup_printf(
            "'%s' is not empty: give an empty directory, or one that is not there yet", directory);
        return fail(error, -EEXIST, what);
    }
    struct reader reader = {bytes + MAGIC_BYTES, bytes + length - DIGEST_BYTES};
    struct packed_file file = {0};
    if (g_mkdir_with_parents(directory, 0700) < 0) {
        return fail(error, -EIO, g_strerror(errno));
    }
    while ((r = read_file(&reader, &file)) == 1) {
        r = write_file(&file, directory, error);
        g_clear_pointer(&file.name, g_free);
        if (r < 0) {
            return r;
        }
    }
    return r < 0 ? fail(error, r, "its list of files is malformed") : 0;
}

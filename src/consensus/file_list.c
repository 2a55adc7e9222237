/* Names are taken only as libraft writes them (`uv.h`): a name that merely looks like one is
 * foreign, and a directory with foreign files is refused rather than mixed with ours. */
#include "consensus/file_list.h"

#include "consensus/consensus.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* More files than the log can have are not ours. */
#define FILES_MAX 100000

static bool has_name(const struct file_name *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool has_name(const struct file_name *file, const char *format, ...)
{
    char expected[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    return strcmp(expected, file->name) == 0;
}

static bool name_parse(struct file_name *file)
{
    const char *name = file->name;

    if (sscanf(name, "snapshot-%" SCNu64 "-%" SCNu64 "-%" SCNu64, &file->a, &file->b, &file->c) ==
        3) {
        bool is_meta = g_str_has_suffix(name, ".meta");
        file->kind = is_meta ? FILE_SNAPSHOT_META : FILE_SNAPSHOT;
        return has_name(file, "snapshot-%" PRIu64 "-%" PRIu64 "-%" PRIu64 "%s", file->a, file->b,
                        file->c, is_meta ? ".meta" : "");
    }
    if (sscanf(name, "open-%" SCNu64, &file->a) == 1) {
        file->kind = FILE_OPEN;
        return has_name(file, "open-%" PRIu64, file->a);
    }
    if (sscanf(name, "metadata%" SCNu64, &file->a) == 1) {
        file->kind = FILE_METADATA;
        return (file->a == 1 || file->a == 2) && has_name(file, "metadata%" PRIu64, file->a);
    }
    if (g_ascii_isdigit(name[0]) && sscanf(name, "%" SCNu64 "-%" SCNu64, &file->a, &file->b) == 2) {
        file->kind = FILE_CLOSED;
        return file->a > 0 && file->b >= file->a &&
               has_name(file, "%016" PRIu64 "-%016" PRIu64, file->a, file->b);
    }
    file->kind = FILE_TEMPORARY;
    return g_str_has_prefix(name, "tmp-") || strcmp(name, ".probe") == 0;
}

static void name_free(void *pointer)
{
    struct file_name *file = pointer;
    g_free(file->name);
    g_free(file);
}

static int compare_u64(uint64_t x, uint64_t y)
{
    return x < y ? -1 : x > y;
}

static int name_compare(const void *left, const void *right)
{
    const struct file_name *x = *(const struct file_name *const *)left;
    const struct file_name *y = *(const struct file_name *const *)right;
    int r = compare_u64(x->kind, y->kind);
    r = r != 0 ? r : compare_u64(x->a, y->a);
    r = r != 0 ? r : compare_u64(x->b, y->b);
    return r != 0 ? r : compare_u64(x->c, y->c);
}

int file_list_init(struct file_list *list, const char *directory, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, &cause);
    if (!dir) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS,
                    "cannot read the directory: %s: make it readable and writable for the user "
                    "that runs microcloud",
                    cause->message);
        g_error_free(cause);
        return -EACCES;
    }

    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(name_free);
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        if (strcmp(name, "lost+found") == 0) {
            continue;
        }
        struct file_name *file = g_new0(struct file_name, 1);
        file->name = g_strdup(name);
        g_ptr_array_add(files, file);
        if (!name_parse(file) || files->len > FILES_MAX) {
            g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_FOREIGN,
                        "holds '%s', which is not part of microcloud's log: move it away if the "
                        "rest is microcloud's, or choose another directory",
                        name);
            return -EINVAL;
        }
    }
    g_ptr_array_sort(files, name_compare);
    list->files = g_steal_pointer(&files);
    return 0;
}

void file_list_deinit(struct file_list *list)
{
    g_ptr_array_unref(list->files);
    list->files = NULL;
}

const struct file_name *file_list_find(const struct file_list *list, enum file_kind kind,
                                       uint32_t n)
{
    for (uint32_t i = 0; i < list->files->len; i++) {
        const struct file_name *file = list->files->pdata[i];
        if (file->kind == kind && n-- == 0) {
            return file;
        }
    }
    return NULL;
}

uint32_t file_list_count(const struct file_list *list, enum file_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->files->len; i++) {
        count += ((const struct file_name *)list->files->pdata[i])->kind == kind;
    }
    return count;
}

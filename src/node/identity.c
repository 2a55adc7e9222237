/* See identity.h. The file is replaced as a whole (g_file_set_contents_full with fsync), so a crash
 * leaves the old or the new one. */
#include "node/identity.h"
#include "base/cleanup.h"
#include "text/value.h"
#include <errno.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>

#define FORMAT 1

static int damaged(const char *path, const char *what, GError **error)
{
    g_clear_error(error);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                "'%s' %s: put it back from a backup, or start with another --data directory", path,
                what);
    return -EINVAL;
}

static bool is_empty_directory(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);

    return dir && !g_dir_read_name(dir);
}

/* What may lie in a directory before a node was founded there: what a founding that was cut short
 * left, certificates put there by hand, sockets, what a file system keeps for itself. */
static bool is_expected(const char *directory, const char *name)
{
    static const char *const expected[] = {"tls", "lock", "lost+found", NULL};
    g_autofree char *path = g_build_filename(directory, name, NULL);
    struct stat status;

    return name[0] == '.' || g_strv_contains(expected, name) ||
           (strcmp(name, "raft") == 0 && is_empty_directory(path)) ||
           (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode));
}

int node_identity_check_directory(const char *directory, GError **error)
{
    g_autofree char *file = g_build_filename(directory, "node.json", NULL);
    g_autoptr(GDir) dir = g_dir_open(directory, 0, error);
    struct stat status;
    const char *name;

    if (!dir) {
        return -EIO;
    }
    if (lstat(file, &status) == 0) {
        return 0;
    }
    while ((name = g_dir_read_name(dir))) {
        if (strcmp(name, "raft") == 0 && !is_expected(directory, name)) {
            return damaged(file, "is missing, though there is a log beside it", error);
        }
        if (!is_expected(directory, name)) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                        "data directory '%s': it holds '%s', which is not microcloud's: give an "
                        "empty directory with --data DIR",
                        directory, name);
            return -EEXIST;
        }
    }
    return 0;
}

static int read_file(struct node_identity *identity, const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, error)) {
        return -EIO;
    }
    _cleanup_(text_freep) struct text_value *file = text_parse_json(text, length, error);
    if (!file || text_kind(file) != TEXT_OBJECT) {
        return damaged(path, length == 0 ? "is empty" : "is no JSON object", error);
    }
    if (text_integer(text_get(file, "format"), 0) > FORMAT) {
        return damaged(path, "was written by a newer version of microcloud", error);
    }
    const char *id = text_string(text_get(file, "id"), NULL);
    const char *cluster = text_string(text_get(file, "cluster"), NULL);
    const char *name = text_string(text_get(file, "name"), NULL);
    int64_t epoch = text_integer(text_get(file, "epoch"), -1);
    guint64 number = 0;
    if (!id || !g_ascii_string_to_unsigned(id, 16, 1, UINT64_MAX, &number, NULL) || !cluster ||
        !name || epoch < 0) {
        return damaged(path, "lacks id, cluster, name or epoch", error);
    }
    identity->id = number;
    identity->epoch = (uint64_t)epoch;
    identity->is_joining = text_boolean(text_get(file, "joining"), false);
    identity->is_removed = text_boolean(text_get(file, "removed"), false);
    identity->is_witness = text_boolean(text_get(file, "witness"), false);
    identity->cluster = g_strdup(cluster);
    identity->name = g_strdup(name);
    return 0;
}

static int write_file(const struct node_identity *identity, const char *path, GError **error)
{
    _cleanup_(text_freep) struct text_value *file = text_new_object();
    g_autofree char *id = g_strdup_printf("%016" G_GINT64_MODIFIER "x", identity->id);

    text_set_integer(file, "format", FORMAT);
    text_set_string(file, "id", id);
    text_set_string(file, "name", identity->name);
    text_set_string(file, "cluster", identity->cluster);
    text_set_integer(file, "epoch", (int64_t)identity->epoch);
    if (identity->is_removed) {
        text_set_boolean(file, "removed", true);
    }
    if (identity->is_joining) {
        text_set_boolean(file, "joining", true);
    }
    if (identity->is_witness) {
        text_set_boolean(file, "witness", true);
    }
    g_autofree char *text = text_to_json(file, true);
    GFileSetContentsFlags flags = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;
    return g_file_set_contents_full(path, text, -1, flags, 0600, error) ? 0 : -EIO;
}

static int make(struct node_identity *identity, const char *name, GError **error)
{
    do {
        if (RAND_bytes((unsigned char *)&identity->id, sizeof identity->id) != 1) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "no randomness from the system");
            return -EIO;
        }
    } while ((identity->id & 0xfff) == 0);
    identity->name = g_strdup(name);
    identity->cluster = g_uuid_string_random();
    return 0;
}

int node_identity_load(struct node_identity *identity, const char *directory, const char *name,
                       GError **error)
{
    g_autofree char *path = g_build_filename(directory, "node.json", NULL);
    struct stat status;
    int r;

    *identity = (struct node_identity){0};
    r = lstat(path, &status) == 0 ? read_file(identity, path, error) : make(identity, name, error);
    if (r == 0) {
        identity->epoch++;
        r = write_file(identity, path, error);
    }
    return r;
}

int node_identity_look(struct node_identity *identity, const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "node.json", NULL);

    *identity = (struct node_identity){0};
    return read_file(identity, path, error);
}

int node_identity_save(const struct node_identity *identity, const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "node.json", NULL);

    return write_file(identity, path, error);
}

void node_identity_deinit(struct node_identity *identity)
{
    g_clear_pointer(&identity->name, g_free);
    g_clear_pointer(&identity->cluster, g_free);
}

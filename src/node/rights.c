/* See rights.h. The daemon runs as whom its data directory belongs to, so that everything in it
 * stays readable and writable. One of root's is given to `microcloud`, or to `nobody` where there
 * is no such user: root's files are root's also without any capability. So is what root has put
 * into his directory since (a restored backup). */
#include "node/rights.h"
#include "base/log.h"
#include "keeper/keeper.h"
#include "node/identity.h"
#include <errno.h>
#include <fts.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INHERITED    "MICROCLOUD_KEEPER_FD"
#define PASSWD_BYTES 16384

static const char *const own_users[] = {"microcloud", "nobody"};

/* Of the directory, or of the nearest one above it that is there. */
static int find_owner(const char *directory, uid_t *uid, gid_t *gid)
{
    g_autofree char *path = g_canonicalize_filename(directory, NULL);
    struct stat status;

    while (stat(path, &status) < 0) {
        if (errno != ENOENT || strcmp(path, "/") == 0) {
            return -errno;
        }
        char *above = g_path_get_dirname(path);
        g_free(path);
        path = above;
    }
    *uid = status.st_uid;
    *gid = status.st_gid;
    return 0;
}

static int fail(GError **error, const char *user, const char *what)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--user %s: %s", user, what);
    return 1;
}

/* Nothing in a data directory that is hidden is ours (identity.c). */
static bool is_hidden(const FTSENT *entry)
{
    return entry->fts_level > FTS_ROOTLEVEL && entry->fts_name[0] == '.';
}

/* What has a second name elsewhere is not given away. */
static bool is_to_be_given(const FTSENT *entry)
{
    const struct stat *status = entry->fts_statp;

    return (entry->fts_info == FTS_D || entry->fts_info == FTS_F) && status->st_uid == 0 &&
           (entry->fts_info == FTS_D || status->st_nlink == 1);
}

/* Where a link of root's leads, as to another disk; caller frees. Others' are not followed. */
static char *follow(const char *directory)
{
    struct stat status;

    return lstat(directory, &status) == 0 && S_ISLNK(status.st_mode) && status.st_uid == 0
               ? realpath(directory, NULL)
               : g_strdup(directory);
}

/* Whom it belongs to may put a link in the place of a directory meanwhile. So the walk changes into
 * each one, and fts looks whether it is the one that was seen: names lead no further. */
static int give(const char *directory, const struct child_user *user)
{
    g_autofree char *path = follow(directory);
    char *const paths[] = {path, NULL};
    FTS *walk = path ? fts_open(paths, FTS_PHYSICAL | FTS_XDEV, NULL) : NULL;
    FTSENT *entry;
    int r = walk ? 0 : -errno;

    if (walk && (walk->fts_options & FTS_NOCHDIR)) { /* fts could not open "." */
        r = -EACCES;
    }
    while (r == 0 && (entry = fts_read(walk)) != NULL) {
        if (is_hidden(entry)) {
            fts_set(walk, entry, FTS_SKIP);
        } else if (is_to_be_given(entry) && lchown(entry->fts_accpath, user->uid, user->gid) < 0) {
            r = -errno;
        }
    }
    if (walk) {
        fts_close(walk);
    }
    return r;
}

/* Those above it stay root's, but the daemon must get through, whatever root's umask is. */
static int make_directory(const char *directory)
{
    g_autofree char *above = g_path_get_dirname(directory);
    mode_t mask = umask(022);
    int r = g_mkdir_with_parents(above, 0755) < 0 ? -errno : 0;

    umask(mask);
    return r == 0 && mkdir(directory, 0700) < 0 && errno != EEXIST ? -errno : r;
}

/* The directory is his: made when it is not there. */
static int give_directory(const struct node_config *config, const struct child_user *user,
                          GError **error)
{
    int r = make_directory(config->data);

    if (r == 0 && node_identity_check_directory(config->data, error) < 0) {
        return 1; /* not ours to give */
    }
    r = r == 0 ? give(config->data, user) : r;
    if (r < 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "cannot give '%s' to %s: %s",
                    config->data, user->name ? user->name : "its owner", g_strerror(-r));
        return 1;
    }
    return 0;
}

static bool find_own_user(struct child_user *user)
{
    struct passwd storage, *entry = NULL;
    char text[PASSWD_BYTES];

    for (unsigned i = 0; i < G_N_ELEMENTS(own_users); i++) {
        if (getpwnam_r(own_users[i], &storage, text, sizeof text, &entry) == 0 && entry) {
            *user = (struct child_user){own_users[i], entry->pw_uid, entry->pw_gid};
            return true;
        }
    }
    return false;
}

/* Whether anybody may go to where it is. */
static bool is_open_to_all(const char *directory)
{
    g_autofree char *there = follow(directory);
    g_autofree char *path = g_canonicalize_filename(there ? there : directory, NULL);
    struct stat status;
    bool is_open = true;

    while (is_open && strcmp(path, "/") != 0) {
        char *above = g_path_get_dirname(path);
        g_free(path);
        path = above;
        is_open = stat(path, &status) < 0 || (status.st_mode & S_IXOTH);
    }
    return is_open;
}

static int find_owning_user(const struct node_config *config, struct child_user *user,
                            GError **error)
{
    *user = (struct child_user){0};
    if (find_owner(config->data, &user->uid, &user->gid) < 0) {
        *user = (struct child_user){.uid = geteuid(), .gid = getegid()};
    }
    if (geteuid() != 0) {
        return 0;
    }
    if (user->uid == 0 && (!is_open_to_all(config->data) || !find_own_user(user))) {
        log_warning(
            "the daemon keeps the user id of root, though no right: only root can go to its "
            "data directory",
            "data=\"%s\"", config->data);
        return 0;
    }
    return give_directory(config, user, error);
}

static int find_named_user(const struct node_config *config, struct child_user *user,
                           GError **error)
{
    struct passwd storage, *entry = NULL;
    char text[PASSWD_BYTES];
    struct stat status;

    if (getpwnam_r(config->user, &storage, text, sizeof text, &entry) != 0 || !entry) {
        return fail(error, config->user, "there is no such user on this machine");
    }
    if (geteuid() != 0 && entry->pw_uid != geteuid()) {
        return fail(error, config->user, "only root can start it as somebody else");
    }
    *user = (struct child_user){config->user, entry->pw_uid, entry->pw_gid};
    if (geteuid() != 0) {
        return 0;
    }
    if (stat(config->data, &status) == 0 && status.st_uid != user->uid) {
        g_autofree char *what = g_strdup_printf(
            "the data directory '%s' belongs to somebody else: chown -R %s %s, or start without "
            "--user",
            config->data, config->user, config->data);
        return fail(error, config->user, what);
    }
    return give_directory(config, user, error);
}

static bool is_socket(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* Of a daemon that executed itself anew. False: none. */
static bool take_inherited(struct keeper_ends *keeper)
{
    const char *text = g_getenv(INHERITED);
    struct keeper_ends found;

    if (!text || sscanf(text, "%d,%d", &found.pair, &found.renewals) != 2 ||
        !is_socket(found.pair) || !is_socket(found.renewals)) {
        return false;
    }
    g_unsetenv(INHERITED);
    *keeper = found;
    return true;
}

void node_keep_split(struct keeper_ends keeper)
{
    g_autofree char *text = g_strdup_printf("%d,%d", keeper.pair, keeper.renewals);

    if (keeper.pair >= 0) {
        g_setenv(INHERITED, text, TRUE);
    }
}

/* Without a keeper (a witness needs none) nobody needs the rights of root. */
static int drop_rights(const struct child_user *user, GError **error)
{
    int r = child_drop_rights(user);

    if (r < 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "cannot give up the rights of root: %s", g_strerror(-r));
        return 1;
    }
    return 0;
}

/* Without --witness too, when it joined as one. A rescue makes it a node like others. */
static bool is_witness(const struct node_config *config)
{
    struct node_identity identity;

    if (config->witness || config->rescue ||
        node_identity_look(&identity, config->data, NULL) < 0) {
        return config->witness;
    }
    bool joined_as_one = identity.is_witness;
    node_identity_deinit(&identity);
    return joined_as_one;
}

int node_split_rights(const struct node_config *config, struct keeper_ends *keeper, GError **error)
{
    bool has_keeper = !config->no_keeper && config->peer_port != 0 && !is_witness(config);
    struct child_user user;

    if (take_inherited(keeper)) {
        return 0;
    }
    int r = config->user ? find_named_user(config, &user, error)
                         : find_owning_user(config, &user, error);
    if (r == 0 && has_keeper && child_may_keep()) {
        *keeper = keeper_run(&user);
    } else if (r == 0 && geteuid() == 0) {
        r = drop_rights(&user, error);
    }
    return r;
}

/* See rights.h. The daemon runs as whom its data directory belongs to, so that everything in it
 * stays readable and writable; a directory that is made for `--user` is given to him. */
#include "node/rights.h"
#include "keeper/keeper.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INHERITED    "MICROCLOUD_KEEPER_FD"
#define PASSWD_BYTES 16384

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

/* A directory of his own: made when it is not there. */
static int give_directory(const struct node_config *config, const struct passwd *user,
                          GError **error)
{
    struct stat status;

    if (stat(config->data, &status) == 0) {
        if (status.st_uid == user->pw_uid) {
            return 0;
        }
        g_autofree char *what = g_strdup_printf(
            "the data directory '%s' belongs to somebody else: chown -R %s %s, or start without "
            "--user",
            config->data, user->pw_name, config->data);
        return fail(error, config->user, what);
    }
    if (g_mkdir_with_parents(config->data, 0700) < 0 ||
        chown(config->data, user->pw_uid, user->pw_gid) < 0) {
        g_autofree char *what =
            g_strdup_printf("cannot make '%s': %s", config->data, g_strerror(errno));
        return fail(error, config->user, what);
    }
    return 0;
}

static int find_user(const struct node_config *config, struct child_user *user, GError **error)
{
    struct passwd storage, *entry = NULL;
    char text[PASSWD_BYTES];

    if (!config->user) {
        *user = (struct child_user){0};
        if (find_owner(config->data, &user->uid, &user->gid) < 0) {
            *user = (struct child_user){.uid = geteuid(), .gid = getegid()};
        }
        return 0;
    }
    if (getpwnam_r(config->user, &storage, text, sizeof text, &entry) != 0 || !entry) {
        return fail(error, config->user, "there is no such user on this machine");
    }
    if (geteuid() != 0 && entry->pw_uid != geteuid()) {
        return fail(error, config->user, "only root can start it as somebody else");
    }
    *user = (struct child_user){config->user, entry->pw_uid, entry->pw_gid};
    return geteuid() == 0 ? give_directory(config, entry, error) : 0;
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

int node_split_rights(const struct node_config *config, struct keeper_ends *keeper, GError **error)
{
    bool has_keeper = !config->no_keeper && config->peer_port != 0 && !config->witness;
    struct child_user user;

    if (take_inherited(keeper)) {
        return 0;
    }
    int r = find_user(config, &user, error);
    if (r == 0 && has_keeper && child_may_keep()) {
        *keeper = keeper_run(&user);
    } else if (r == 0 && geteuid() == 0) {
        r = drop_rights(&user, error);
    }
    return r;
}

/* The daemon as the keeper's child: forked from it, without any of its rights. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct child_user {
    const char *name; /* for its other groups; NULL = none, or no change */
    uid_t uid;
    gid_t gid;
};

/* Whether this process has what a keeper needs: CAP_NET_ADMIN and CAP_NET_RAW. */
bool child_may_keep(void);
/* Keeps what the keeper needs and gives up the rest. 0, or a negative errno. */
int child_keep_needed_rights(void);
/* This process becomes that user and has no right any more, for good. 0, or a negative errno. */
int child_drop_rights(const struct child_user *user);
struct keeper_ends;
/* Forks. In the keeper: the child's pid, `*ends` are this side's of the pairs. In the daemon: 0,
 * its own ends, every other descriptor above 2 is closed, no right is left, and it dies with the
 * keeper. Or a negative errno. */
pid_t child_fork(const struct child_user *user, struct keeper_ends *ends);

/* See child.h. The rights go in this order: bounding set (while CAP_SETPCAP is there), user, the
 * rest; then nothing that is executed can bring them back. */
#include "keeper/child.h"
#include "keeper/message.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAIR_FD     3
#define RENEWALS_FD 4
#define PAIR_BYTES  (1024 * 1024)
#define WORDS       2
#define KEPT_RIGHTS                                                                                \
    ((1u << CAP_NET_ADMIN) | (1u << CAP_NET_RAW) | (1u << CAP_KILL) | (1u << CAP_SETUID) |         \
     (1u << CAP_SETGID) | (1u << CAP_SETPCAP))
#define NEEDED_RIGHTS ((1u << CAP_NET_ADMIN) | (1u << CAP_NET_RAW))

static int get_rights(struct __user_cap_data_struct *rights)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

    return syscall(SYS_capget, &header, rights) < 0 ? -errno : 0;
}

static int set_rights(const struct __user_cap_data_struct *rights)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

    return syscall(SYS_capset, &header, rights) < 0 ? -errno : 0;
}

bool child_may_keep(void)
{
    struct __user_cap_data_struct rights[WORDS] = {{0}};

    return get_rights(rights) == 0 && (rights[0].effective & NEEDED_RIGHTS) == NEEDED_RIGHTS;
}

int child_keep_needed_rights(void)
{
    struct __user_cap_data_struct rights[WORDS] = {{0}};
    int r = get_rights(rights);

    rights[0].permitted &= KEPT_RIGHTS;
    rights[0].effective = rights[0].permitted;
    rights[0].inheritable = 0;
    rights[1] = (struct __user_cap_data_struct){0};
    return r == 0 ? set_rights(rights) : r;
}

static int become(const struct child_user *user)
{
    if (geteuid() != 0 || user->uid == 0) {
        return 0;
    }
    int r = user->name ? initgroups(user->name, user->gid) : setgroups(0, NULL);
    return r < 0 || setgid(user->gid) < 0 || setuid(user->uid) < 0 ? -errno : 0;
}

int child_drop_rights(const struct child_user *user)
{
    static const struct __user_cap_data_struct none[WORDS];

    for (unsigned long right = 0; right <= CAP_LAST_CAP; right++) {
        prctl(PR_CAPBSET_DROP, right, 0, 0, 0); /* without CAP_SETPCAP there is nothing to drop */
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    int r = become(user);
    r = r == 0 ? set_rights(none) : r;
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        r = -errno;
    }
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else it may not look at its own /proc/self */
    return r;
}

/* In the child. */
static void begin(const struct child_user *user, pid_t keeper, struct keeper_ends ends)
{
    sigset_t none;
    int renewals = fcntl(ends.renewals, F_DUPFD, RENEWALS_FD + 1); /* it may be 3 */

    dup2(ends.pair, PAIR_FD);
    dup2(renewals, RENEWALS_FD);
    close_range(RENEWALS_FD + 1, ~0u, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int r = child_drop_rights(user);
    if (r < 0) {
        fprintf(stderr, "microcloud: run: cannot give up the rights of root: %s\n", strerror(-r));
        _exit(EXIT_FAILURE);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* changing the user cleared it */
    if (getppid() != keeper) {
        _exit(EXIT_FAILURE);
    }
}

static void close_both(struct keeper_ends ends)
{
    close(ends.pair);
    close(ends.renewals);
}

static int make_pairs(struct keeper_ends *ours, struct keeper_ends *theirs)
{
    int pair[2], renewals[2], bytes = PAIR_BYTES;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0) {
        return -errno;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, renewals) < 0) {
        int r = -errno;
        close(pair[0]);
        close(pair[1]);
        return r;
    }
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    *ours = (struct keeper_ends){pair[0], renewals[0]};
    *theirs = (struct keeper_ends){pair[1], renewals[1]};
    return 0;
}

pid_t child_fork(const struct child_user *user, struct keeper_ends *ends)
{
    struct keeper_ends ours = {-1, -1}, theirs = {-1, -1};
    pid_t keeper = getpid();
    int r = make_pairs(&ours, &theirs);

    if (r < 0) {
        return r;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        begin(user, keeper, theirs);
        *ends = (struct keeper_ends){PAIR_FD, RENEWALS_FD};
        return 0;
    }
    r = -errno;
    close_both(theirs);
    if (pid < 0) {
        close_both(ours);
        return r;
    }
    *ends = ours;
    return pid;
}

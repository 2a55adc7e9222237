/* See keeper.h. One loop around poll, without a library that could call back.
 *
 *   daemon's end of the pair closes (crash, kill)  --> addresses taken away --> its links closed
 *                                                      --> forked again, at once the first time
 *   nothing renewed until the lease is over        --> address taken away (hold.c)
 *   daemon ends by itself before READY, or in order --> the keeper ends with its status
 *
 * Links are closed last: that is what proves to other nodes that the addresses are free. */
#include "keeper/keeper.h"
#include "base/clock.h"
#include "base/footprint.h"
#include "base/log.h"
#include "keeper/address.h"
#include "keeper/hold.h"
#include "keeper/lan.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEADY_MS      10000 /* who lived for so long is started again at once */
#define RESTART_MS     100
#define RESTART_MS_MAX 5000
#define MESSAGES_MAX   4096 /* in one turn */
#define RENEWALS_MAX   64

enum { POLL_PAIR, POLL_SIGNAL, POLL_TIMER, POLL_LAN, POLL_COUNT = POLL_LAN + KEEPER_ADDRESSES_MAX };

struct guard {
    uint32_t number;
    int fd; /* -1 = free */
};

struct keeper {
    const struct child_user *user;
    pid_t child; /* 0 = none */
    struct keeper_ends ends;
    int signal_fd, timer_fd;
    bool is_ready, is_stopping;
    bool has_missed;                /* the daemon has: its socket was full */
    uint64_t forked_ms, restart_ms; /* 0 = not now */
    uint64_t delay_ms;
    struct addresses addresses;
    struct holds holds;
    struct lan lans[KEEPER_ADDRESSES_MAX];
    int over[KEEPER_ADDRESSES_MAX]; /* descriptors of LANs, to be closed when nothing is urgent */
    unsigned over_count;
    struct guard guards[KEEPER_GUARDS_MAX];
};

/* ---- what hold.c asks for ---- */

static int open_lan(void *owner, unsigned at, const struct keeper_address *address)
{
    struct keeper *keeper = owner;

    return lan_open(&keeper->lans[at], address);
}

/* The kernel takes some ten milliseconds to close a packet socket: other nodes wait for what is
 * told after an address has gone, so that comes first. */
static void close_lan(void *owner, unsigned at)
{
    struct keeper *keeper = owner;
    struct lan *lan = &keeper->lans[at];

    if (lan->fd >= 0 && keeper->over_count < KEEPER_ADDRESSES_MAX) {
        keeper->over[keeper->over_count++] = lan->fd;
        lan->fd = -1;
    }
    lan_close(lan);
}

static void close_what_is_over(struct keeper *keeper)
{
    while (keeper->over_count > 0) {
        close(keeper->over[--keeper->over_count]);
    }
}

static void probe(void *owner, unsigned at, const struct keeper_address *address)
{
    struct keeper *keeper = owner;

    lan_probe(&keeper->lans[at], address);
}

static bool is_claimed(void *owner, unsigned at, const struct keeper_address *address, uint8_t *mac)
{
    struct keeper *keeper = owner;

    return lan_read_conflict(&keeper->lans[at], address, mac);
}

static void announce(void *owner, unsigned at, const struct keeper_address *address)
{
    struct keeper *keeper = owner;

    lan_announce(&keeper->lans[at], address);
}

static int put(void *owner, unsigned at, const struct keeper_address *address, uint32_t lifetime_s)
{
    struct keeper *keeper = owner;

    return addresses_put(&keeper->addresses, address, keeper->lans[at].index, lifetime_s);
}

static void take(void *owner, unsigned at, const struct keeper_address *address)
{
    struct keeper *keeper = owner;
    int r = addresses_take(&keeper->addresses, address, keeper->lans[at].index);

    if (r < 0 && r != -EADDRNOTAVAIL) { /* gone already: its lifetime was over */
        log_error("an address could not be removed: the kernel will", "error=\"%s\"", strerror(-r));
    }
}

static void tell(void *owner, const struct keeper_message *message)
{
    struct keeper *keeper = owner;

    if (keeper->ends.pair >= 0 &&
        send(keeper->ends.pair, message, sizeof *message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        keeper->has_missed = true; /* it does not read: frozen, or slow */
    }
}

static const struct hold_ops ops = {open_lan, close_lan, probe, is_claimed,
                                    announce, put,       take,  tell};

/* ---- links ---- */

static struct guard *find_guard(struct keeper *keeper, uint32_t number, bool is_free)
{
    for (unsigned i = 0; i < KEEPER_GUARDS_MAX; i++) {
        struct guard *guard = &keeper->guards[i];
        if (is_free ? guard->fd < 0 : guard->fd >= 0 && guard->number == number) {
            return guard;
        }
    }
    return NULL;
}

static void guard_link(struct keeper *keeper, uint32_t number, int fd)
{
    struct guard *guard = fd >= 0 ? find_guard(keeper, number, true) : NULL;

    if (guard) {
        *guard = (struct guard){number, fd};
    } else if (fd >= 0) {
        close(fd);
    }
}

static void drop_guards(struct keeper *keeper)
{
    for (unsigned i = 0; i < KEEPER_GUARDS_MAX; i++) {
        if (keeper->guards[i].fd >= 0) {
            close(keeper->guards[i].fd);
            keeper->guards[i].fd = -1;
        }
    }
}

/* ---- the daemon ---- */

/* Without a word about where it comes from: the fields are checked, nothing else is. */
static bool is_sound(const struct keeper_message *message)
{
    return message->address.is_ipv6 <= 1 &&
           memchr(message->address.interface, '\0', sizeof message->address.interface);
}

static void tell_again(struct keeper *keeper)
{
    struct keeper_message message = {.type = KEEPER_UNSURE};

    if (keeper->has_missed) {
        keeper->has_missed = false; /* or true again */
        tell(keeper, &message);
    }
}

/* They wake nobody up, and lie in their socket until somebody asks. */
static void read_renewals(struct keeper *keeper)
{
    struct keeper_message message;

    for (unsigned i = 0; i < RENEWALS_MAX && keeper->ends.renewals >= 0; i++) {
        ssize_t n = recv(keeper->ends.renewals, &message, sizeof message, MSG_DONTWAIT);
        if (n <= 0) {
            break;
        }
        if (n == sizeof message && message.type == KEEPER_RENEW) {
            holds_renew(&keeper->holds, &message, clock_now_ms());
            tell_again(keeper);
        }
    }
}

static void handle(struct keeper *keeper, const struct keeper_message *message, int fd)
{
    struct guard *guard;

    switch (message->type) {
    case KEEPER_READY:
        keeper->is_ready = true;
        break;
    case KEEPER_HOLD:
    case KEEPER_RELEASE:
        read_renewals(keeper); /* what was sent before it */
        holds_ask(&keeper->holds, message, clock_now_ms());
        break;
    case KEEPER_GUARD:
        guard_link(keeper, message->number, fd);
        fd = -1;
        break;
    case KEEPER_UNGUARD:
        guard = find_guard(keeper, message->number, false);
        if (guard) {
            close(guard->fd);
            guard->fd = -1;
        }
        break;
    case KEEPER_TICKLE:
        if (holds_has(&keeper->holds, message->address.bytes, message->address.is_ipv6)) {
            lan_tickle(message);
        }
        break;
    default:
        break;
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int descriptor_of(struct msghdr *header)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    int fd = -1;

    if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(control), sizeof fd);
    }
    return fd;
}

/* False at the end: the daemon has died, or is about to. */
static bool receive(struct keeper *keeper)
{
    for (unsigned i = 0; i < MESSAGES_MAX; i++) {
        struct keeper_message message;
        union {
            char bytes[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control;
        struct iovec piece = {&message, sizeof message};
        struct msghdr header = {.msg_iov = &piece,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof control.bytes};
        ssize_t length = recvmsg(keeper->ends.pair, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        }
        if (length <= 0) {
            return false;
        }
        int fd = descriptor_of(&header);
        if (length == sizeof message && is_sound(&message)) {
            handle(keeper, &message, fd);
        } else if (fd >= 0) {
            close(fd);
        }
    }
    return true;
}

/* What is due, after what was renewed. */
static void tick(struct keeper *keeper)
{
    read_renewals(keeper);
    holds_tick(&keeper->holds, clock_now_ms());
}

static void let_go(struct keeper *keeper)
{
    if (keeper->ends.pair >= 0) {
        close(keeper->ends.pair);
        close(keeper->ends.renewals);
        keeper->ends = (struct keeper_ends){-1, -1};
    }
    holds_drop(&keeper->holds);
    drop_guards(keeper);
}

/* Returns true in the daemon. */
static bool start(struct keeper *keeper)
{
    struct keeper_ends ends;
    pid_t pid = child_fork(keeper->user, &ends);

    keeper->restart_ms = 0;
    keeper->forked_ms = clock_now_ms();
    if (pid == 0) {
        keeper->ends = ends;
        return true;
    }
    if (pid < 0) {
        log_error("the daemon cannot be started", "error=\"%s\"", strerror((int)-pid));
        keeper->restart_ms = keeper->forked_ms + RESTART_MS_MAX;
        return false;
    }
    keeper->child = pid;
    keeper->ends = ends;
    keeper->has_missed = false;
    return false;
}

static void on_child_ended(struct keeper *keeper, int status)
{
    uint64_t now_ms = clock_now_ms();

    keeper->child = 0;
    let_go(keeper);
    bool is_final = WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_STATUS_FINAL;
    if (keeper->is_stopping || is_final ||
        (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || !keeper->is_ready))) {
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    bool was_steady = now_ms - keeper->forked_ms >= STEADY_MS;
    uint64_t next_ms = keeper->delay_ms == 0 ? RESTART_MS : keeper->delay_ms * 2;
    keeper->delay_ms = was_steady ? 0 : keeper->delay_ms;
    log_error("the daemon has crashed, starting it again", "%s=%d delay=%dms",
              WIFEXITED(status) ? "status" : "signal",
              WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), (int)keeper->delay_ms);
    keeper->restart_ms = now_ms + keeper->delay_ms;
    keeper->delay_ms = was_steady                 ? RESTART_MS
                       : next_ms < RESTART_MS_MAX ? next_ms
                                                  : RESTART_MS_MAX;
}

static void on_signals(struct keeper *keeper)
{
    struct signalfd_siginfo signals;
    int status;

    while (read(keeper->signal_fd, &signals, sizeof signals) == sizeof signals) {
        if (signals.ssi_signo == SIGCHLD) {
            continue;
        }
        keeper->is_stopping |= signals.ssi_signo != SIGHUP;
        if (keeper->child > 0) {
            kill(keeper->child, (int)signals.ssi_signo);
        } else if (keeper->is_stopping) {
            exit(EXIT_SUCCESS);
        }
    }
    if (keeper->child > 0 && waitpid(keeper->child, &status, WNOHANG) == keeper->child) {
        on_child_ended(keeper, status);
    }
}

/* ---- the loop ---- */

static void set_timer(const struct keeper *keeper)
{
    uint64_t next_ms = holds_next_ms(&keeper->holds);

    if (keeper->restart_ms != 0 && (next_ms == 0 || keeper->restart_ms < next_ms)) {
        next_ms = keeper->restart_ms;
    }
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(next_ms / 1000),
                                           .tv_nsec = (long)(next_ms % 1000) * 1000000}};
    timerfd_settime(keeper->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void look_at_lans(struct keeper *keeper, const struct pollfd *polls)
{
    uint8_t mac[6];

    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        const struct lan *lan = &keeper->lans[i];
        if (lan->fd >= 0 && polls[i].fd == lan->fd && polls[i].revents &&
            lan_read_conflict(lan, &keeper->holds.table[i].address, mac)) {
            holds_conflict(&keeper->holds, i, mac, clock_now_ms());
        }
    }
}

/* Returns true in a daemon that was forked. */
static bool turn(struct keeper *keeper)
{
    struct pollfd polls[POLL_COUNT] = {{keeper->ends.pair, POLLIN, 0},
                                       {keeper->signal_fd, POLLIN, 0},
                                       {keeper->timer_fd, POLLIN, 0}};
    uint64_t expirations;

    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        polls[POLL_LAN + i] = (struct pollfd){keeper->lans[i].fd, POLLIN, 0};
    }
    set_timer(keeper);
    if (poll(polls, POLL_COUNT, -1) < 0) {
        return false;
    }
    if (polls[POLL_TIMER].revents) {
        (void)!read(keeper->timer_fd, &expirations, sizeof expirations);
    }
    tick(keeper); /* first: what is over is not defended */
    look_at_lans(keeper, polls + POLL_LAN);
    if (polls[POLL_PAIR].revents && !receive(keeper)) {
        let_go(keeper);
    }
    tick(keeper);
    if (polls[POLL_SIGNAL].revents) {
        on_signals(keeper);
    }
    close_what_is_over(keeper);
    return keeper->restart_ms != 0 && clock_now_ms() >= keeper->restart_ms && start(keeper);
}

static int open_descriptors(struct keeper *keeper)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    keeper->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    keeper->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    return keeper->signal_fd < 0 || keeper->timer_fd < 0 ? -errno : 0;
}

struct keeper_ends keeper_run(const struct child_user *user)
{
    struct keeper keeper = {.user = user, .ends = {-1, -1}, .holds = {.ops = &ops}};

    keeper.holds.owner = &keeper;
    addresses_init(&keeper.addresses);
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        keeper.lans[i].fd = -1;
    }
    for (unsigned i = 0; i < KEEPER_GUARDS_MAX; i++) {
        keeper.guards[i].fd = -1;
    }
    int r = child_keep_needed_rights();
    r = r == 0 ? open_descriptors(&keeper) : r;
    r = r == 0 ? addresses_clean(&keeper.addresses) : r;
    if (r < 0) {
        fprintf(stderr,
                "microcloud: run: the keeper cannot begin: %s: start without it (--no-keeper)\n",
                strerror(-r));
        exit(EXIT_FAILURE);
    }
    bool is_daemon = start(&keeper);
    if (!is_daemon) {
        footprint_trim();
    }
    while (!is_daemon) {
        is_daemon = turn(&keeper);
    }
    return keeper.ends;
}

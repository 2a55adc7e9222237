/* A real keeper, in a network of its own, and a daemon that it forks. The keeper ends with its
 * daemon's status, which is how many things were not as they should be. */
#include "keeper/keeper.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define RELEASES  8192 /* their answers are more than a socket holds */
#define WAIT_MS   10000
#define NO_RIGHTS 77

#define expect(condition)                                                                          \
    ((condition) ? 0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), 1))

/* Each message as it can be taken. */
static void say(int fd, enum keeper_message_type type)
{
    struct keeper_message message = {.type = type, .number = 1};
    struct pollfd writable = {fd, POLLOUT, 0};

    while (send(fd, &message, sizeof message, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        poll(&writable, 1, WAIT_MS);
    }
}

/* Type of the next one; 0 = none within that time. */
static uint32_t hear(int fd, int wait_ms)
{
    struct keeper_message message = {0};
    struct pollfd readable = {fd, POLLIN, 0};

    poll(&readable, 1, wait_ms);
    return recv(fd, &message, sizeof message, MSG_DONTWAIT) == sizeof message ? message.type : 0;
}

static void give(int pair, int fd)
{
    struct keeper_message message = {.type = KEEPER_GUARD, .number = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec piece = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &piece,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    struct pollfd writable = {pair, POLLOUT, 0};

    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    while (sendmsg(pair, &header, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        poll(&writable, 1, WAIT_MS);
    }
}

/* Until the keeper has handled what was said: it closes what it was given just before. */
static bool wait_until_heard(int pair)
{
    int ends[2];
    char byte;

    if (pipe(ends) < 0) {
        return false;
    }
    give(pair, ends[1]);
    close(ends[1]);
    say(pair, KEEPER_UNGUARD);
    struct pollfd ended = {ends[0], POLLIN, 0};
    bool is_heard = poll(&ended, 1, WAIT_MS) == 1 && read(ends[0], &byte, 1) == 0;
    close(ends[0]);
    return is_heard;
}

/* In the daemon. */
static int miss_answers(struct keeper_ends keeper)
{
    unsigned heard = 0;

    for (unsigned i = 0; i < RELEASES; i++) {
        say(keeper.pair, KEEPER_RELEASE);
    }
    int wrong = expect(wait_until_heard(keeper.pair));
    while (hear(keeper.pair, 0) == KEEPER_RELEASED) {
        heard++;
    }
    wrong += expect(heard > 0 && heard < RELEASES);
    for (unsigned i = 0; i < 2; i++) { /* it is told once */
        say(keeper.renewals, KEEPER_RENEW);
        say(keeper.pair, KEEPER_RELEASE);
        wrong += i == 0 ? expect(hear(keeper.pair, WAIT_MS) == KEEPER_UNSURE) : 0;
        wrong += expect(hear(keeper.pair, WAIT_MS) == KEEPER_RELEASED);
    }
    return wrong;
}

static void run_keeper(int (*be_daemon)(struct keeper_ends keeper))
{
    static const struct child_user user;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        exit(NO_RIGHTS);
    }
    exit(be_daemon(keeper_run(&user)));
}

static void a_daemon_that_has_missed_a_message_is_told_when_it_renews(void **state)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        run_keeper(miss_answers);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_RIGHTS) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_daemon_that_has_missed_a_message_is_told_when_it_renews),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

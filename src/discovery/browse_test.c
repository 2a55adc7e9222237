/* A responder and whoever browses, over a real LAN of one machine: a dummy interface in a network
 * namespace of this test's own. */
#include "discovery/browse.h"
#include "discovery/responder.h"
#include "loop/loop.h"
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct test {
    struct loop *loop;
    GString *found;
    uint32_t count;
};

static void on_found(void *owner, const struct service *service)
{
    struct test *test = owner;

    test->count++;
    g_string_append_printf(test->found, "%s %s:%u %s;", service->name, service->address,
                           service->port, service->cluster);
    loop_stop(test->loop);
}

static void on_done(void *owner)
{
    struct test *test = owner;

    loop_stop(test->loop);
}

/* An interface that is up, has 10.77.0.1/24 and takes multicast; its descriptor, or -1 without the
 * right to make one. */
static int make_lan(void)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a4d0001)};
    int tap = unshare(CLONE_NEWNET) < 0 ? -1 : open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(request.ifr_name, sizeof request.ifr_name, "lan0");
    if (tap < 0 || control < 0 || ioctl(tap, TUNSETIFF, &request) < 0) {
        return -1;
    }
    memcpy(&request.ifr_addr, &address, sizeof address);
    assert_int_equal(ioctl(control, SIOCSIFADDR, &request), 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_MULTICAST | IFF_BROADCAST;
    assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
    close(control);
    return tap;
}

static void a_node_is_found_and_not_found_any_more_when_it_is_gone(void **state)
{
    int lan = make_lan();
    if (lan < 0) {
        fail_msg("a network namespace with an interface could not be made: run as root");
    }
    struct test test = {loop_new(), g_string_new(NULL), 0};
    struct service service = {.name = "attic",
                              .node_id = "00c0ffee00c0ffee",
                              .cluster = "c1",
                              .version = "0.2.0",
                              .port = 7474};
    struct browse_events events = {on_found, on_done, &test};
    int error = 0;
    struct responder *responder = responder_new(test.loop, &service, &error);
    assert_int_equal(error, 0);
    struct browse *browse = browse_new(test.loop, 5000, &events, &error);
    assert_int_equal(error, 0);
    loop_run(test.loop);
    assert_string_equal(test.found->str, "attic 10.77.0.1:7474 c1;");
    browse_free(browse);
    responder_free(responder);

    browse = browse_new(test.loop, 400, &events, &error);
    loop_run(test.loop);
    assert_int_equal(test.count, 1);
    browse_free(browse);
    loop_free(test.loop);
    g_string_free(test.found, TRUE);
    close(lan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_found_and_not_found_any_more_when_it_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

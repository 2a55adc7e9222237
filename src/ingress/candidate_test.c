/* What `vip set` refuses, in a network namespace of the test's own: lo has 10.0.0.7/24. */
#include "ingress/candidate.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void expect(const struct fixture *fixture, const char *address, const char *interface,
                   const char *problem)
{
    g_autofree char *text = candidate_refusal(address, interface, fixture->state);

    if (!problem) {
        assert_null(text);
    } else {
        assert_non_null(text);
        assert_non_null(strstr(text, problem));
        assert_non_null(strstr(text, address));
    }
}

static void what_no_box_can_hold_is_refused(void **state)
{
    struct fixture fixture;

    fixture_init(&fixture);
    expect(&fixture, "10.0.0.255/24", "lo", "its broadcast address");
    expect(&fixture, "224.0.0.9/24", "lo", "multicast");
    expect(&fixture, "239.1.1.9/24", "lo", "multicast");
    expect(&fixture, "ff02::9/64", "lo", "multicast");
    expect(&fixture, "127.0.0.9/8", "lo", "loopback");
    expect(&fixture, "::1/128", "lo", "loopback");
    expect(&fixture, "fe80::9/64", "lo", "link-local");
    expect(&fixture, "10.0.0.0/24", "lo", "the address of its network");
    expect(&fixture, "10.0.0.7/24", "lo", "has this address itself");
    expect(&fixture, "10.0.0.9/24", "eth77", "no interface 'eth77'");
    expect(&fixture, "10.99.0.5/24", "", "no interface of this node is in its network");
    fixture_deinit(&fixture);
}

static void what_can_be_held_is_not(void **state)
{
    struct fixture fixture;

    fixture_init(&fixture);
    expect(&fixture, "10.0.0.9/24", "lo", NULL);
    expect(&fixture, "10.0.0.255/16", "lo", NULL); /* a host's, in a larger network */
    expect(&fixture, "fd00::9/64", "lo", NULL);
    expect(&fixture, "nonsense", "", NULL); /* the state says what is wrong */
    expect(&fixture, "10.0.0.9/333", "", NULL);
    fixture_deinit(&fixture);
}

static void what_is_in_the_table_is_not_looked_at(void **state)
{
    struct fixture fixture;

    fixture_init(&fixture);
    run(&fixture, state_propose_vip_set(fixture.state, "10.0.0.7/24", "lo", &fixture.completion));
    expect(&fixture, "10.0.0.7/24", "lo", NULL); /* this node holds it */
    fixture_deinit(&fixture);
}

static bool enter_namespace(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(0x0a000007)}};

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    memcpy(&request.ifr_addr, &address, sizeof address);
    int r = ioctl(fd, SIOCSIFADDR, &request);
    close(fd);
    return r == 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_box_can_hold_is_refused),
        cmocka_unit_test(what_can_be_held_is_not),
        cmocka_unit_test(what_is_in_the_table_is_not_looked_at),
    };
    if (!enter_namespace()) {
        return 77; /* skipped: no namespaces here */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

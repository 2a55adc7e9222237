/* Which of a machine's addresses others are told. */
#include "node/local_address.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include <arpa/inet.h>
#include <glib.h>
#include <ifaddrs.h>
#include <net/if.h>

#define VIRTUAL "fd77::100"
#define OWN     "fd77::1"

struct machine {
    struct ifaddrs all[4];
    struct sockaddr_storage addresses[4];
    unsigned count;
};

static void add(struct machine *machine, const char *interface, const char *text)
{
    struct ifaddrs *at = &machine->all[machine->count];
    struct sockaddr_storage *address = &machine->addresses[machine->count];

    address->ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
    void *bytes = address->ss_family == AF_INET
                      ? (void *)&((struct sockaddr_in *)address)->sin_addr
                      : (void *)&((struct sockaddr_in6 *)address)->sin6_addr;
    assert_int_equal(inet_pton(address->ss_family, text, bytes), 1);
    *at = (struct ifaddrs){
        .ifa_name = (char *)interface, .ifa_flags = IFF_UP, .ifa_addr = (struct sockaddr *)address};
    if (machine->count > 0) {
        machine->all[machine->count - 1].ifa_next = at;
    }
    machine->count++;
}

static void assert_told(const struct machine *machine, const struct state *state,
                        const char *wanted)
{
    g_autofree char *told = local_address_choose(machine->all, state);

    assert_string_equal(told ? told : "none", wanted);
}

static void a_virtual_address_that_this_machine_holds_is_never_told(void **state)
{
    struct fixture fixture;
    struct machine machine = {.count = 0};

    fixture_init(&fixture);
    add(&machine, "eth0", VIRTUAL);
    assert_told(&machine, fixture.state, VIRTUAL); /* nobody says yet that it is one */
    run(&fixture, state_propose_vip_set(fixture.state, VIRTUAL "/64", "eth0", &fixture.completion));
    assert_int_equal(fixture.result.error, 0);
    assert_told(&machine, fixture.state, "none");
    add(&machine, "eth0", OWN);
    assert_told(&machine, fixture.state, OWN);
    fixture_deinit(&fixture);
}

static void ipv4_comes_before_ipv6_and_nothing_of_links_and_containers(void **state)
{
    struct fixture fixture;
    struct machine machine = {.count = 0};

    fixture_init(&fixture);
    add(&machine, "docker0", "172.17.0.1");
    add(&machine, "eth0", "fe80::1");
    add(&machine, "eth0", OWN);
    assert_told(&machine, fixture.state, OWN);
    add(&machine, "eth0", "10.77.0.1");
    assert_told(&machine, fixture.state, "10.77.0.1");
    fixture_deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_virtual_address_that_this_machine_holds_is_never_told),
        cmocka_unit_test(ipv4_comes_before_ipv6_and_nothing_of_links_and_containers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

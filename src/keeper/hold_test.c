/* The keeper's decisions, with a machine that only takes notes. */
#include "keeper/hold.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define NOW 100000

struct machine {
    bool is_there[KEEPER_ADDRESSES_MAX]; /* in the kernel */
    bool is_open[KEEPER_ADDRESSES_MAX];
    unsigned probes, announcements, puts;
    uint32_t lifetime_s;
    int open_error, put_error;
    bool is_claimed;            /* an answer has come that was not read */
    struct keeper_message told; /* the last one */
    unsigned tells;
};

static int on_open(void *owner, unsigned at, const struct keeper_address *address)
{
    struct machine *machine = owner;

    assert_false(machine->is_open[at]);
    machine->is_open[at] = machine->open_error == 0;
    return machine->open_error;
}

static void on_close(void *owner, unsigned at)
{
    struct machine *machine = owner;

    assert_false(machine->is_there[at]);
    machine->is_open[at] = false;
}

static void on_probe(void *owner, unsigned at, const struct keeper_address *address)
{
    struct machine *machine = owner;

    assert_true(machine->is_open[at]);
    machine->probes++;
}

static bool on_is_claimed(void *owner, unsigned at, const struct keeper_address *address,
                          uint8_t *mac)
{
    const struct machine *machine = owner;

    memset(mac, 7, 6);
    return machine->is_claimed;
}

static void on_announce(void *owner, unsigned at, const struct keeper_address *address)
{
    struct machine *machine = owner;

    assert_true(machine->is_there[at]);
    machine->announcements++;
}

static int on_put(void *owner, unsigned at, const struct keeper_address *address,
                  uint32_t lifetime_s)
{
    struct machine *machine = owner;

    machine->puts++;
    machine->lifetime_s = lifetime_s;
    machine->is_there[at] = machine->put_error == 0;
    return machine->put_error;
}

static void on_take(void *owner, unsigned at, const struct keeper_address *address)
{
    struct machine *machine = owner;

    machine->is_there[at] = false;
}

static void on_tell(void *owner, const struct keeper_message *message)
{
    struct machine *machine = owner;

    machine->told = *message;
    machine->tells++;
}

static const struct hold_ops ops = {on_open,     on_close, on_probe, on_is_claimed,
                                    on_announce, on_put,   on_take,  on_tell};

static struct keeper_message hold(uint8_t last, uint64_t until_ms, uint32_t probe_ms)
{
    return (struct keeper_message){.type = KEEPER_HOLD,
                                   .number = probe_ms,
                                   .until_ms = until_ms,
                                   .address = {.bytes = {10, 0, 0, last}, .prefix = 24}};
}

static void ask(struct holds *holds, struct keeper_message message, uint64_t now_ms)
{
    holds_ask(holds, &message, now_ms);
}

static void nobody_answers_so_it_is_taken_and_announced_several_times(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 60000, 30), NOW);
    assert_int_equal(machine.probes, 1);
    assert_false(machine.is_there[0]);
    uint64_t now_ms = NOW;
    while (now_ms < NOW + 10000) {
        uint64_t next_ms = holds_next_ms(&holds);
        now_ms = next_ms < NOW + 10000 ? next_ms : NOW + 10000;
        holds_tick(&holds, now_ms);
        assert_int_equal(machine.is_there[0], now_ms >= NOW + 30);
    }
    assert_int_equal(machine.probes, 3);
    assert_int_equal(machine.announcements, 5);
    assert_int_equal(machine.told.type, KEEPER_HELD);
    assert_int_equal(holds_next_ms(&holds), NOW + 60000);
}

static void somebody_has_it_so_it_is_left_alone(void **state)
{
    static const uint8_t mac[] = {1, 2, 3, 4, 5, 6};
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 300, 30), NOW);
    holds_conflict(&holds, 0, mac, NOW + 5);
    assert_int_equal(machine.told.type, KEEPER_CONFLICT);
    assert_memory_equal(machine.told.peer, mac, sizeof mac);
    holds_tick(&holds, NOW + 40);
    assert_int_equal(machine.puts, 0);
    assert_false(machine.is_open[0]);
    assert_int_equal(holds_next_ms(&holds), 0);
}

static void an_answer_counts_also_when_the_keeper_is_late(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 300, 12), NOW);
    machine.is_claimed = true;
    holds_tick(&holds, NOW + 90);
    assert_int_equal(machine.puts, 0);
    assert_int_equal(machine.told.type, KEEPER_CONFLICT);
    assert_int_equal(machine.told.peer[0], 7);
    assert_int_equal(holds_next_ms(&holds), 0);
}

static void what_is_held_is_defended_once_in_ten_seconds(void **state)
{
    static const uint8_t mac[] = {1, 2, 3, 4, 5, 6};
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 30000, 0), NOW);
    unsigned said = machine.announcements;
    holds_conflict(&holds, 0, mac, NOW + 10);
    holds_conflict(&holds, 0, mac, NOW + 20);
    assert_true(machine.is_there[0]);
    assert_int_equal(machine.announcements, said + 1);
    assert_int_equal(machine.tells, 2); /* HELD, CONFLICT */
    holds_conflict(&holds, 0, mac, NOW + 10010);
    assert_int_equal(machine.announcements, said + 2);
}

static void it_goes_when_the_lease_is_not_renewed(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 225, 0), NOW);
    assert_true(machine.is_there[0]);
    ask(&holds, hold(1, NOW + 300, 0), NOW + 100);
    holds_tick(&holds, NOW + 299);
    assert_true(machine.is_there[0]);
    holds_tick(&holds, NOW + 300);
    assert_false(machine.is_there[0]);
    assert_int_equal(machine.told.type, KEEPER_RELEASED);
}

static void renew(struct holds *holds, uint64_t until_ms, uint64_t sent_ms, uint64_t now_ms)
{
    struct keeper_message message = {
        .type = KEEPER_RENEW, .number = (uint32_t)(until_ms - sent_ms), .until_ms = until_ms};

    holds_renew(holds, &message, now_ms);
}

static void a_renewal_prolongs_what_is_held_and_is_not_answered(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 225, 0), NOW);
    renew(&holds, NOW + 300, NOW + 75, NOW + 224); /* read when the first ends */
    assert_int_equal(machine.tells, 1);
    holds_tick(&holds, NOW + 299);
    assert_true(machine.is_there[0]);
    ask(&holds, hold(1, NOW + 400, 0), NOW + 299); /* who is not sure asks so */
    assert_int_equal(machine.tells, 2);
    holds_tick(&holds, NOW + 400);
    assert_int_equal(machine.told.type, KEEPER_RELEASED);
    renew(&holds, NOW + 800, NOW + 399, NOW + 500); /* gone is gone, until it is asked for */
    holds_tick(&holds, NOW + 530);
    assert_false(machine.is_there[0]);
}

static void an_old_renewal_neither_shortens_nor_revives(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 400, 0), NOW);
    renew(&holds, NOW + 300, NOW + 75, NOW + 100);
    holds_tick(&holds, NOW + 399);
    assert_true(machine.is_there[0]);
    ask(&holds, hold(1, NOW + 450, 0), NOW + 399); /* but a HOLD may shorten */
    ask(&holds, hold(1, NOW + 420, 0), NOW + 399);
    renew(&holds, NOW + 430, NOW + 400, NOW + 440); /* read too late */
    holds_tick(&holds, NOW + 440);
    assert_false(machine.is_there[0]);
}

static void a_keeper_that_is_late_goes_on_when_the_lease_has(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 225, 0), NOW);
    renew(&holds, NOW + 325, NOW + 100, NOW + 400);
    renew(&holds, NOW + 525, NOW + 300, NOW + 400);
    holds_tick(&holds, NOW + 524);
    assert_true(machine.is_there[0]);
    holds_tick(&holds, NOW + 525);
    assert_false(machine.is_there[0]);
}

/* A keeper that was frozen finds those of the lease that it slept through, and of the next: another
 * box may have had the address between the two. */
static void a_renewal_of_a_later_lease_prolongs_nothing(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 225, 0), NOW);
    renew(&holds, NOW + 325, NOW + 100, NOW + 5100);
    renew(&holds, NOW + 5225, NOW + 5000, NOW + 5100);
    holds_tick(&holds, NOW + 5100);
    assert_false(machine.is_there[0]);
    assert_int_equal(machine.told.type, KEEPER_RELEASED);
}

/* Alone a node leases for long; when the keeper wakes up another may vote, and have the address. */
static void what_the_kernel_has_let_go_of_is_not_put_back(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 225, 0), NOW);
    renew(&holds, NOW + 10100, NOW + 100, NOW + 2000); /* its life there was 2 s */
    assert_int_equal(machine.puts, 1);
    assert_int_equal(machine.told.type, KEEPER_RELEASED);
    ask(&holds, hold(1, NOW + 2225, 0), NOW + 2000);
    renew(&holds, NOW + 12000, NOW + 2100, NOW + 3999);
    assert_true(machine.is_there[0]);
}

static void a_lease_that_lay_in_the_socket_for_too_long_takes_nothing(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW, 0), NOW);
    assert_int_equal(machine.puts, 0);
    ask(&holds, hold(1, NOW + 100, 0), NOW);
    ask(&holds, hold(1, NOW + 150, 0), NOW + 200);
    assert_false(machine.is_there[0]);
}

static void the_kernel_is_told_anew_before_its_own_time_is_over(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 225, 0), NOW);
    assert_int_equal(machine.lifetime_s, 2);
    uint64_t kernel_ms = NOW + 2000;
    for (uint64_t now_ms = NOW + 50; now_ms < NOW + 5000; now_ms += 50) {
        unsigned puts = machine.puts;
        ask(&holds, hold(1, now_ms + 225, 0), now_ms);
        kernel_ms = machine.puts > puts ? now_ms + machine.lifetime_s * 1000ULL : kernel_ms;
        assert_true(kernel_ms > now_ms + 225);
    }
    assert_in_range(machine.puts, 4, 12); /* not with each renewal */
}

static void a_long_lease_has_a_long_life_in_the_kernel(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 10000, 0), NOW);
    assert_int_equal(machine.lifetime_s, 12);
}

static void a_release_is_answered_also_when_nothing_is_held(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};
    struct keeper_message release = hold(1, 0, 0);

    release.type = KEEPER_RELEASE;
    holds_ask(&holds, &release, NOW);
    assert_int_equal(machine.told.type, KEEPER_RELEASED);
    ask(&holds, hold(1, NOW + 500, 0), NOW);
    holds_ask(&holds, &release, NOW + 1);
    assert_false(machine.is_there[0]);
    assert_int_equal(machine.told.type, KEEPER_RELEASED);
}

static void what_the_machine_refuses_is_told(void **state)
{
    struct machine machine = {.open_error = -ENODEV};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 500, 0), NOW);
    assert_int_equal(machine.told.type, KEEPER_FAILED);
    assert_int_equal(machine.told.number, ENODEV);
    machine.open_error = 0;
    machine.put_error = -EPERM;
    ask(&holds, hold(1, NOW + 500, 0), NOW);
    assert_int_equal(machine.told.number, EPERM);
    assert_false(machine.is_open[0]);
}

static void there_is_room_for_sixteen(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    for (uint8_t i = 1; i <= KEEPER_ADDRESSES_MAX; i++) {
        ask(&holds, hold(i, NOW + 500, 0), NOW);
        assert_int_equal(machine.told.type, KEEPER_HELD);
    }
    ask(&holds, hold(99, NOW + 500, 0), NOW);
    assert_int_equal(machine.told.type, KEEPER_FAILED);
    assert_int_equal(machine.told.number, ENOSPC);
}

static void when_the_daemon_dies_all_goes_and_nobody_is_told(void **state)
{
    struct machine machine = {0};
    struct holds holds = {.ops = &ops, .owner = &machine};

    ask(&holds, hold(1, NOW + 500, 0), NOW);
    ask(&holds, hold(2, NOW + 500, 20), NOW);
    unsigned tells = machine.tells;
    holds_drop(&holds);
    assert_int_equal(machine.tells, tells);
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        assert_false(machine.is_there[i] || machine.is_open[i]);
    }
    assert_int_equal(holds_next_ms(&holds), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_answers_so_it_is_taken_and_announced_several_times),
        cmocka_unit_test(somebody_has_it_so_it_is_left_alone),
        cmocka_unit_test(an_answer_counts_also_when_the_keeper_is_late),
        cmocka_unit_test(what_is_held_is_defended_once_in_ten_seconds),
        cmocka_unit_test(it_goes_when_the_lease_is_not_renewed),
        cmocka_unit_test(a_renewal_prolongs_what_is_held_and_is_not_answered),
        cmocka_unit_test(an_old_renewal_neither_shortens_nor_revives),
        cmocka_unit_test(a_keeper_that_is_late_goes_on_when_the_lease_has),
        cmocka_unit_test(a_renewal_of_a_later_lease_prolongs_nothing),
        cmocka_unit_test(what_the_kernel_has_let_go_of_is_not_put_back),
        cmocka_unit_test(a_lease_that_lay_in_the_socket_for_too_long_takes_nothing),
        cmocka_unit_test(the_kernel_is_told_anew_before_its_own_time_is_over),
        cmocka_unit_test(a_long_lease_has_a_long_life_in_the_kernel),
        cmocka_unit_test(a_release_is_answered_also_when_nothing_is_held),
        cmocka_unit_test(what_the_machine_refuses_is_told),
        cmocka_unit_test(there_is_room_for_sixteen),
        cmocka_unit_test(when_the_daemon_dies_all_goes_and_nobody_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

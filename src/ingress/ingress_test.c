/* What the daemon asks of the keeper, with a keeper that the test plays. */
#include "ingress/ingress.h"
#include "base/clock.h"
#include "loop/loop.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS   5000
#define SILENT_MS 700 /* more than a keeper may be silent */

struct play {
    struct fixture fixture;
    struct loop *loop;
    struct timer *timer;
    struct ingress *ingress;
    struct keeper_ends keeper;
    unsigned held, changed, given_up;
    bool was_certain;
};

static void on_held(void *owner, const struct virtual_address *vip)
{
    struct play *play = owner;

    assert_string_equal(vip->address, "10.0.0.1");
    play->held++;
}

static void on_changed(void *owner)
{
    struct play *play = owner;

    play->changed++;
}

static void on_given_up(void *owner, bool is_certain)
{
    struct play *play = owner;

    play->given_up++;
    play->was_certain = is_certain;
}

static void on_timer(void *owner)
{
    struct play *play = owner;

    loop_stop(play->loop);
}

static void run_loop(struct play *play, uint64_t for_ms)
{
    timer_start(play->timer, for_ms);
    loop_run(play->loop);
}

static const struct ingress_events events = {on_held, on_changed};

static int set_up(void **state)
{
    struct play *play = g_new0(struct play, 1);
    int pair[2], renewals[2];

    fixture_init(&play->fixture);
    run(&play->fixture, state_propose_vip_set(play->fixture.state, "10.0.0.1/24", "eth7",
                                              &play->fixture.completion));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, renewals), 0);
    play->keeper = (struct keeper_ends){pair[0], renewals[0]};
    play->loop = loop_new();
    play->timer = timer_new(play->loop, on_timer, play);
    play->ingress =
        ingress_new(play->loop, (struct keeper_ends){pair[1], renewals[1]}, &events, play);
    ingress_set(play->ingress, play->fixture.state, false);
    *state = play;
    return 0;
}

static int tear_down(void **state)
{
    struct play *play = *state;

    ingress_free(play->ingress);
    timer_free(play->timer);
    loop_free(play->loop);
    close(play->keeper.pair);
    close(play->keeper.renewals);
    fixture_deinit(&play->fixture);
    g_free(play);
    return 0;
}

/* The next message for the keeper; type 0 when there is none. */
static struct keeper_message next_of(int fd)
{
    struct keeper_message message;

    if (recv(fd, &message, sizeof message, 0) != sizeof message) {
        message = (struct keeper_message){0};
    }
    return message;
}

static struct keeper_message next(struct play *play)
{
    return next_of(play->keeper.pair);
}

static struct keeper_message next_renewal(struct play *play)
{
    return next_of(play->keeper.renewals);
}

static void answer(struct play *play, struct keeper_message message, enum keeper_message_type type,
                   uint32_t number)
{
    message.type = type;
    message.number = number;
    assert_int_equal(send(play->keeper.pair, &message, sizeof message, 0), sizeof message);
    run_loop(play, 0);
    run_loop(play, 0);
}

static struct keeper_message hold(struct play *play)
{
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    struct keeper_message asked = next(play);
    assert_int_equal(asked.type, KEEPER_HOLD);
    answer(play, asked, KEEPER_HELD, 0);
    return asked;
}

static const struct virtual_address *row(struct play *play)
{
    return state_vip_at(play->fixture.state, 0);
}

static void while_the_lease_lasts_the_keeper_is_asked(void **state)
{
    struct play *play = *state;
    uint64_t until_ms = clock_now_ms() + 1000;

    ingress_lease(play->ingress, until_ms);
    struct keeper_message asked = next(play);
    assert_int_equal(asked.type, KEEPER_HOLD);
    assert_true(asked.until_ms == until_ms);
    assert_string_equal(asked.address.interface, "eth7");
    assert_int_equal(asked.address.bytes[3], 1);
    assert_false(ingress_holds(play->ingress, row(play)));
    answer(play, asked, KEEPER_HELD, 0);
    assert_true(ingress_holds(play->ingress, row(play)));
    assert_true(ingress_has(play->ingress, asked.address.bytes, false));
    assert_int_equal(play->held, 1);
    ingress_lease(play->ingress, until_ms + 1);
    asked = next_renewal(play);
    assert_int_equal(asked.type, KEEPER_RENEW);
    assert_true(asked.until_ms == until_ms + 1);
    assert_int_equal(next(play).type, 0); /* what would wake it up */
}

static void what_the_keeper_must_know_at_once_is_asked_so(void **state)
{
    struct play *play = *state;

    struct keeper_message held = hold(play);
    ingress_lease(play->ingress, held.until_ms - 500); /* it would wait for the end of the other */
    assert_true(next(play).until_ms == held.until_ms - 500);
    ingress_lease(play->ingress, held.until_ms);
    assert_int_equal(next(play).type, 0);
    answer(play, (struct keeper_message){0}, KEEPER_UNSURE, 0);
    ingress_lease(play->ingress, held.until_ms + 1);
    assert_int_equal(next(play).type, KEEPER_HOLD);
    ingress_lease(play->ingress, held.until_ms + 2);
    assert_int_equal(next(play).type, 0);
    assert_int_equal(play->held, 1); /* not taken again */
}

static void after_a_lease_that_may_have_ended_the_keeper_is_asked_again(void **state)
{
    struct play *play = *state;

    hold(play);
    ingress_lease(play->ingress, clock_now_ms() + 1);
    assert_int_equal(next(play).type, KEEPER_HOLD);
    for (uint64_t end_ms = clock_now_ms() + 2; clock_now_ms() < end_ms;) {
        run_loop(play, 1);
    }
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    assert_int_equal(next(play).type, KEEPER_HOLD); /* it may have let go, unheard */
}

static void a_keeper_that_reads_need_not_answer_what_renews(void **state)
{
    struct play *play = *state;

    hold(play);
    for (uint64_t end_ms = clock_now_ms() + SILENT_MS; clock_now_ms() < end_ms;) {
        ingress_lease(play->ingress, clock_now_ms() + 1000);
        assert_int_equal(next_renewal(play).type, KEEPER_RENEW);
        run_loop(play, 50);
        assert_true(ingress_is_able(play->ingress));
    }
}

static void when_it_is_over_everything_is_released(void **state)
{
    struct play *play = *state;

    struct keeper_message held = hold(play);
    ingress_lease(play->ingress, 0);
    assert_int_equal(next(play).type, KEEPER_RELEASE);
    answer(play, held, KEEPER_RELEASED, 0);
    assert_false(ingress_holds_any(play->ingress));
    ingress_lease(play->ingress, 0);
    assert_int_equal(next(play).type, 0);
}

static void another_host_that_has_it_is_named_and_asked_about_again(void **state)
{
    struct play *play = *state;

    ingress_lease(play->ingress, clock_now_ms() + 1000);
    struct keeper_message asked = next(play);
    memcpy(asked.peer, "\x02\x00\x00\x00\x00\x09", 6);
    answer(play, asked, KEEPER_CONFLICT, 0);
    assert_string_equal(ingress_problem(play->ingress, row(play)),
                        "another host (02:00:00:00:00:09) answers for it");
    assert_true(ingress_is_able(play->ingress)); /* no other node could hold it either */
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    assert_int_equal(next(play).type, 0); /* not at once */
    for (uint64_t end_ms = clock_now_ms() + WAIT_MS; next(play).type == 0;) {
        assert_true(clock_now_ms() < end_ms);
        run_loop(play, 5);
        ingress_lease(play->ingress, clock_now_ms() + 1000);
    }
    answer(play, asked, KEEPER_HELD, 0);
    assert_null(ingress_problem(play->ingress, row(play)));
}

static void what_this_node_cannot_makes_it_unable(void **state)
{
    struct play *play = *state;

    ingress_lease(play->ingress, clock_now_ms() + 1000);
    answer(play, next(play), KEEPER_FAILED, ENODEV);
    assert_false(ingress_is_able(play->ingress));
    assert_string_equal(ingress_problem(play->ingress, row(play)),
                        "this node has no such network interface, or it is down");
}

static void one_that_cannot_be_held_is_no_reason_to_move_the_others(void **state)
{
    struct play *play = *state;

    struct keeper_message good = hold(play);
    run(&play->fixture, state_propose_vip_set(play->fixture.state, "10.9.9.9/24", "eth8",
                                              &play->fixture.completion));
    ingress_set(play->ingress, play->fixture.state, false);
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    struct keeper_message asked = next(play);
    if (asked.address.bytes[1] == good.address.bytes[1]) {
        asked = next(play);
    }
    assert_int_equal(asked.address.bytes[1], 9);
    answer(play, asked, KEEPER_FAILED, ENODEV);
    assert_true(ingress_is_able(play->ingress));
    assert_true(ingress_has(play->ingress, good.address.bytes, false));
}

static void a_keeper_that_is_silent_makes_it_unable_until_it_speaks(void **state)
{
    struct play *play = *state;

    struct keeper_message held = hold(play);
    for (uint64_t end_ms = clock_now_ms() + WAIT_MS; ingress_is_able(play->ingress);) {
        assert_true(clock_now_ms() < end_ms);
        ingress_lease(play->ingress, clock_now_ms() + 1000);
        run_loop(play, 20);
    }
    while (next_renewal(play).type != 0) {
    }
    answer(play, held, KEEPER_HELD, 0);
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    assert_true(ingress_is_able(play->ingress));
}

static void giving_up_is_certain_only_when_the_keeper_said_so(void **state)
{
    struct play *play = *state;

    struct keeper_message held = hold(play);
    ingress_give_up(play->ingress, on_given_up, play);
    assert_int_equal(play->given_up, 0);
    assert_int_equal(next(play).type, KEEPER_RELEASE);
    answer(play, held, KEEPER_RELEASED, 0);
    run_loop(play, 5);
    assert_int_equal(play->given_up, 1);
    assert_true(play->was_certain);
    hold(play);
    ingress_give_up(play->ingress, on_given_up, play);
    for (uint64_t end_ms = clock_now_ms() + WAIT_MS; play->given_up == 1;) {
        assert_true(clock_now_ms() < end_ms);
        run_loop(play, 20);
    }
    assert_false(play->was_certain);
}

static void an_address_that_leaves_the_table_is_released(void **state)
{
    struct play *play = *state;

    hold(play);
    run(&play->fixture,
        state_propose_vip_remove(play->fixture.state, "10.0.0.1", &play->fixture.completion));
    ingress_set(play->ingress, play->fixture.state, true);
    assert_int_equal(next(play).type, KEEPER_RELEASE);
    assert_false(ingress_holds_any(play->ingress));
}

static void one_that_is_new_is_looked_for_longer(void **state)
{
    struct play *play = *state;

    ingress_lease(play->ingress, clock_now_ms() + 1000);
    uint32_t moved_ms = next(play).number;
    run(&play->fixture,
        state_propose_vip_set(play->fixture.state, "10.0.0.2/24", "", &play->fixture.completion));
    ingress_set(play->ingress, play->fixture.state, true);
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    assert_int_equal(next(play).number, moved_ms);
    assert_true(next(play).number > 10 * moved_ms);
}

static void without_a_keeper_nothing_can_be_held(void **state)
{
    struct play *play = *state;
    struct ingress *ingress = ingress_new(play->loop, (struct keeper_ends){-1, -1}, &events, play);

    ingress_set(ingress, play->fixture.state, false);
    ingress_lease(ingress, clock_now_ms() + 1000);
    assert_false(ingress_is_able(ingress));
    assert_false(ingress_holds_any(ingress));
    ingress_free(ingress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(while_the_lease_lasts_the_keeper_is_asked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_the_keeper_must_know_at_once_is_asked_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(after_a_lease_that_may_have_ended_the_keeper_is_asked_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_keeper_that_reads_need_not_answer_what_renews, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(when_it_is_over_everything_is_released, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_host_that_has_it_is_named_and_asked_about_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_this_node_cannot_makes_it_unable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_held_is_no_reason_to_move_the_others,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_keeper_that_is_silent_makes_it_unable_until_it_speaks,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(giving_up_is_certain_only_when_the_keeper_said_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_address_that_leaves_the_table_is_released, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_new_is_looked_for_longer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_keeper_nothing_can_be_held, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The lease: tables of cases, then random histories with two leaders. */
#include "cluster/lease.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define E 400

static const uint64_t three[] = {1, 2, 3};

static struct lease leading(uint64_t now_ms)
{
    struct lease lease;

    lease_init(&lease, 1, E);
    lease_set_voters(&lease, three, 3);
    lease_lead(&lease, 5, now_ms);
    lease_applied(&lease, now_ms, true);
    return lease;
}

static void alone_it_is_renewed_by_being_asked(void **state)
{
    struct lease lease;
    const uint64_t one[] = {1};

    lease_init(&lease, 1, E);
    lease_set_voters(&lease, one, 1);
    assert_int_equal(lease_until_ms(&lease, 1000), 0);
    lease_lead(&lease, 1, 1000);
    assert_int_equal(lease_until_ms(&lease, 1000), 0);
    lease_applied(&lease, 1000, true);
    assert_int_equal(lease_until_ms(&lease, 1000), 1000 + E * 3 / 4);
    assert_int_equal(lease_until_ms(&lease, 99000), 99000 + E * 3 / 4);
}

static void without_an_echo_nothing_is_held(void **state)
{
    struct lease lease = leading(1000);

    assert_int_equal(lease_until_ms(&lease, 1001), 0);
}

static void one_echo_of_three_counts_from_when_it_was_sent(void **state)
{
    struct lease lease = leading(1000);

    lease_echo(&lease, 3, 1100);
    assert_int_equal(lease_until_ms(&lease, 1150), 1100 + 300);
    assert_int_equal(lease_until_ms(&lease, 1399), 1400);
    assert_int_equal(lease_until_ms(&lease, 1400), 0);
    assert_int_equal(lease_next_ms(&lease, 1150), 1400);
}

static void an_echo_never_takes_back_a_newer_one(void **state)
{
    struct lease lease = leading(1000);

    lease_echo(&lease, 3, 1100);
    lease_echo(&lease, 3, 1050);
    assert_int_equal(lease_until_ms(&lease, 1150), 1400);
}

static void who_is_no_voter_does_not_count(void **state)
{
    struct lease lease = leading(1000);

    lease_echo(&lease, 9, 1100);
    assert_int_equal(lease_until_ms(&lease, 1150), 0);
}

static void of_five_the_second_newest_echo_counts(void **state)
{
    const uint64_t five[] = {1, 2, 3, 4, 5};
    struct lease lease = leading(1000);

    lease_set_voters(&lease, five, 5);
    lease_echo(&lease, 2, 1300);
    assert_int_equal(lease_until_ms(&lease, 1301), 0);
    lease_echo(&lease, 3, 1100);
    assert_int_equal(lease_until_ms(&lease, 1301), 1400);
    lease_echo(&lease, 4, 1200);
    assert_int_equal(lease_until_ms(&lease, 1301), 1500);
}

static void of_two_both_are_needed(void **state)
{
    struct lease lease = leading(1000);

    lease_set_voters(&lease, three, 2);
    assert_int_equal(lease_until_ms(&lease, 1100), 0);
    lease_echo(&lease, 2, 1090);
    assert_int_equal(lease_until_ms(&lease, 1100), 1390);
}

static struct lease elected(void)
{
    struct lease lease;

    lease_init(&lease, 1, E);
    lease_set_voters(&lease, three, 3);
    lease_lead(&lease, 5, 1000);
    lease_echo(&lease, 2, 1240);
    return lease;
}

static void a_new_leader_waits_until_a_majority_has_not_heard_another_for_a_timeout(void **state)
{
    struct lease lease = elected();

    lease_other(&lease, 1, 700);
    lease_other(&lease, 2, 850);
    assert_int_equal(lease_until_ms(&lease, 1249), 0); /* the first entry is not applied */
    lease_applied(&lease, 1050, false);
    assert_int_equal(lease_next_ms(&lease, 1100), 850 + E);
    assert_int_equal(lease_until_ms(&lease, 1249), 0);
    assert_false(lease_is_free(&lease, 1249));
    assert_int_equal(lease_until_ms(&lease, 1250), 1540);
    assert_true(lease_is_free(&lease, 1250)); /* also when this one could not hold anything */
    lease_lose(&lease);
    assert_false(lease_is_free(&lease, 1250));
}

static void one_voter_alone_does_not_say_that_nobody_was_heard(void **state)
{
    struct lease lease = elected();

    lease_applied(&lease, 1050, false);
    lease_other(&lease, 1, 500);
    assert_int_equal(lease_until_ms(&lease, 1250), 0);
    assert_int_equal(lease_next_ms(&lease, 1250), 0);
    lease_other(&lease, 3, 600);
    assert_int_equal(lease_until_ms(&lease, 1250), 1540);
}

static void what_voters_said_in_an_earlier_term_does_not_count(void **state)
{
    struct lease lease = elected();

    lease_other(&lease, 1, 500);
    lease_other(&lease, 2, 500);
    lease_lead(&lease, 7, 1100);
    lease_applied(&lease, 1100, false);
    lease_echo(&lease, 2, 1240);
    assert_int_equal(lease_until_ms(&lease, 1250), 0);
}

static void a_proven_end_needs_no_waiting(void **state)
{
    struct lease lease = elected();

    lease_other(&lease, 1, 990);
    lease_other(&lease, 2, 990);
    lease_applied(&lease, 1050, true);
    assert_int_equal(lease_until_ms(&lease, 1250), 1540);
}

static void losing_leadership_ends_it_at_once_and_old_echoes_do_not_count_again(void **state)
{
    struct lease lease = leading(1000);

    lease_echo(&lease, 2, 1100);
    lease_lose(&lease);
    assert_int_equal(lease_until_ms(&lease, 1101), 0);
    assert_int_equal(lease_next_ms(&lease, 1101), 0);
    lease_echo(&lease, 2, 1102);
    lease_lead(&lease, 7, 1200);
    lease_applied(&lease, 1200, true);
    lease_echo(&lease, 2, 1150); /* of the time before */
    assert_int_equal(lease_until_ms(&lease, 1201), 0);
}

static void echoes_of_voters_that_stay_are_kept(void **state)
{
    struct lease lease = leading(1000);
    const uint64_t other[] = {1, 3, 4};

    lease_echo(&lease, 2, 1100);
    lease_set_voters(&lease, other, 3);
    assert_int_equal(lease_until_ms(&lease, 1101), 0);
    lease_echo(&lease, 3, 1100);
    lease_set_voters(&lease, three, 3);
    assert_int_equal(lease_until_ms(&lease, 1101), 1400);
}

static void an_echo_from_the_future_gives_no_more_than_the_share(void **state)
{
    struct lease lease = leading(1000);

    lease_echo(&lease, 2, 999999);
    assert_int_equal(lease_until_ms(&lease, 1100), 1400);
}

/* ---- random histories ----
 *
 * Followers as consensus.md has them: one that has heard the leader's raft stream votes for nobody
 * for E. A message arrives late or not at all; a ping is echoed at once with how long ago raft was
 * heard. Node 2 is elected as soon as a majority would vote, and node 3 tells it when it last heard
 * the old leader. At no millisecond do both hold. */

struct follower {
    uint64_t heard_ms; /* raft */
};

struct message {
    uint64_t at_ms, sent_ms;
    unsigned to; /* 2, 3: to a follower; 0: its echo to the leader */
    unsigned from;
    bool is_raft;
};

struct history {
    struct follower followers[4]; /* 2 and 3 */
    struct lease old, new;
    GArray *messages;
    GRand *random;
    uint64_t now_ms, cut_ms;
    bool is_elected;
};

static void send(struct history *history, struct message message)
{
    bool is_lost =
        history->now_ms >= history->cut_ms && g_rand_int_range(history->random, 0, 8) > 0;

    message.sent_ms = message.sent_ms ? message.sent_ms : history->now_ms;
    message.at_ms = history->now_ms + (uint64_t)g_rand_int_range(history->random, 0, 300);
    if (!is_lost) {
        g_array_append_val(history->messages, message);
    }
}

static void receive(struct history *history, const struct message *message)
{
    if (message->to == 0) {
        lease_echo(&history->old, message->from, message->sent_ms);
        return;
    }
    struct follower *follower = &history->followers[message->to];
    if (history->is_elected) { /* of an older term */
        return;
    }
    if (message->is_raft) {
        follower->heard_ms = history->now_ms;
    } else {
        uint64_t age_ms = history->now_ms - follower->heard_ms;
        send(history, (struct message){.from = message->to, .sent_ms = message->sent_ms - age_ms});
    }
}

static void step(struct history *history)
{
    for (guint i = history->messages->len; i > 0; i--) {
        struct message message = g_array_index(history->messages, struct message, i - 1);
        if (message.at_ms <= history->now_ms) {
            g_array_remove_index_fast(history->messages, i - 1);
            receive(history, &message);
        }
    }
    for (unsigned to = 2; to <= 3; to++) {
        if (history->now_ms % 50 == 0) {
            send(history, (struct message){.to = to, .is_raft = true});
        }
        if (history->now_ms % (E / 3) == 0) {
            send(history, (struct message){.to = to});
        }
    }
    bool has_votes = history->now_ms >= history->followers[2].heard_ms + E &&
                     history->now_ms >= history->followers[3].heard_ms + E;
    if (has_votes && !history->is_elected) {
        history->is_elected = true;
        lease_lead(&history->new, 6, history->now_ms);
        lease_applied(&history->new, history->now_ms, false);
        lease_other(&history->new, 2, history->followers[2].heard_ms);
        lease_other(&history->new, 3, history->followers[3].heard_ms);
    }
    lease_echo(&history->new, 3, history->now_ms); /* the two of them hear each other well */
}

static void two_leaders_never_hold_at_once(void **state)
{
    unsigned elections = 0, holds = 0;

    for (guint32 seed = 1; seed <= 300; seed++) {
        struct history history = {.random = g_rand_new_with_seed(seed), .now_ms = 10000};
        history.messages = g_array_new(FALSE, FALSE, sizeof(struct message));
        history.cut_ms = 10000 + (uint64_t)g_rand_int_range(history.random, 0, 1500);
        history.followers[2].heard_ms = history.followers[3].heard_ms = 10000;
        history.old = leading(10000);
        lease_init(&history.new, 2, E);
        lease_set_voters(&history.new, three, 3);
        for (; history.now_ms < 14000; history.now_ms++) {
            step(&history);
            bool old_holds = lease_until_ms(&history.old, history.now_ms) > 0;
            bool new_holds = lease_until_ms(&history.new, history.now_ms) > 0;
            if (old_holds && new_holds) {
                fail_msg("seed %u: two holders at %d ms", seed, (int)history.now_ms);
            }
            holds += old_holds + new_holds;
        }
        elections += history.is_elected;
        g_array_free(history.messages, TRUE);
        g_rand_free(history.random);
    }
    assert_true(elections > 250);
    assert_true(holds > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_is_renewed_by_being_asked),
        cmocka_unit_test(without_an_echo_nothing_is_held),
        cmocka_unit_test(one_echo_of_three_counts_from_when_it_was_sent),
        cmocka_unit_test(an_echo_never_takes_back_a_newer_one),
        cmocka_unit_test(who_is_no_voter_does_not_count),
        cmocka_unit_test(of_five_the_second_newest_echo_counts),
        cmocka_unit_test(of_two_both_are_needed),
        cmocka_unit_test(a_new_leader_waits_until_a_majority_has_not_heard_another_for_a_timeout),
        cmocka_unit_test(one_voter_alone_does_not_say_that_nobody_was_heard),
        cmocka_unit_test(what_voters_said_in_an_earlier_term_does_not_count),
        cmocka_unit_test(a_proven_end_needs_no_waiting),
        cmocka_unit_test(losing_leadership_ends_it_at_once_and_old_echoes_do_not_count_again),
        cmocka_unit_test(echoes_of_voters_that_stay_are_kept),
        cmocka_unit_test(an_echo_from_the_future_gives_no_more_than_the_share),
        cmocka_unit_test(two_leaders_never_hold_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What other nodes want, by filter and peer. */
#include "mqtt/remote/interest.h"
#include "topic/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

static void peers_are_found_by_what_they_want(void **state)
{
    struct interest interest;

    interest_init(&interest);
    interest_set(&interest, 0, text("a/+"), 1);
    interest_set(&interest, 3, text("a/b"), 1);
    interest_set(&interest, 3, text("#"), 1);
    assert_int_equal(interest_find(&interest, text("a/b"))->mask, 1 | 8);
    assert_int_equal(interest_find(&interest, text("x"))->mask, 8);
    interest_set(&interest, 3, text("#"), 0);
    assert_int_equal(interest_find(&interest, text("x"))->mask, 0);
    interest_set(&interest, 5, text("never/there"), 0);
    interest_deinit(&interest);
}

static void share_groups_are_counted_apart_from_plain_subscribers(void **state)
{
    struct interest interest;

    interest_init(&interest);
    interest_set(&interest, 1, text("$share/g/a/+"), 2);
    interest_set(&interest, 2, text("$share/g/a/+"), 3);
    interest_set(&interest, 2, text("$share/h/a/+"), 1);
    const struct interest_route *route = interest_find(&interest, text("a/b"));
    assert_int_equal(route->mask, 0);
    assert_int_equal(route->shares->len, 2);
    const struct interest_share *share = route->shares->pdata[0];
    assert_string_equal(share->filter, "$share/g/a/+");
    assert_int_equal(share->counts[1] + share->counts[2], 5);
    assert_int_equal(interest.share_count, 2);
    interest_set(&interest, 1, text("$share/g/a/+"), 0);
    interest_set(&interest, 2, text("$share/g/a/+"), 0);
    interest_set(&interest, 2, text("$share/g/a/+"), 0);
    assert_int_equal(interest_find(&interest, text("a/b"))->shares->len, 1);
    assert_int_equal(interest.share_count, 1);
    interest_deinit(&interest);
}

static void a_peer_that_is_forgotten_leaves_nothing(void **state)
{
    struct interest interest;

    interest_init(&interest);
    interest_set(&interest, 0, text("a/b"), 1);
    interest_set(&interest, 0, text("$share/g/c"), 7);
    interest_set(&interest, 1, text("a/b"), 1);
    interest_set(&interest, 1, text("c"), 1);
    interest_clear(&interest, 0);
    assert_int_equal(interest_find(&interest, text("a/b"))->mask, 2);
    assert_int_equal(interest_find(&interest, text("c"))->mask, 2);
    interest_clear(&interest, 1);
    assert_int_equal(topic_tree_count(interest.filters), 0);
    assert_int_equal(interest.share_count, 0);
    interest_deinit(&interest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_are_found_by_what_they_want),
        cmocka_unit_test(share_groups_are_counted_apart_from_plain_subscribers),
        cmocka_unit_test(a_peer_that_is_forgotten_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

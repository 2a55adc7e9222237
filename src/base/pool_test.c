/* Memory for many things of one size. */
#include "base/pool.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MANY 150000

static void what_is_taken_is_zeroed_aligned_and_apart(void **state)
{
    struct pool *pool = pool_new(40);
    uint8_t *first = pool_take(pool), *second = pool_take(pool);

    assert_int_equal((uintptr_t)first % 16, 0);
    assert_true(second >= first + 40 || first >= second + 40);
    memset(first, 0xff, 40);
    pool_give(pool, first);
    uint8_t *again = pool_take(pool);
    assert_ptr_equal(again, first);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(again[i], 0);
    }
    pool_give(pool, again);
    pool_give(pool, second);
    pool_free(pool);
}

static void many_are_taken_and_given_in_any_order(void **state)
{
    struct pool *pool = pool_new(48);
    g_autofree uint64_t **all = g_new0(uint64_t *, MANY);

    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < MANY; i++) {
            if (!all[i]) {
                all[i] = pool_take(pool);
                assert_int_equal(*all[i], 0);
                *all[i] = i + 1;
            }
        }
        for (uint64_t i = 0, at = 7; i < MANY / 2; i++, at = (at + 7919) % MANY) {
            if (all[at]) {
                assert_int_equal(*all[at], at + 1);
                pool_give(pool, all[at]);
                all[at] = NULL;
            }
        }
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (all[i]) {
            assert_int_equal(*all[i], i + 1);
            pool_give(pool, all[i]);
        }
    }
    pool_free(pool);
}

static void pages_are_zeroed_and_aligned(void **state)
{
    size_t length = 3 * POOL_CHUNK_BYTES + 5;
    uint8_t *pages = pages_new(length, true);

    assert_int_equal((uintptr_t)pages % POOL_CHUNK_BYTES, 0);
    assert_int_equal(pages[0] + pages[length - 1], 0);
    pages[length - 1] = 1;
    pages_free(pages, length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_zeroed_aligned_and_apart),
        cmocka_unit_test(many_are_taken_and_given_in_any_order),
        cmocka_unit_test(pages_are_zeroed_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

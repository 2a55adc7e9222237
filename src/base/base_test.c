/* The small headers of base: lists, views, UTF-8, hashes, cleanup, clocks. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct item {
    struct list link;
    int number;
};

static void lists_keep_order_and_bear_removal_while_walked(void **state)
{
    struct list head;
    struct item items[4];
    int order = 0;

    list_init(&head);
    assert_true(list_is_empty(&head));
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_append(&head, &items[i].link);
    }
    list_for_each_safe(link, &head) {
        struct item *item = list_entry(link, struct item, link);
        assert_int_equal(item->number, order++);
        if (item->number % 2 == 0) {
            list_remove(link);
            list_remove(link); /* twice is harmless */
        }
    }
    list_add_before(&items[3].link, &items[0].link);
    int sum = 0;
    list_for_each(link, &head) {
        sum = sum * 10 + list_entry(link, struct item, link)->number;
    }
    assert_int_equal(sum, 103);
}

static void views_are_equal_by_content(void **state)
{
    assert_true(bytes_equal(bytes_from_string("abc"), (struct bytes){(const uint8_t *)"abcd", 3}));
    assert_false(bytes_equal(bytes_from_string("abc"), bytes_from_string("abd")));
    assert_true(bytes_equal(bytes_from_string(""), bytes_from_string(NULL)));
}

static bool is_valid(const char *text, size_t length)
{
    return utf8_is_valid((struct bytes){(const uint8_t *)text, length});
}

static void utf8_is_what_mqtt_allows(void **state)
{
    static const char *const good[] = {"",
                                       "plain",
                                       "twelve bytes",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "eight by\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xef\xbb\xbf",
                                       "\x01\x7f"};
    static const char *const bad[] = {"\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\x80",
                                      "abcdefg\xc3",
                                      "\xe2\x82",
                                      "\xff",
                                      "12345678\xc3("};

    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(is_valid(good[i], strlen(good[i])));
    }
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(is_valid(bad[i], strlen(bad[i])));
    }
    assert_false(is_valid("a\0b", 3));
    assert_false(is_valid("1234567\0", 8));
}

static void a_tail_is_a_word_of_its_bytes_alone(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};

    for (size_t length = 0; length < 8; length++) {
        uint64_t expected = 0;
        for (size_t i = 0; i < length; i++) {
            expected |= (uint64_t)bytes[i] << 8 * i;
        }
        assert_true(bytes_tail(bytes, length) == expected);
    }
}

static void hashes_hang_on_the_key_and_every_byte(void **state)
{
    struct hash_key key = {1, 2}, other = {1, 3};
    uint8_t bytes[20] = {0};
    uint64_t first = hash_bytes((struct bytes){bytes, 20}, &key);

    assert_true(first == hash_bytes((struct bytes){bytes, 20}, &key));
    assert_true(first != hash_bytes((struct bytes){bytes, 20}, &other));
    assert_true(first != hash_bytes((struct bytes){bytes, 19}, &key));
    for (int i = 0; i < 20; i++) {
        bytes[i] = 1;
        assert_true(first != hash_bytes((struct bytes){bytes, 20}, &key));
        bytes[i] = 0;
    }
    assert_true(hash_words(1, 2, &key) != hash_words(2, 1, &key));
}

static unsigned freed;

static void thing_free(int *thing)
{
    freed++;
}

DEFINE_CLEANUP(int *, thing_free)

static void cleanup_frees_what_was_not_taken(void **state)
{
    int thing = 0;
    int *kept = NULL;

    freed = 0;
    {
        _cleanup_(thing_freep) int *a = &thing;
        _cleanup_(thing_freep) int *b = &thing;
        _cleanup_(thing_freep) int *none = NULL;
        kept = TAKE(b);
        assert_null(b);
        (void)a;
        (void)none;
    }
    assert_int_equal(freed, 1);
    assert_ptr_equal(kept, &thing);
}

static void clocks_agree_and_go_forward(void **state)
{
    uint64_t ms = clock_now_ms(), us = clock_now_us();

    assert_true(us / 1000 >= ms);
    assert_true(clock_now_us() >= us);
    assert_true(clock_unix_ms() > 1700000000000u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_keep_order_and_bear_removal_while_walked),
        cmocka_unit_test(views_are_equal_by_content),
        cmocka_unit_test(utf8_is_what_mqtt_allows),
        cmocka_unit_test(a_tail_is_a_word_of_its_bytes_alone),
        cmocka_unit_test(hashes_hang_on_the_key_and_every_byte),
        cmocka_unit_test(cleanup_frees_what_was_not_taken),
        cmocka_unit_test(clocks_agree_and_go_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

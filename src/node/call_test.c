/* What nodes call to each other: the bytes are those that other versions read and write. */
#include "node/call.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void the_end_of_a_leader(void **state)
{
    const struct call_ended ended = {1, 2, 3, 0x0405};
    const uint8_t wanted[CALL_ENDED_BYTES] = {CALL_ENDED, 1, [9] = 2, [17] = 3, [25] = 5, 4};
    uint8_t call[CALL_ENDED_BYTES];
    struct call_ended read;

    call_put_ended(call, &ended);
    assert_memory_equal(call, wanted, sizeof call);
    assert_true(call_get_ended((struct bytes){call, sizeof call}, &read));
    assert_memory_equal(&read, &ended, sizeof read);
    assert_false(call_get_ended((struct bytes){call, sizeof call - 1}, &read));
    call[0] = CALL_NODES;
    assert_false(call_get_ended((struct bytes){call, sizeof call}, &read));
}

static void who_is_there(void **state)
{
    static const uint8_t wanted[] = {CALL_NODES, 0,   0, 0, 0, 0, 0, 2, 1, /* 513 */
                                     0,          0,   0, 0, 0, 0, 0, 7, 4, 'h', ':',
                                     '7',        '4', 0, 0, 0, 0, 0, 0, 0, 8,   0};
    g_autoptr(GByteArray) call = g_byte_array_new();
    struct call_node node;
    uint64_t index = 0;
    size_t at = 0;

    call_put_nodes(call, 513);
    call_put_node(call, 7, "h:74");
    call_put_node(call, 8, "");
    assert_int_equal(call->len, sizeof wanted);
    assert_memory_equal(call->data, wanted, sizeof wanted);
    struct bytes bytes = {call->data, call->len};
    assert_true(call_get_nodes(bytes, &index, &at));
    assert_int_equal(index, 513);
    assert_true(call_next_node(bytes, &at, &node));
    assert_int_equal(node.id, 7);
    assert_true(bytes_equal(node.address, bytes_from_string("h:74")));
    assert_true(call_next_node(bytes, &at, &node));
    assert_int_equal(node.id, 8);
    assert_int_equal(node.address.length, 0);
    assert_false(call_next_node(bytes, &at, &node));
}

static void what_is_of_another_kind_says_nothing(void **state)
{
    const uint8_t newer[CALL_ENDED_BYTES] = {99};
    struct call_ended ended;
    uint64_t index;
    size_t at;

    assert_false(call_get_ended((struct bytes){newer, sizeof newer}, &ended));
    assert_false(call_get_nodes((struct bytes){newer, sizeof newer}, &index, &at));
    assert_false(call_get_nodes((struct bytes){NULL, 0}, &index, &at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_of_a_leader),
        cmocka_unit_test(who_is_there),
        cmocka_unit_test(what_is_of_another_kind_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

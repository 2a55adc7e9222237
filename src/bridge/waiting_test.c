/* Tests of the messages that wait for the other side. */
#include "bridge/waiting.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void messages_come_out_as_they_went_in(void **state)
{
    GQueue queue = G_QUEUE_INIT;

    assert_null(waiting_first(&queue));
    for (unsigned i = 0; i < 3; i++) {
        char topic[] = "t0", payload[] = "p0";
        topic[1] = payload[1] = (char)('0' + i);
        struct client_message message = {.topic = bytes_from_string(topic),
                                         .payload = bytes_from_string(payload),
                                         .qos = 1,
                                         .retain = i == 1};
        waiting_push(&queue, &message, i);
        memset(topic, 'x', 2); /* it has its own bytes */
    }
    for (unsigned i = 0; i < 3; i++) {
        const struct waiting *first = waiting_first(&queue);
        assert_int_equal(first->token, i);
        assert_int_equal(first->message.topic.length, 2);
        assert_int_equal(first->message.topic.at[1], '0' + i);
        assert_int_equal(first->message.payload.at[1], '0' + i);
        assert_int_equal(first->message.properties.length, 0);
        assert_int_equal(first->message.retain, i == 1);
        waiting_pop(&queue);
    }
    assert_null(waiting_first(&queue));
}

static void a_queue_that_is_cleared_is_empty(void **state)
{
    GQueue queue = G_QUEUE_INIT;
    struct client_message message = {.topic = bytes_from_string("t"),
                                     .properties = bytes_from_string("x")};

    waiting_push(&queue, &message, 1);
    waiting_push(&queue, &message, 2);
    waiting_clear(&queue);
    assert_null(waiting_first(&queue));
    waiting_clear(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_as_they_went_in),
        cmocka_unit_test(a_queue_that_is_cleared_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

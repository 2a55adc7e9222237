/* Records: what was written is read back, what nobody may send is refused. */
#include "mqtt/remote/record.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

static struct bytes view(const GByteArray *frame)
{
    return (struct bytes){frame->data, frame->len};
}

#define assert_text(bytes, expected) assert_true(bytes_equal(bytes, text(expected)))

static void every_record_is_read_as_it_was_written(void **state)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    struct remote_hello hello = {5, 6, 7, 8};
    struct remote_record record;
    size_t at = 0;

    remote_put_hello(frame, &hello);
    remote_put_interest(frame, text("a/+"), 3);
    remote_put_number(frame, REMOTE_INTEREST_END, 0);
    remote_put_number(frame, REMOTE_ACK, 1ull << 40);
    remote_put_claim(frame, 9, 10, text("c"));
    remote_put_sync(frame, 11, 12);
    remote_put_client(frame, REMOTE_HOLD, text("slow"));
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_memory_equal(&record.hello, &hello, sizeof hello);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_text(record.text, "a/+");
    assert_int_equal(record.index, 3);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.kind, REMOTE_INTEREST_END);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.number, 1ull << 40);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.number, 9);
    assert_int_equal(record.index, 10);
    assert_text(record.text, "c");
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.index, 12);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.kind, REMOTE_HOLD);
    assert_text(record.text, "slow");
    assert_int_equal(remote_record_next(view(frame), &at, &record), 0);
}

static void a_publish_keeps_all_that_it_has(void **state)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    g_autoptr(GByteArray) shares = g_byte_array_new();
    static const uint8_t properties[] = {0x01, 0x01};
    struct remote_record record;
    struct bytes filter;
    size_t at = 0, share = 0;

    remote_share_append(shares, text("$share/g/a/+"));
    remote_share_append(shares, text("$share/h/#"));
    struct remote_publish publish = {.number = 7,
                                     .after_index = 8,
                                     .left_ms = 9,
                                     .publisher = text("me"),
                                     .shares = view(shares),
                                     .topic = text("a/b"),
                                     .properties = {properties, sizeof properties},
                                     .payload = text("hello"),
                                     .qos = 2,
                                     .retain = true};
    assert_true(remote_put_publish(frame, &publish));
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.publish.number, 7);
    assert_int_equal(record.publish.after_index, 8);
    assert_int_equal(record.publish.left_ms, 9);
    assert_int_equal(record.publish.qos, 2);
    assert_true(record.publish.retain);
    assert_text(record.publish.publisher, "me");
    assert_text(record.publish.topic, "a/b");
    assert_text(record.publish.payload, "hello");
    assert_true(bytes_equal(record.publish.properties, publish.properties));
    assert_true(remote_share_next(record.publish.shares, &share, &filter));
    assert_text(filter, "$share/g/a/+");
    assert_true(remote_share_next(record.publish.shares, &share, &filter));
    assert_text(filter, "$share/h/#");
    assert_false(remote_share_next(record.publish.shares, &share, &filter));
}

static int read_one(GByteArray *frame)
{
    struct remote_record record;
    size_t at = 0;
    int r = remote_record_next(view(frame), &at, &record);

    g_byte_array_set_size(frame, 0);
    return r;
}

static int publish_of(GByteArray *frame, const char *topic, const char *publisher,
                      const char *share)
{
    g_autoptr(GByteArray) shares = g_byte_array_new();
    struct remote_publish publish = {
        .number = 1, .topic = text(topic), .publisher = text(publisher)};

    if (share) {
        remote_share_append(shares, text(share));
    }
    publish.shares = view(shares);
    remote_put_publish(frame, &publish);
    return read_one(frame);
}

static void what_nobody_may_send_is_refused(void **state)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();

    assert_int_equal(read_one(frame), -EBADMSG);
    remote_put_interest(frame, text("a/#/b"), 1);
    assert_int_equal(read_one(frame), -EBADMSG);
    remote_put_client(frame, REMOTE_HOLD, text(""));
    assert_int_equal(read_one(frame), -EBADMSG);
    remote_put_client(frame, REMOTE_RELEASE, text("\xff"));
    assert_int_equal(read_one(frame), -EBADMSG);
    assert_int_equal(publish_of(frame, "a/b", "c", "$share/g/a/b"), 1);
    assert_int_equal(publish_of(frame, "a/+", "c", NULL), -EBADMSG);
    assert_int_equal(publish_of(frame, "a", "\xff", NULL), -EBADMSG);
    assert_int_equal(publish_of(frame, "a", "c", "not/shared"), -EBADMSG);
    remote_put_number(frame, REMOTE_ACK, 1);
    g_byte_array_set_size(frame, frame->len - 1);
    assert_int_equal(read_one(frame), -EBADMSG);
    remote_put_number(frame, REMOTE_ACK, 1);
    frame->data[0] = REMOTE_VERSION + 1;
    assert_int_equal(read_one(frame), -ENOTSUP);
}

/* So that nodes of neighbouring versions understand each other. */
static void a_kind_that_is_not_known_is_passed_over(void **state)
{
    static const uint8_t newer[] = {REMOTE_VERSION, 200, 0, 0, 0, 2, 'x', 'y'};
    g_autoptr(GByteArray) frame = g_byte_array_new();
    struct remote_record record;
    size_t at = 0;

    g_byte_array_append(frame, newer, sizeof newer);
    remote_put_number(frame, REMOTE_ACK, 3);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.kind, 200);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.number, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_record_is_read_as_it_was_written),
        cmocka_unit_test(a_publish_keeps_all_that_it_has),
        cmocka_unit_test(what_nobody_may_send_is_refused),
        cmocka_unit_test(a_kind_that_is_not_known_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

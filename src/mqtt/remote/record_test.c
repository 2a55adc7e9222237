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

static const uint8_t first_packet[] = {0x30, 6, 0, 1, 'a', 'o', 'n', 'e'};
static const uint8_t second_packet[] = {0x30, 6, 0, 1, 'b', 't', 'w', 'o'};

static struct remote_publish run_of(uint64_t number, const char *publisher, const uint8_t *packet,
                                    size_t length)
{
    return (struct remote_publish){.number = number,
                                   .after_index = 5,
                                   .publisher = text(publisher),
                                   .packet = {packet, length},
                                   .version = 4};
}

static void a_run_keeps_its_packets_in_order(void **state)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    struct remote_publish run = run_of(7, "me", first_packet, sizeof first_packet);
    struct remote_publish more = run_of(9, "me", second_packet, sizeof second_packet);
    struct remote_record record;
    size_t at = 0, packet = 0;

    assert_true(remote_put_run(frame, &run));
    assert_true(remote_extend_run(frame, 1, &more));
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    assert_int_equal(record.kind, REMOTE_RUN);
    assert_int_equal(record.publish.number, 9);
    assert_int_equal(record.publish.after_index, 5);
    struct remote_publish publish = record.publish;
    assert_int_equal(remote_run_next(&record.publish, &packet, &publish), 1);
    assert_text(publish.publisher, "me");
    assert_text(publish.topic, "a");
    assert_text(publish.payload, "one");
    assert_memory_equal(publish.packet.at, first_packet, sizeof first_packet);
    assert_int_equal(publish.packet.length, sizeof first_packet);
    assert_int_equal(remote_run_next(&record.publish, &packet, &publish), 1);
    assert_text(publish.topic, "b");
    assert_text(publish.payload, "two");
    assert_int_equal(remote_run_next(&record.publish, &packet, &publish), 0);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 0);
}

static void another_run_is_not_gone_on_with(void **state)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    struct remote_publish run = run_of(7, "me", first_packet, sizeof first_packet);

    remote_put_run(frame, &run);
    guint length = frame->len;
    struct remote_publish of_other = run_of(8, "we", first_packet, sizeof first_packet);
    assert_false(remote_extend_run(frame, 1, &of_other));
    of_other.publisher = text("me2");
    assert_false(remote_extend_run(frame, 1, &of_other));
    struct remote_publish later = run;
    later.after_index++;
    assert_false(remote_extend_run(frame, 1, &later));
    struct remote_publish newer = run;
    newer.version = 5;
    assert_false(remote_extend_run(frame, 1, &newer));
    assert_int_equal(frame->len, length);
}

static int read_run(const uint8_t *packet, size_t length)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    struct remote_publish run = run_of(7, "me", packet, length);
    struct remote_record record;
    size_t at = 0;

    remote_put_run(frame, &run);
    assert_int_equal(remote_record_next(view(frame), &at, &record), 1);
    struct remote_publish publish = record.publish;
    at = 0;
    return remote_run_next(&record.publish, &at, &publish);
}

static void a_run_holds_only_what_came_with_qos_0(void **state)
{
    static const uint8_t retained[] = {0x31, 3, 0, 1, 'a'}, pingreq[] = {0xc0, 0};
    static const uint8_t qos_1[] = {0x32, 5, 0, 1, 'a', 0, 1};
    g_autoptr(GByteArray) frame = g_byte_array_new();
    struct remote_publish unknown = run_of(7, "me", first_packet, sizeof first_packet);
    struct remote_record record;
    size_t at = 0;

    assert_int_equal(read_run(first_packet, sizeof first_packet), 1);
    assert_int_equal(read_run(first_packet, sizeof first_packet - 1), -EBADMSG);
    assert_int_equal(read_run(retained, sizeof retained), -EBADMSG);
    assert_int_equal(read_run(qos_1, sizeof qos_1), -EBADMSG);
    assert_int_equal(read_run(pingreq, sizeof pingreq), -EBADMSG);
    unknown.version = 6;
    remote_put_run(frame, &unknown);
    assert_int_equal(remote_record_next(view(frame), &at, &record), -EBADMSG);
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
        cmocka_unit_test(a_run_keeps_its_packets_in_order),
        cmocka_unit_test(another_run_is_not_gone_on_with),
        cmocka_unit_test(a_run_holds_only_what_came_with_qos_0),
        cmocka_unit_test(what_nobody_may_send_is_refused),
        cmocka_unit_test(a_kind_that_is_not_known_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

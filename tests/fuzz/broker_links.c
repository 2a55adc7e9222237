/* Fuzzes what brokers of other nodes say (mqtt/remote/record.h): the input is a frame. What is read
 * is written again, and must be read the same. */
#include "mqtt/remote/record.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check_publish(const struct remote_publish *publish)
{
    GByteArray *frame = g_byte_array_new();
    struct bytes filter;
    struct remote_record again;
    size_t at = 0;

    while (remote_share_next(publish->shares, &at, &filter)) {
        assert(filter.length > 0);
    }
    assert(remote_put_publish(frame, publish));
    at = 0;
    assert(remote_record_next((struct bytes){frame->data, frame->len}, &at, &again) == 1);
    assert(again.publish.number == publish->number && again.publish.qos == publish->qos);
    assert(bytes_equal(again.publish.topic, publish->topic));
    assert(bytes_equal(again.publish.payload, publish->payload));
    assert(bytes_equal(again.publish.properties, publish->properties));
    assert(bytes_equal(again.publish.publisher, publish->publisher));
    g_byte_array_unref(frame);
}

static void check_run(const struct remote_publish *run)
{
    GByteArray *frame = g_byte_array_new();
    struct remote_publish publish = *run;
    struct remote_record again;
    size_t at = 0, end = 0;

    for (size_t last = 0; remote_run_next(run, &at, &publish) == 1; last = at) {
        assert(publish.packet.at == run->packet.at + last && at <= run->packet.length);
        publish.number = run->number;
        assert(frame->len > 0 ? remote_extend_run(frame, 1, &publish)
                              : remote_put_run(frame, &publish));
    }
    if (frame->len > 0) {
        assert(remote_record_next((struct bytes){frame->data, frame->len}, &end, &again) == 1);
        assert(bytes_equal(again.publish.packet, (struct bytes){run->packet.at, at}));
        assert(bytes_equal(again.publish.publisher, run->publisher));
    }
    g_byte_array_unref(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct bytes frame = {input, size};
    struct remote_record record;
    size_t at = 0;

    while (remote_record_next(frame, &at, &record) == 1) {
        assert(at <= size);
        if (record.kind == REMOTE_PUBLISH) {
            check_publish(&record.publish);
        } else if (record.kind == REMOTE_RUN) {
            check_run(&record.publish);
        }
    }
    return 0;
}

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

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct bytes frame = {input, size};
    struct remote_record record;
    size_t at = 0;

    while (remote_record_next(frame, &at, &record) == 1) {
        assert(at <= size);
        if (record.kind == REMOTE_PUBLISH) {
            check_publish(&record.publish);
        }
    }
    return 0;
}

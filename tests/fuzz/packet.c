/* Fuzzes the packet codec as a connection uses it: the first byte chooses the version, the rest is
 * the stream of packets that comes in. Every frame goes through the decoder of its type, every view
 * is read, and what decodes is encoded again where there is a way. */
#include "packet/packet.h"
#include <assert.h>
#include <stdlib.h>

#define PACKET_BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* A view must lie within the frame. */
static void read_view(struct bytes view)
{
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < view.length; i++) {
        sum = (uint8_t)(sum + view.at[i]);
    }
}

static void read_properties(const struct properties *properties)
{
    GByteArray *forwarded = g_byte_array_new();
    struct bytes name, value;
    size_t at = 0;
    uint32_t id;

    read_view(properties->raw);
    while (properties_next_user(properties, &at, &name, &value)) {
        read_view(name);
        read_view(value);
    }
    for (at = 0; properties_next_subscription_id(properties, &at, &id);) {
        assert(id > 0);
    }
    properties_append_forwarded(properties, forwarded);
    assert(forwarded->len <= properties->raw.length);
    g_byte_array_unref(forwarded);
}

static void try_connect(const struct packet_frame *frame, uint8_t *version)
{
    struct packet_connect connect, again;

    if (packet_connect_decode(frame, &connect) != 0) {
        return;
    }
    *version = connect.version;
    read_properties(&connect.properties);
    read_properties(&connect.will.properties);
    GByteArray *bytes = g_byte_array_new();
    struct packet_frame encoded;
    packet_connect_encode(&connect, bytes);
    int r = packet_frame_find((struct bytes){bytes->data, bytes->len}, UINT32_MAX, &encoded);
    assert(r == 1 && packet_connect_decode(&encoded, &again) == 0);
    assert(bytes_equal(connect.client_id, again.client_id) &&
           bytes_equal(connect.will.payload, again.will.payload));
    g_byte_array_unref(bytes);
}

static void try_publish(const struct packet_frame *frame, uint8_t version)
{
    struct packet_publish publish, again;

    if (packet_publish_decode(frame, version, &publish) != 0) {
        return;
    }
    read_view(publish.topic);
    read_view(publish.payload);
    read_properties(&publish.properties);
    struct packet_publish_head head = {.topic = publish.topic,
                                       .forwarded = publish.properties.raw,
                                       .payload_bytes = (uint32_t)publish.payload.length,
                                       .packet_id = publish.packet_id,
                                       .version = version,
                                       .qos = publish.qos,
                                       .retain = publish.retain,
                                       .dup = publish.dup};
    uint32_t size = packet_publish_size(&head);
    uint8_t *bytes = malloc(size);
    uint32_t head_bytes = packet_publish_encode(&head, bytes);
    assert(head_bytes + publish.payload.length == size);
    if (publish.payload.length > 0) {
        memcpy(bytes + head_bytes, publish.payload.at, publish.payload.length);
    }
    struct packet_frame encoded;
    int r = packet_frame_find((struct bytes){bytes, size}, UINT32_MAX, &encoded);
    assert(r == 1 && packet_publish_decode(&encoded, version, &again) == 0);
    assert(bytes_equal(publish.topic, again.topic) && bytes_equal(publish.payload, again.payload));
    free(bytes);
}

static void try_subscribe(const struct packet_frame *frame, uint8_t version)
{
    struct packet_subscribe packet;
    struct packet_subscription subscription;
    unsigned count = 0;

    if (packet_subscribe_decode(frame, version, &packet) != 0) {
        return;
    }
    for (; packet_subscribe_next(&packet, version, &subscription); count++) {
        assert(subscription.qos <= 2 && subscription.retain_handling <= 2 &&
               subscription.filter.length > 0);
        read_view(subscription.filter);
    }
    assert(count == packet.count);
}

static void try_unsubscribe(const struct packet_frame *frame, uint8_t version)
{
    struct packet_subscribe packet;
    struct bytes filter;
    unsigned count = 0;

    if (packet_unsubscribe_decode(frame, version, &packet) != 0) {
        return;
    }
    for (; packet_unsubscribe_next(&packet, &filter); count++) {
        read_view(filter);
    }
    assert(count == packet.count);
}

static void try_frame(const struct packet_frame *frame, uint8_t *version)
{
    switch (frame->type) {
    case PACKET_CONNECT:
        try_connect(frame, version);
        break;
    case PACKET_PUBLISH:
        try_publish(frame, *version);
        break;
    case PACKET_SUBSCRIBE:
        try_subscribe(frame, *version);
        break;
    case PACKET_UNSUBSCRIBE:
        try_unsubscribe(frame, *version);
        break;
    default: /* the rest is decoded there */
        break;
    }
    g_free(packet_frame_describe(frame, *version));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0) {
        return 0;
    }
    uint8_t version = PACKET_MQTT_3_1 + input[0] % 3;
    struct bytes rest = {input + 1, size - 1};
    struct packet_frame frame;

    while (packet_frame_find(rest, PACKET_BYTES_MAX, &frame) == 1) {
        try_frame(&frame, &version);
        rest = (struct bytes){rest.at + frame.total_bytes, rest.length - frame.total_bytes};
    }
    return 0;
}

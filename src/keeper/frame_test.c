/* Frames against bytes that were read off a wire, and what must not be taken for a conflict. */
#include "keeper/frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t own[] = {0x02, 0, 0, 0, 0, 0x01};
static const uint8_t other[] = {0x02, 0, 0, 0, 0, 0x02};
static const uint8_t ip4[] = {192, 168, 1, 50};
static const uint8_t ip6[] = {0xfd, 0, [15] = 0x50};

static void an_arp_probe_has_no_sender_address(void **state)
{
    static const uint8_t expected[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0,
                                       0x01, 0x08, 0x06, 0,    1,    8,    0,    6, 4, 0, 1,
                                       2,    0,    0,    0,    0,    1,    0,    0, 0, 0, 0,
                                       0,    0,    0,    0,    0,    192,  168,  1, 50};
    struct frame frame;

    frame_probe(&frame, ip4, false, own);
    assert_int_equal(frame.length, sizeof expected);
    assert_memory_equal(frame.bytes, expected, sizeof expected);
}

static void a_gratuitous_arp_has_the_address_twice(void **state)
{
    struct frame frame;

    frame_announce(&frame, ip4, false, own);
    assert_int_equal(frame.length, 42);
    assert_memory_equal(frame.bytes + 28, ip4, sizeof ip4);
    assert_memory_equal(frame.bytes + 38, ip4, sizeof ip4);
}

/* One's complement sum over pseudo header and body must be all ones. */
static unsigned sum_of(const uint8_t *pseudo, size_t pseudo_bytes, const uint8_t *body,
                       size_t length, unsigned protocol)
{
    uint32_t sum = (uint32_t)length + protocol;

    for (size_t i = 0; i < pseudo_bytes; i += 2) {
        sum += (uint32_t)(pseudo[i] << 8 | pseudo[i + 1]);
    }
    for (size_t i = 0; i < length; i += 2) {
        sum += (uint32_t)(body[i] << 8 | body[i + 1]);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static void neighbour_discovery_is_sent_as_rfc_4861_wants_it(void **state)
{
    struct frame frame;

    frame_probe(&frame, ip6, true, own);
    assert_int_equal(frame.length, 14 + 40 + 24);
    assert_int_equal(frame.bytes[14 + 7], 255); /* hop limit */
    assert_int_equal(frame.bytes[54], 135);
    assert_int_equal(sum_of(frame.bytes + 22, 32, frame.bytes + 54, 24, 58), 0xffff);
    frame_announce(&frame, ip6, true, own);
    assert_int_equal(frame.length, 14 + 40 + 32);
    assert_int_equal(frame.bytes[54], 136);
    assert_int_equal(frame.bytes[58], 0x20); /* override */
    assert_memory_equal(frame.bytes + 62, ip6, sizeof ip6);
    assert_memory_equal(frame.bytes + 80, own, sizeof own);
    assert_int_equal(sum_of(frame.bytes + 22, 32, frame.bytes + 54, 32, 58), 0xffff);
}

static bool is_conflict(const struct frame *frame, bool is_ipv6)
{
    uint8_t who[FRAME_MAC_BYTES];
    bool is =
        frame_is_conflict(frame->bytes, frame->length, is_ipv6 ? ip6 : ip4, is_ipv6, own, who);

    if (is) {
        assert_memory_equal(who, other, sizeof other);
    }
    return is;
}

static void who_announces_or_probes_the_address_is_a_conflict(void **state)
{
    struct frame frame;

    for (unsigned is_ipv6 = 0; is_ipv6 <= 1; is_ipv6++) {
        const uint8_t *address = is_ipv6 ? ip6 : ip4;
        frame_announce(&frame, address, is_ipv6, other);
        assert_true(is_conflict(&frame, is_ipv6));
        frame_probe(&frame, address, is_ipv6, other);
        assert_true(is_conflict(&frame, is_ipv6));
    }
}

static void our_own_frames_are_none(void **state)
{
    struct frame frame;

    for (unsigned is_ipv6 = 0; is_ipv6 <= 1; is_ipv6++) {
        frame_announce(&frame, is_ipv6 ? ip6 : ip4, is_ipv6, own);
        assert_false(is_conflict(&frame, is_ipv6));
        frame_probe(&frame, is_ipv6 ? ip6 : ip4, is_ipv6, own);
        assert_false(is_conflict(&frame, is_ipv6));
    }
}

static void who_asks_for_the_way_to_it_is_none(void **state)
{
    struct frame frame;

    frame_probe(&frame, ip4, false, other);
    frame.bytes[28] = 192; /* a sender with an address of his own: not a probe */
    assert_false(is_conflict(&frame, false));
    frame_probe(&frame, ip6, true, other);
    frame.bytes[22] = 0xfe;
    assert_false(is_conflict(&frame, true));
}

static void another_address_is_none(void **state)
{
    static const uint8_t neighbour[] = {192, 168, 1, 51};
    struct frame frame;

    frame_announce(&frame, neighbour, false, other);
    assert_false(is_conflict(&frame, false));
}

static void frames_cut_anywhere_say_nothing(void **state)
{
    struct frame frame;

    for (unsigned is_ipv6 = 0; is_ipv6 <= 1; is_ipv6++) {
        frame_announce(&frame, is_ipv6 ? ip6 : ip4, is_ipv6, other);
        for (size_t length = 0; length < (is_ipv6 ? 78u : 42u); length++) {
            frame.length = length;
            assert_false(is_conflict(&frame, is_ipv6));
        }
    }
}

static void a_tickle_is_a_bare_ack_with_right_checksums(void **state)
{
    struct frame_tickle tickle = {
        .from = {10, 0, 0, 100}, .to = {10, 0, 0, 7}, .from_port = 1883, .to_port = 40000};
    struct frame frame;

    frame_tickle(&frame, &tickle);
    assert_int_equal(frame.length, 40);
    assert_int_equal(sum_of(frame.bytes, 20, NULL, 0, 0), 0xffff);
    assert_int_equal(sum_of(frame.bytes + 12, 8, frame.bytes + 20, 20, 6), 0xffff);
    assert_int_equal(frame.bytes[20] << 8 | frame.bytes[21], 1883);
    assert_int_equal(frame.bytes[33], 0x10);
    static const uint8_t zeros[8];
    assert_memory_equal(frame.bytes + 24, zeros, sizeof zeros); /* sequence, acknowledgement */
    tickle.is_ipv6 = true;
    frame_tickle(&frame, &tickle);
    assert_int_equal(frame.length, 60);
    assert_int_equal(sum_of(frame.bytes + 8, 32, frame.bytes + 40, 20, 6), 0xffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arp_probe_has_no_sender_address),
        cmocka_unit_test(a_gratuitous_arp_has_the_address_twice),
        cmocka_unit_test(neighbour_discovery_is_sent_as_rfc_4861_wants_it),
        cmocka_unit_test(who_announces_or_probes_the_address_is_a_conflict),
        cmocka_unit_test(our_own_frames_are_none),
        cmocka_unit_test(who_asks_for_the_way_to_it_is_none),
        cmocka_unit_test(another_address_is_none),
        cmocka_unit_test(frames_cut_anywhere_say_nothing),
        cmocka_unit_test(a_tickle_is_a_bare_ack_with_right_checksums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Finding the next packet in the input: its first byte, its remaining length, its body.
 *
 * What can be refused is refused at the earliest byte: a reserved type or reserved flags with the
 * first, a length of five bytes with its fifth, a packet above the limit before its body has come.
 */
#include "packet/reader.h"

/* Flags of the first byte (MQTT 5, 2.1.3); PUBLISH has flags of its own meaning. */
static const uint8_t flags_of_type[16] = {
    [PACKET_PUBREL] = 2, [PACKET_SUBSCRIBE] = 2, [PACKET_UNSUBSCRIBE] = 2};

static bool is_known(uint8_t first)
{
    uint8_t type = first >> 4;
    return type == PACKET_PUBLISH || (type != 0 && (first & 0x0f) == flags_of_type[type]);
}

/* PINGREQ and PINGRESP have no body; nobody decodes them further. */
static bool is_ping(uint8_t type)
{
    return type == PACKET_PINGREQ || type == PACKET_PINGRESP;
}

int packet_frame_find(struct bytes input, uint32_t packet_bytes_max, struct packet_frame *frame)
{
    uint32_t length = 0, head_bytes = 1;

    frame->total_bytes = 0;
    if (input.length == 0) {
        return 0;
    }
    if (!is_known(input.at[0])) {
        return -REASON_MALFORMED_PACKET;
    }
    for (unsigned shift = 0;; shift += 7) {
        if (shift == 28) {
            return -REASON_MALFORMED_PACKET;
        }
        if (head_bytes == input.length) {
            return 0;
        }
        uint8_t byte = input.at[head_bytes++];
        length |= (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            break;
        }
    }
    frame->type = input.at[0] >> 4;
    frame->flags = input.at[0] & 0x0f;
    frame->total_bytes = head_bytes + length;
    if (is_ping(frame->type) && length > 0) {
        return -REASON_MALFORMED_PACKET;
    }
    if (frame->total_bytes > packet_bytes_max) {
        return -REASON_PACKET_TOO_LARGE;
    }
    frame->body = (struct bytes){input.at + head_bytes, length};
    return frame->total_bytes <= input.length;
}

/* See ahead.h. Only whole PUBLISH packets are looked at, and of those only the topic's place: what
 * is wrong with them is found when their turn comes. */
#include "mqtt/ahead.h"
#include "mqtt/broker_private.h"
#include "packet/packet.h"
#include "topic/tree.h"

size_t ahead_look(const struct broker *broker, struct bytes input)
{
    struct bytes topics[TOPIC_PREFETCH_MAX];
    struct packet_frame frame;
    unsigned count = 0;
    size_t at = 0;

    while (count < TOPIC_PREFETCH_MAX &&
           packet_frame_find((struct bytes){input.at + at, input.length - at}, UINT32_MAX,
                             &frame) == 1 &&
           frame.type == PACKET_PUBLISH && frame.body.length > 2) {
        size_t length = (size_t)frame.body.at[0] << 8 | frame.body.at[1];
        topics[count++] = (struct bytes){frame.body.at + 2, MIN(length, frame.body.length - 2)};
        at += frame.total_bytes;
    }
    if (count > 1) {
        route_cache_prefetch(&broker->routes, topics, count);
    }
    return at;
}

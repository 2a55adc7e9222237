/* Backpressure: a subscriber that does not keep up holds its publishers back, for a while (design:
 * MQTT, Backpressure).
 *
 * A subscriber is congested when its output buffer is above the high-water mark or too many of its
 * deliveries wait. Its publishers are then not read. After FLOW_QOS_0_HOLD_MS only QoS > 0 goes on
 * holding: QoS 0 to it is dropped, and counted. After mqtt.slow_subscriber_ms, if deliveries still
 * wait, it is disconnected. So nothing that was acknowledged is lost to a live subscriber, and one
 * bad client does not stop a house. */
#pragma once

#include "mqtt/connection.h"

#define FLOW_QOS_0_HOLD_MS 100

/* Is it congested now? Marks it when it becomes so. */
bool flow_is_congested(struct connection *subscriber);
/* Stops reading from `publisher` until `subscriber` has drained. */
void flow_hold(struct connection *publisher, struct connection *subscriber);
/* Something drained: lets publishers go on when the subscriber has recovered. */
void flow_update(struct connection *subscriber);
/* It ends: lets all go that it holds, and leaves who holds it. */
void flow_forget(struct connection *connection);
/* The timer for slow subscribers. */
void flow_on_timer(void *owner /* broker */);

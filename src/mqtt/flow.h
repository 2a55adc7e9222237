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

/* Made when a connection is first congested, held, or holds others; lives as long as it does. */
struct flow {
    struct connection *connection;
    struct list congested_link;  /* in broker.congested */
    struct list held_link;       /* in the `holding` list of who holds this publisher back */
    struct list holding;         /* publishers that wait for this subscriber: of flow.held_link */
    uint64_t congested_since_ms; /* loop time */
    void (*on_released)(
        struct flow *flow); /* of a publisher that is no connection here; else NULL */
};

/* Was it, when it was last looked at? */
bool flow_was_congested(const struct connection *subscriber);
bool flow_is_held(const struct connection *publisher);
/* Is it congested now? Marks it when it becomes so. */
bool flow_is_congested(struct connection *subscriber);
/* Stops reading from `publisher` until `subscriber` has drained. */
void flow_hold(struct connection *publisher, struct connection *subscriber);
/* Stops reading from `publisher` until flow_release of the list, if nobody else holds it. */
void flow_hold_in(struct list *holding, struct connection *publisher);
/* Lets all in it go on. */
void flow_release(struct list *holding);
/* The same as flow_hold for a publisher on another node, whose `flow` is the caller's until
 * `on_released`, which is called once. False when the subscriber is about to go: then it is not. */
bool flow_hold_other(struct flow *flow, void (*on_released)(struct flow *flow),
                     struct connection *subscriber);
/* Something drained: lets publishers go on when the subscriber has recovered. */
void flow_update(struct connection *subscriber);
/* It ends: lets all go that it holds, leaves who holds it, frees its flow. */
void flow_forget(struct connection *connection);
/* Settings have changed. */
void flow_look_again(struct broker *broker);
/* The timer for slow subscribers. */
void flow_on_timer(void *owner /* broker */);

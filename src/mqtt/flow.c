/* Holding publishers back; see flow.h. One timer for all: it stands at the earliest time at which
 * one of `broker.congested` is to be looked at. */
#include "mqtt/flow.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/broker_private.h"
#include "net/stream.h"

static uint64_t waiting_deliveries(const struct connection *subscriber)
{
    if (!subscriber->session) {
        return 0;
    }
    uint64_t end = delivery_ring_end(&subscriber->session->deliveries);
    return end > subscriber->next_sequence ? end - subscriber->next_sequence : 0;
}

/* A persistent session keeps its queue when its client goes, and then its limits are those of
 * mqtt.queue_*: publishers are held at half of them, so that what is on its way still fits. */
static uint64_t limit_of(const struct connection *subscriber, uint64_t live, uint64_t persistent)
{
    return subscriber->is_persistent ? MIN(live, persistent / 2 + 1) : live;
}

static uint64_t waiting_max(const struct connection *subscriber)
{
    const struct settings *settings = subscriber->broker->settings;

    return limit_of(subscriber, settings->live_queue_messages_max, settings->queue_messages_max);
}

static uint64_t bytes_max(const struct connection *subscriber)
{
    const struct settings *settings = subscriber->broker->settings;

    return limit_of(subscriber, settings->live_queue_bytes_max, settings->queue_bytes_max);
}

static bool is_over(const struct connection *subscriber)
{
    return waiting_deliveries(subscriber) >= waiting_max(subscriber) ||
           (subscriber->session && subscriber->session->deliveries.bytes >= bytes_max(subscriber));
}

static struct flow *flow_of(struct connection *connection)
{
    if (!connection->flow) {
        struct flow *flow = g_new0(struct flow, 1);
        flow->connection = connection;
        list_init(&flow->congested_link);
        list_init(&flow->held_link);
        list_init(&flow->holding);
        connection->flow = flow;
    }
    return connection->flow;
}

bool flow_was_congested(const struct connection *subscriber)
{
    return subscriber->flow && !list_is_empty(&subscriber->flow->congested_link);
}

bool flow_is_held(const struct connection *publisher)
{
    return publisher->flow && !list_is_empty(&publisher->flow->held_link);
}

static uint64_t due_ms_of(const struct flow *flow)
{
    const struct connection *subscriber = flow->connection;

    return flow->congested_since_ms + (subscriber->is_dropping
                                           ? subscriber->broker->settings->slow_subscriber_ms
                                           : FLOW_QOS_0_HOLD_MS);
}

static void arm_at(struct broker *broker, uint64_t due_ms)
{
    uint64_t now_ms = loop_now_ms(broker->loop);

    if (!timer_is_active(broker->slow_timer) || due_ms < broker->slow_due_ms) {
        broker->slow_due_ms = due_ms;
        timer_start(broker->slow_timer, due_ms > now_ms ? due_ms - now_ms : 1);
    }
}

bool flow_is_congested(struct connection *subscriber)
{
    if (flow_was_congested(subscriber)) {
        return true;
    }
    if (!subscriber->stream ||
        (stream_pending_bytes(subscriber->stream) < STREAM_HIGH_WATER_BYTES &&
         !is_over(subscriber))) {
        return false;
    }
    struct broker *broker = subscriber->broker;
    struct flow *flow = flow_of(subscriber);
    flow->congested_since_ms = loop_now_ms(broker->loop);
    list_append(&broker->congested, &flow->congested_link);
    connection_update_reading(subscriber);
    arm_at(broker, due_ms_of(flow));
    return true;
}

void flow_hold_in(struct list *holding, struct connection *publisher)
{
    if (flow_is_held(publisher) || publisher->state == CONNECTION_ENDED) {
        return;
    }
    list_append(holding, &flow_of(publisher)->held_link);
    publisher->broker->counters.publishers_held++;
    connection_update_reading(publisher);
}

void flow_hold(struct connection *publisher, struct connection *subscriber)
{
    if (publisher != subscriber) { /* one that publishes to itself would wait for ever */
        flow_hold_in(&flow_of(subscriber)->holding, publisher);
    }
}

bool flow_hold_other(struct flow *flow, void (*on_released)(struct flow *flow),
                     struct connection *subscriber)
{
    if (subscriber->state == CONNECTION_ENDED) {
        return false;
    }
    flow->on_released = on_released;
    list_init(&flow->held_link);
    list_append(&flow_of(subscriber)->holding, &flow->held_link);
    return true;
}

void flow_release(struct list *holding)
{
    while (!list_is_empty(holding)) {
        struct flow *held = list_entry(holding->next, struct flow, held_link);
        list_remove(&held->held_link);
        if (held->on_released) {
            held->on_released(held);
        } else {
            connection_update_reading(held->connection);
        }
    }
}

void flow_update(struct connection *subscriber)
{
    if (!flow_was_congested(subscriber)) {
        return;
    }
    bool has_drained = (!subscriber->stream ||
                        stream_pending_bytes(subscriber->stream) < STREAM_LOW_WATER_BYTES) &&
                       waiting_deliveries(subscriber) <= waiting_max(subscriber) / 2 &&
                       (!subscriber->session ||
                        subscriber->session->deliveries.bytes <= bytes_max(subscriber) / 2);
    if (has_drained) {
        list_remove(&subscriber->flow->congested_link);
        subscriber->is_dropping = false;
        flow_release(&subscriber->flow->holding);
        connection_update_reading(subscriber);
    }
}

void flow_forget(struct connection *connection)
{
    if (connection->flow) {
        list_remove(&connection->flow->congested_link);
        list_remove(&connection->flow->held_link);
        flow_release(&connection->flow->holding);
        g_clear_pointer(&connection->flow, g_free);
    }
}

/* QoS 0 waits no longer for it. */
static void start_dropping(struct connection *subscriber)
{
    subscriber->is_dropping = true;
    flow_release(&subscriber->flow->holding);
}

static void disconnect_slow(struct connection *subscriber)
{
    subscriber->broker->counters.slow_disconnects++;
    log_warning("subscriber too slow, disconnected", "client=%s waiting=%llu",
                subscriber->session->client_id, (unsigned long long)waiting_deliveries(subscriber));
    connection_end(subscriber, REASON_QUOTA_EXCEEDED, "too slow: mqtt.slow_subscriber_ms");
}

static void look_at(struct flow *flow, uint64_t now_ms)
{
    struct connection *subscriber = flow->connection;
    uint64_t since_ms = now_ms - flow->congested_since_ms;

    if (!subscriber->is_dropping && since_ms >= FLOW_QOS_0_HOLD_MS) {
        start_dropping(subscriber);
    }
    if (since_ms < subscriber->broker->settings->slow_subscriber_ms) {
        return;
    }
    if (is_over(subscriber) || waiting_deliveries(subscriber) > 0) {
        disconnect_slow(subscriber);
    } else {
        /* Only QoS 0 suffers: dropped as it comes; looked at again a round later. */
        flow->congested_since_ms = now_ms;
    }
}

void flow_look_again(struct broker *broker)
{
    if (!list_is_empty(&broker->congested)) {
        arm_at(broker, loop_now_ms(broker->loop));
    }
}

void flow_on_timer(void *owner)
{
    struct broker *broker = owner;
    uint64_t now_ms = loop_now_ms(broker->loop);

    list_for_each_safe(link, &broker->congested) {
        look_at(list_entry(link, struct flow, congested_link), now_ms);
    }
    list_for_each(rest, &broker->congested) {
        arm_at(broker, due_ms_of(list_entry(rest, struct flow, congested_link)));
    }
}

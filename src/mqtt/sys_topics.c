/* One table says topic and counter; another the load averages, which are moving averages over 1, 5
 * and 15 minutes of the counters' growth per minute, decayed by the time that has really passed
 * since they were last looked at. */
#include "mqtt/sys_topics.h"
#include "base/clock.h"
#include "loop/loop.h"
#include "mqtt/broker_private.h"
#include "mqtt/publish.h"
#include "topic/name.h"
#include <malloc.h>
#include <math.h>

#define COUNTER(member)                                                                            \
    offsetof(struct broker_counters, member), sizeof(((struct broker_counters *)0)->member)

static const struct sys_counter {
    const char *topic;
    size_t offset, size;
} sys_counters[] = {
    {"$SYS/broker/bytes/received", COUNTER(bytes_received)},
    {"$SYS/broker/bytes/sent", COUNTER(bytes_sent)},
    {"$SYS/broker/clients/active", COUNTER(clients_connected)},
    {"$SYS/broker/clients/connected", COUNTER(clients_connected)},
    {"$SYS/broker/clients/maximum", COUNTER(clients_maximum)},
    {"$SYS/broker/clients/total", COUNTER(clients_total)},
    {"$SYS/broker/clients/slow_disconnected", COUNTER(slow_disconnects)},
    {"$SYS/broker/clients/takeovers", COUNTER(takeovers)},
    {"$SYS/broker/connections/refused", COUNTER(connections_refused)},
    {"$SYS/broker/connections/logins_failed", COUNTER(logins_failed)},
    {"$SYS/broker/messages/received", COUNTER(messages_received)},
    {"$SYS/broker/messages/sent", COUNTER(messages_sent)},
    {"$SYS/broker/messages/stored", COUNTER(queued_messages)},
    {"$SYS/broker/store/messages/count", COUNTER(queued_messages)},
    {"$SYS/broker/publish/bytes/received", COUNTER(publish_bytes_received)},
    {"$SYS/broker/publish/bytes/sent", COUNTER(publish_bytes_sent)},
    {"$SYS/broker/publish/messages/dropped", COUNTER(publish_dropped)},
    {"$SYS/broker/publish/messages/expired", COUNTER(expired_messages)},
    {"$SYS/broker/publish/messages/refused", COUNTER(denied_publishes)},
    {"$SYS/broker/publish/messages/received", COUNTER(publish_received)},
    {"$SYS/broker/publish/messages/sent", COUNTER(publish_sent)},
    {"$SYS/broker/publishers/held", COUNTER(publishers_held)},
    {"$SYS/broker/retained messages/count", COUNTER(retained_messages)},
    {"$SYS/broker/store/retained/bytes", COUNTER(retained_bytes)},
    {"$SYS/broker/shared_subscriptions/count", COUNTER(shared_subscriptions)},
    {"$SYS/broker/subscriptions/count", COUNTER(subscriptions)},
};

static const struct sys_load {
    const char *name;
    size_t offset, size;
} sys_loads[] = {
    {"bytes/received", COUNTER(bytes_received)},
    {"bytes/sent", COUNTER(bytes_sent)},
    {"connections", COUNTER(connections_total)},
    {"messages/received", COUNTER(messages_received)},
    {"messages/sent", COUNTER(messages_sent)},
    {"publish/dropped", COUNTER(publish_dropped)},
    {"publish/received", COUNTER(publish_received)},
    {"publish/sent", COUNTER(publish_sent)},
    {"sockets", COUNTER(connections_total)},
};

static const unsigned load_minutes[] = {1, 5, 15};

struct sys_topics {
    struct broker *broker;
    struct timer *timer;
    uint64_t sampled_ms;
    uint64_t last[G_N_ELEMENTS(sys_loads)];
    double averages[G_N_ELEMENTS(sys_loads)][G_N_ELEMENTS(load_minutes)];
    GHashTable *published; /* topic -> last value, both owned: only changes go out */
};

static uint64_t value_of(const struct broker_counters *counters, size_t offset, size_t size)
{
    const char *at = (const char *)counters + offset;

    return size == sizeof(uint32_t) ? *(const uint32_t *)(const void *)at
                                    : *(const uint64_t *)(const void *)at;
}

static void sample(struct sys_topics *sys, const struct broker_counters *counters)
{
    uint64_t now_ms = clock_now_ms();
    double minutes = (double)(now_ms - sys->sampled_ms) / 60000.0;

    if (now_ms - sys->sampled_ms < 1000) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(sys_loads); i++) {
        uint64_t value = value_of(counters, sys_loads[i].offset, sys_loads[i].size);
        double per_minute = (double)(value - sys->last[i]) / minutes;
        for (unsigned j = 0; j < G_N_ELEMENTS(load_minutes); j++) {
            double decay = exp(-minutes / load_minutes[j]);
            sys->averages[i][j] = per_minute + decay * (sys->averages[i][j] - per_minute);
        }
        sys->last[i] = value;
    }
    sys->sampled_ms = now_ms;
}

/* Calls `fn` with every topic and its value now. */
static void for_each(struct sys_topics *sys,
                     void (*fn)(void *owner, const char *topic, const char *value), void *owner)
{
    struct broker_counters counters;
    char topic[128], value[64];

    broker_counters(sys->broker, &counters);
    sample(sys, &counters);
    g_snprintf(value, sizeof value, "microcloud version %s", sys->broker->options.version);
    fn(owner, "$SYS/broker/version", value);
    g_snprintf(value, sizeof value, "%" G_GUINT64_FORMAT " seconds",
               (clock_now_ms() - counters.started_ms) / 1000);
    fn(owner, "$SYS/broker/uptime", value);
    g_snprintf(value, sizeof value, "%u",
               counters.clients_total - MIN(counters.clients_total, counters.clients_connected));
    fn(owner, "$SYS/broker/clients/inactive", value);
    fn(owner, "$SYS/broker/clients/disconnected", value);
    struct mallinfo2 heap = mallinfo2();
    g_snprintf(value, sizeof value, "%zu", heap.uordblks + heap.hblkhd);
    fn(owner, "$SYS/broker/heap/current", value);
    for (unsigned i = 0; i < G_N_ELEMENTS(sys_counters); i++) {
        g_snprintf(value, sizeof value, "%" G_GUINT64_FORMAT,
                   value_of(&counters, sys_counters[i].offset, sys_counters[i].size));
        fn(owner, sys_counters[i].topic, value);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(sys_loads); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(load_minutes); j++) {
            g_snprintf(topic, sizeof topic, "$SYS/broker/load/%s/%umin", sys_loads[i].name,
                       load_minutes[j]);
            g_snprintf(value, sizeof value, "%.2f", sys->averages[i][j]);
            fn(owner, topic, value);
        }
    }
    if (sys->broker->options.cluster_topics) {
        sys->broker->options.cluster_topics(sys->broker->options.cluster_owner, fn, owner);
    }
}

/* ---- on subscribing ---- */

struct collecting {
    struct bytes filter;
    GPtrArray *messages;
};

static void collect(void *owner, const char *topic, const char *value)
{
    struct collecting *collecting = owner;
    struct bytes none = {NULL, 0};

    if (topic_filter_matches(collecting->filter, bytes_from_string(topic))) {
        g_ptr_array_add(collecting->messages, message_new(bytes_from_string(topic), none,
                                                          bytes_from_string(value), 0, true, 0));
    }
}

static bool is_about_sys(struct bytes filter)
{
    struct bytes share, rest = filter;

    topic_filter_split_shared(filter, &share, &rest);
    return rest.length >= 4 && memcmp(rest.at, "$SYS", 4) == 0;
}

void sys_topics_collect(struct broker *broker, struct bytes filter, GPtrArray *messages)
{
    struct collecting collecting = {filter, messages};

    if (is_about_sys(filter)) {
        for_each(broker->sys, collect, &collecting);
    }
}

/* ---- while subscribed ---- */

struct publishing {
    struct sys_topics *sys;
    bool has_subscriber;
};

static void publish_value(void *owner, const char *topic, const char *value)
{
    struct publishing *publishing = owner;
    struct sys_topics *sys = publishing->sys;
    struct publication publication = {.topic = bytes_from_string(topic),
                                      .payload = bytes_from_string(value)};
    struct routes *routes =
        route_cache_find(&sys->broker->routes, publication.topic, TOPIC_BYTES_MAX);

    if (!routes || routes->live.target_count + routes->live.share_count +
                           routes->persistent.target_count + routes->persistent.share_count ==
                       0) {
        return;
    }
    publishing->has_subscriber = true;
    if (g_strcmp0(g_hash_table_lookup(sys->published, topic), value) != 0) {
        g_hash_table_replace(sys->published, g_strdup(topic), g_strdup(value));
        publish_deliver_here(sys->broker, &publication);
        publication_deinit(&publication);
    }
}

static void on_timer(void *owner)
{
    struct sys_topics *sys = owner;
    struct publishing publishing = {sys, false};

    for_each(sys, publish_value, &publishing);
    if (publishing.has_subscriber && sys->broker->settings->sys_interval_s > 0) {
        timer_start(sys->timer, sys->broker->settings->sys_interval_s * 1000ull);
    } else {
        g_hash_table_remove_all(sys->published);
    }
}

void sys_topics_on_subscribe(struct broker *broker, struct bytes filter)
{
    if (is_about_sys(filter) && !timer_is_active(broker->sys->timer) &&
        broker->settings->sys_interval_s > 0) {
        timer_start(broker->sys->timer, broker->settings->sys_interval_s * 1000ull);
    }
}

struct sys_topics *sys_topics_new(struct broker *broker)
{
    struct sys_topics *sys = g_new0(struct sys_topics, 1);

    sys->broker = broker;
    sys->timer = timer_new(broker->loop, on_timer, sys);
    sys->sampled_ms = clock_now_ms();
    sys->published = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return sys;
}

void sys_topics_free(struct sys_topics *sys)
{
    timer_free(sys->timer);
    g_hash_table_unref(sys->published);
    g_free(sys);
}

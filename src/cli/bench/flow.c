/* Publishers to subscribers: the shape behind most figures.
 *
 * Publisher i publishes to topic i % topics, subscriber j subscribes to topic j % topics; with
 * topics = min(publishers, subscribers) that is 1 to 1, fan-in, fan-out and pairs. A payload begins
 * with its send time, publisher, run and sequence number, so that each subscriber knows the
 * latency, what is missing and what came twice.
 *
 * A run: subscribers, then publishers connect; all send (held by in-flight, window, rate or only by
 * TCP); after the warm-up the counters are noted, after `seconds` noted again; sending stops; what
 * is under way is waited for. Rates are of the middle part, losses of the whole. With a rate the
 * time in the payload is when the message was due, so a broker that stalls is not flattered. */
#include "cli/bench/shapes.h"
#include "cli/bench/wire.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_BYTES ((size_t)64 * 1024)
#define BACKLOG_BYTES_MAX                                                                          \
    ((size_t)8 * 1024 * 1024) /* a publisher's, when a rate is more than the broker takes */
#define TICK_NS 100000u       /* with a rate: the longest wait */

struct stamp {
    uint64_t sent_ns;
    uint16_t publisher, run;
    uint32_t sequence;
};

G_STATIC_ASSERT(sizeof(struct stamp) == LOAD_PAYLOAD_BYTES_MIN);

struct publisher {
    struct load_connection connection;
    struct wire_publish packet;
    unsigned receivers; /* subscribers of its topic */
    unsigned outstanding;
    uint32_t sequence;
};

struct subscriber {
    struct load_connection connection;
    uint32_t *next; /* by publisher / topics: the sequence number expected */
};

struct flow {
    struct load_engine *engine;
    const struct load_options *options;
    struct load_result *result;
    struct publisher *publishers;
    struct subscriber *subscribers;
    unsigned topics, next_publisher;
    uint16_t run;
    bool is_measuring;
    uint64_t subscribed, published, acked, delivered, expected, duplicates;
    uint64_t due_begin_ns, due_sent; /* with a rate */
};

static void flow_ack(struct load_connection *connection, uint8_t head, const uint8_t *id)
{
    uint8_t *to = load_connection_reserve(connection, 4);
    to[0] = head;
    to[1] = 2;
    to[2] = id[0];
    to[3] = id[1];
}

static void flow_deliver(struct flow *flow, struct subscriber *subscriber, const uint8_t *payload)
{
    struct stamp stamp;
    memcpy(&stamp, payload, sizeof(stamp));
    if (stamp.run != flow->run || stamp.publisher >= flow->options->publishers) {
        return;
    }
    uint32_t *next = &subscriber->next[stamp.publisher / flow->topics];
    if ((int32_t)(stamp.sequence - *next) < 0) {
        flow->duplicates++;
        return;
    }
    *next = stamp.sequence + 1;
    flow->delivered++;
    if (flow->is_measuring) {
        uint64_t now_ns = flow->engine->now_ns;
        histogram_add(&flow->result->latency, now_ns > stamp.sent_ns ? now_ns - stamp.sent_ns : 0);
    }
}

static void flow_on_publish(struct flow *flow, struct subscriber *subscriber, uint8_t head,
                            const uint8_t *body, uint32_t length)
{
    unsigned qos = head >> 1 & 3;
    size_t at = 2 + ((size_t)body[0] << 8 | body[1]);
    if (qos > 0 && at + 2 <= length) {
        flow_ack(&subscriber->connection, qos == 1 ? 0x40 : 0x50, body + at);
        at += 2;
    }
    if (flow->options->version == 5 && at < length) {
        uint32_t properties;
        int taken = wire_length(body + at, length - at, &properties);
        at += taken > 0 ? (size_t)taken + properties : length;
    }
    if (at + sizeof(struct stamp) <= length) {
        flow_deliver(flow, subscriber, body + at);
    }
}

static void flow_on_packet(struct load_connection *connection, uint8_t head, const uint8_t *body,
                           uint32_t length)
{
    struct flow *flow = connection->owner;
    if (length < 2) {
        return;
    }
    switch (head >> 4) {
    case 3:
        flow_on_publish(flow, (struct subscriber *)connection, head, body, length);
        break;
    case 4: /* PUBACK */
    case 7: /* PUBCOMP */
        ((struct publisher *)connection)->outstanding--;
        flow->acked++;
        break;
    case 5: /* PUBREC */
        flow_ack(connection, 0x62, body);
        break;
    case 6: /* PUBREL */
        flow_ack(connection, 0x70, body);
        break;
    case 9: /* SUBACK */
        flow->subscribed++;
        break;
    default:
        break;
    }
}

static void publisher_append(struct flow *flow, struct publisher *publisher, unsigned count,
                             uint64_t now_ns)
{
    const struct wire_publish *packet = &publisher->packet;
    uint8_t *to = load_connection_reserve(&publisher->connection, (size_t)count * packet->length);
    struct stamp stamp = {
        .sent_ns = now_ns, .publisher = (uint16_t)publisher->connection.index, .run = flow->run};
    for (unsigned i = 0; i < count; i++) {
        memcpy(to, packet->bytes, packet->length);
        stamp.sequence = publisher->sequence++;
        memcpy(to + packet->payload_at, &stamp, sizeof(stamp));
        if (packet->id_at > 0) {
            uint16_t id = load_connection_next_id(&publisher->connection);
            to[packet->id_at] = (uint8_t)(id >> 8);
            to[packet->id_at + 1] = (uint8_t)id;
        }
        to += packet->length;
    }
    publisher->outstanding += packet->id_at > 0 ? count : 0;
    flow->published += count;
    flow->expected += (uint64_t)count * publisher->receivers;
}

/* How many messages this publisher may send at once, whatever the rate. */
static uint64_t publisher_room(const struct flow *flow, const struct publisher *publisher)
{
    const struct load_options *options = flow->options;
    uint64_t room;
    if (options->qos > 0) {
        room = options->in_flight - publisher->outstanding;
    } else if (options->rate_per_s > 0) {
        size_t pending = publisher->connection.out_end - publisher->connection.out_start;
        room = pending < BACKLOG_BYTES_MAX ? BATCH_BYTES / publisher->packet.length + 1 : 0;
    } else {
        room = load_connection_is_idle(&publisher->connection)
                   ? BATCH_BYTES / publisher->packet.length + 1
                   : 0;
    }
    if (options->window > 0) {
        uint64_t out = (flow->expected - flow->delivered) / MAX(publisher->receivers, 1);
        room = MIN(room, out < options->window ? options->window - out : 0);
    }
    return room;
}

/* Lets all publishers send what they may. True when some sent something. */
static bool flow_pump(struct flow *flow, uint64_t now_ns)
{
    const struct load_options *options = flow->options;
    uint64_t due = UINT64_MAX;
    if (options->rate_per_s > 0) {
        due =
            (uint64_t)((double)(now_ns - flow->due_begin_ns) * 1e-9 * (double)options->rate_per_s) -
            flow->due_sent;
    }
    bool sent = false;
    uint64_t share = options->rate_per_s > 0 ? due / options->publishers + 1 : UINT64_MAX;
    for (unsigned i = 0; i < options->publishers && due > 0; i++) {
        struct publisher *publisher = &flow->publishers[flow->next_publisher];
        flow->next_publisher = (flow->next_publisher + 1) % options->publishers;
        unsigned count = (unsigned)MIN(MIN(publisher_room(flow, publisher), due), share);
        if (count > 0) {
            publisher_append(flow, publisher, count, now_ns);
            due -= count;
            flow->due_sent += count;
            sent = true;
        }
    }
    return sent;
}

/* Sends and receives until `end_ns`. */
static int flow_turn_until(struct flow *flow, uint64_t end_ns)
{
    for (;;) {
        uint64_t now_ns = load_now_ns();
        if (now_ns >= end_ns) {
            return 0;
        }
        bool sent = flow_pump(flow, now_ns);
        uint64_t wait_ns = flow->options->rate_per_s > 0 ? TICK_NS : sent ? 0 : end_ns - now_ns;
        if (load_engine_turn(flow->engine, wait_ns) < 0) {
            return -1;
        }
    }
}

static uint64_t flow_outstanding(const struct flow *flow)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < flow->options->publishers; i++) {
        sum += flow->publishers[i].outstanding +
               !load_connection_is_idle(&flow->publishers[i].connection);
    }
    return sum;
}

/* Waits for what is under way, until nothing moves any more for `drain_s`. */
static int flow_drain(struct flow *flow)
{
    uint64_t patience_ns = (uint64_t)(flow->options->drain_s * 1e9);
    uint64_t progress_ns = load_now_ns();
    uint64_t seen = 0;
    while (flow->delivered < flow->expected || flow_outstanding(flow) > 0) {
        if (load_engine_turn(flow->engine, 20000000) < 0) {
            return -1;
        }
        uint64_t moved = flow->delivered + flow->acked + flow->duplicates;
        uint64_t now_ns = load_now_ns();
        progress_ns = moved != seen ? now_ns : progress_ns;
        seen = moved;
        if (now_ns - progress_ns > patience_ns) {
            break;
        }
    }
    return 0;
}

static uint64_t flow_own_cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int flow_measure(struct flow *flow)
{
    const struct load_options *options = flow->options;
    struct load_result *result = flow->result;
    uint64_t begin_ns = load_now_ns();
    flow->due_begin_ns = begin_ns;
    if (flow_turn_until(flow, begin_ns + (uint64_t)(options->warmup_s * 1e9)) < 0) {
        return -1;
    }
    flow->is_measuring = true;
    uint64_t own_ns = flow_own_cpu_ns();
    uint64_t broker_ns = options->pid > 0 ? usage_cpu_ns(options->pid) : 0;
    result->published = flow->published;
    result->acked = flow->acked;
    result->delivered = flow->delivered;
    begin_ns = load_now_ns();
    if (flow_turn_until(flow, begin_ns + (uint64_t)(options->seconds * 1e9)) < 0) {
        return -1;
    }
    result->seconds = (double)(load_now_ns() - begin_ns) * 1e-9;
    result->published = flow->published - result->published;
    result->acked = flow->acked - result->acked;
    result->delivered = flow->delivered - result->delivered;
    result->generator_cpu_ns = flow_own_cpu_ns() - own_ns;
    if (options->pid > 0) {
        result->broker_cpu_ns = usage_cpu_ns(options->pid) - broker_ns;
        usage_read(options->pid, &result->after);
    }
    flow->is_measuring = false;
    if (flow_drain(flow) < 0) {
        return -1;
    }
    result->expected = flow->expected;
    result->arrived = flow->delivered;
    result->duplicates = flow->duplicates;
    return 0;
}

static void flow_topic(char *topic, size_t bytes, unsigned number)
{
    g_snprintf(topic, bytes, "bench/%u", number);
}

/* Subscribers first, so that no publish finds nobody. A persistent session is emptied before:
 * another run may have left it. */
static int flow_connect_subscribers(struct flow *flow, const char *prefix)
{
    const struct load_options *options = flow->options;
    g_autoptr(GByteArray) packet = g_byte_array_new();
    for (unsigned i = 0; i < options->subscribers; i++) {
        struct subscriber *subscriber = &flow->subscribers[i];
        struct load_group group = {.list = &subscriber->connection,
                                   .count = 1,
                                   .first = i,
                                   .prefix = prefix,
                                   .host = options->subscribe_host,
                                   .clean = !options->persistent};
        subscriber->connection.owner = flow;
        if (load_group_connect(flow->engine, options, &group, NULL) < 0) {
            return -1;
        }
        char topic[32];
        flow_topic(topic, sizeof(topic), i % flow->topics);
        wire_subscribe_begin(options->version, load_connection_next_id(&subscriber->connection),
                             packet);
        wire_subscribe_add(topic, (uint8_t)options->qos, packet);
        wire_end(packet);
        load_connection_write(&subscriber->connection, packet->data, packet->len);
    }
    return load_engine_wait(flow->engine, &flow->subscribed, options->subscribers);
}

static int flow_connect_publishers(struct flow *flow, const char *prefix)
{
    const struct load_options *options = flow->options;
    for (unsigned i = 0; i < options->publishers; i++) {
        struct publisher *publisher = &flow->publishers[i];
        struct load_group group = {.list = &publisher->connection,
                                   .count = 1,
                                   .first = i,
                                   .prefix = prefix,
                                   .clean = true};
        publisher->connection.owner = flow;
        if (load_group_connect(flow->engine, options, &group, NULL) < 0) {
            return -1;
        }
        char topic[32];
        flow_topic(topic, sizeof(topic), i % flow->topics);
        wire_publish_init(&publisher->packet, options->version, topic, (uint8_t)options->qos, false,
                          options->payload_bytes);
    }
    return 0;
}

static void flow_init(struct flow *flow, struct load_engine *engine,
                      const struct load_options *options, struct load_result *result)
{
    *flow = (struct flow){.engine = engine, .options = options, .result = result};
    flow->run = (uint16_t)(load_now_ns() >> 20 ^ (uint64_t)getpid());
    flow->topics = options->topics > 0 ? options->topics
                                       : MAX(MIN(options->publishers, options->subscribers), 1);
    flow->publishers = g_new0(struct publisher, options->publishers);
    flow->subscribers = g_new0(struct subscriber, options->subscribers);
    for (unsigned i = 0; i < options->subscribers; i++) {
        flow->subscribers[i].connection.fd = -1;
        flow->subscribers[i].next = g_new0(uint32_t, options->publishers / flow->topics + 1);
    }
    for (unsigned i = 0; i < options->publishers; i++) {
        flow->publishers[i].connection.fd = -1;
        unsigned topic = i % flow->topics;
        flow->publishers[i].receivers =
            (options->subscribers + flow->topics - 1 - topic) / flow->topics;
    }
    engine->on_packet = flow_on_packet;
}

static void flow_deinit(struct flow *flow)
{
    for (unsigned i = 0; i < flow->options->publishers; i++) {
        struct load_group group = {.list = &flow->publishers[i].connection, .count = 1};
        load_group_close(&group);
        wire_publish_deinit(&flow->publishers[i].packet);
    }
    for (unsigned i = 0; i < flow->options->subscribers; i++) {
        struct load_group group = {.list = &flow->subscribers[i].connection, .count = 1};
        load_group_close(&group);
        g_free(flow->subscribers[i].next);
    }
    g_free(flow->publishers);
    g_free(flow->subscribers);
}

/* Connects each persistent session once more with a clean start, which ends it. */
static int flow_forget_sessions(struct load_engine *engine, const struct load_options *options,
                                const char *prefix)
{
    g_autofree struct load_connection *list = g_new0(struct load_connection, options->subscribers);
    struct load_group group = {.list = list,
                               .count = options->subscribers,
                               .prefix = prefix,
                               .host = options->subscribe_host,
                               .clean = true};
    int r = load_group_connect(engine, options, &group, NULL);
    load_group_close(&group);
    return r;
}

int load_flow_run(struct load_engine *engine, const struct load_options *options,
                  struct load_result *result)
{
    struct flow flow;
    flow_init(&flow, engine, options, result);
    g_autofree char *subscribers = g_strdup_printf("bench-s%u", flow.run);
    g_autofree char *publishers = g_strdup_printf("bench-p%u", flow.run);
    int r = flow_connect_subscribers(&flow, subscribers);
    if (r == 0) {
        r = flow_connect_publishers(&flow, publishers);
    }
    if (r == 0) {
        r = flow_measure(&flow);
    }
    flow_deinit(&flow);
    if (r == 0 && options->persistent && !options->keep) {
        r = flow_forget_sessions(engine, options, subscribers);
    }
    return r;
}

/* The shapes that are about numbers, not flow: idle connections, persistent sessions left behind, a
 * million subscriptions, retained messages. */
#include "cli/bench/shapes.h"
#include "cli/bench/wire.h"
#include <string.h>

#define FILTERS_A_PACKET 100u
#define TOPICS_PREBUILT  131072u
#define BATCH_MESSAGES   512u
#define WINDOW_MESSAGES  32768u /* published and not yet delivered, over the subscriptions */
#define STORE_IN_FLIGHT  1000u

/* What the packets of these shapes are counted in; owner of all their connections. */
struct many {
    uint64_t answered;  /* SUBACKs, PUBACKs */
    uint64_t delivered; /* PUBLISHes */
};

static void many_on_packet(struct load_connection *connection, uint8_t head, const uint8_t *body,
                           uint32_t length)
{
    struct many *many = connection->owner;
    if (head >> 4 == 3) {
        many->delivered++;
        if ((head >> 1 & 3) == 1 && length >= 4) {
            size_t at = 2 + ((size_t)body[0] << 8 | body[1]);
            uint8_t *to = load_connection_reserve(connection, 4);
            memcpy(to, (uint8_t[4]){0x40, 2, body[at], body[at + 1]}, 4);
        }
    } else if (head >> 4 == 9 || head >> 4 == 4) {
        many->answered++;
    }
}

static void many_begin(struct load_engine *engine, struct many *many)
{
    *many = (struct many){0};
    engine->on_packet = many_on_packet;
}

static struct load_connection *many_connections(struct load_engine *engine, struct many *many,
                                                unsigned count)
{
    struct load_connection *list = g_new0(struct load_connection, count);
    for (unsigned i = 0; i < count; i++) {
        list[i].fd = -1;
        list[i].owner = many;
    }
    many_begin(engine, many);
    return list;
}

/* The broker's memory once it has come to rest: a moment in which it did nothing. */
static void many_usage(struct load_engine *engine, const struct load_options *options,
                       struct usage *usage)
{
    if (options->pid <= 0) {
        return;
    }
    uint64_t last_ns = usage_cpu_ns(options->pid);
    uint64_t end_ns = load_now_ns() + 3000000000u;
    while (load_now_ns() < end_ns) {
        if (load_engine_turn(engine, 100000000) < 0) {
            break;
        }
        uint64_t cpu_ns = usage_cpu_ns(options->pid);
        if (cpu_ns - last_ns < 2000000) {
            break;
        }
        last_ns = cpu_ns;
    }
    usage_read(options->pid, usage);
}

int load_idle_run(struct load_engine *engine, const struct load_options *options,
                  struct load_result *result)
{
    struct many many;
    g_autofree struct load_connection *list = many_connections(engine, &many, options->connections);
    struct load_group group = {
        .list = list, .count = options->connections, .prefix = "bench-idle", .clean = true};
    uint64_t took_ns = 0;
    int r = load_group_connect(engine, options, &group, &took_ns);
    result->steps = options->connections;
    result->connects_per_s = (double)options->connections / ((double)took_ns * 1e-9);
    if (r == 0) {
        uint64_t end_ns = load_now_ns() + (uint64_t)(options->seconds * 1e9);
        many_usage(engine, options, &result->after);
        while (r == 0 && load_now_ns() < end_ns) {
            r = load_engine_turn(engine, 100000000);
        }
    }
    load_group_close(&group);
    return r;
}

static void many_subscribe(struct load_connection *connection, const struct load_options *options,
                           const char *filter)
{
    g_autoptr(GByteArray) packet = g_byte_array_new();
    wire_subscribe_begin(options->version, load_connection_next_id(connection), packet);
    wire_subscribe_add(filter, (uint8_t)options->qos, packet);
    wire_end(packet);
    load_connection_write(connection, packet->data, packet->len);
}

int load_sessions_run(struct load_engine *engine, const struct load_options *options,
                      struct load_result *result)
{
    struct many many;
    g_autofree struct load_connection *list = many_connections(engine, &many, options->connections);
    struct load_group group = {
        .list = list, .count = options->connections, .prefix = "bench-session", .clean = false};
    uint64_t took_ns = 0;
    int r = load_group_connect(engine, options, &group, &took_ns);
    for (unsigned i = 0; r == 0 && i < options->connections; i++) {
        char filter[48];
        g_snprintf(filter, sizeof(filter), "bench/session/%u/set", i);
        many_subscribe(&list[i], options, filter);
        if (i % FILTERS_A_PACKET == 0) {
            r = load_engine_turn(engine, 0);
        }
    }
    if (r == 0) {
        r = load_engine_wait(engine, &many.answered, options->connections);
    }
    result->steps = options->connections;
    result->connects_per_s = (double)options->connections / ((double)took_ns * 1e-9);
    load_group_close(&group);
    return r;
}

/* Filter `f` of client `c`, or the topic that only it matches. A tenth of the filters hold
 * wildcards. */
static void many_filter(char *text, size_t bytes, unsigned c, unsigned f, bool as_topic)
{
    if (f % 20 == 10) {
        g_snprintf(text, bytes, as_topic ? "bench/home%u/room/device%u" : "bench/home%u/+/device%u",
                   c, f);
    } else {
        g_snprintf(text, bytes,
                   !as_topic && f % 20 == 0 ? "bench/home%u/device%u/#" : "bench/home%u/device%u",
                   c, f);
    }
}

static int many_subscribe_all(struct load_engine *engine, const struct load_options *options,
                              struct load_connection *list, struct many *many)
{
    g_autoptr(GByteArray) packet = g_byte_array_new();
    uint64_t packets = 0;
    for (unsigned f = 0; f < options->filters; f += FILTERS_A_PACKET) {
        for (unsigned c = 0; c < options->connections; c++) {
            wire_subscribe_begin(options->version, load_connection_next_id(&list[c]), packet);
            for (unsigned i = f; i < MIN(f + FILTERS_A_PACKET, options->filters); i++) {
                char filter[64];
                many_filter(filter, sizeof(filter), c, i, false);
                wire_subscribe_add(filter, (uint8_t)options->qos, packet);
            }
            wire_end(packet);
            load_connection_write(&list[c], packet->data, packet->len);
            packets++;
            /* At most 200 SUBSCRIBEs under way: enough to keep any broker busy, without filling its
             * buffers. */
            if (packets > LOAD_CONNECTING_MAX &&
                load_engine_wait(engine, &many->answered, packets - LOAD_CONNECTING_MAX) < 0) {
                return -1;
            }
        }
    }
    return load_engine_wait(engine, &many->answered, packets);
}

/* PUBLISH packets on topics spread evenly and in no order over all filters. */
static GByteArray *many_packets(const struct load_options *options, uint32_t *offsets)
{
    GByteArray *packets = g_byte_array_sized_new(TOPICS_PREBUILT * 64);
    uint64_t total = (uint64_t)options->connections * options->filters;
    uint64_t number = 0;
    for (unsigned i = 0; i < TOPICS_PREBUILT; i++) {
        char topic[64];
        number = (number + UINT64_C(7368787)) %
                 total; /* a prime: visits every number before it repeats */
        many_filter(topic, sizeof(topic), (unsigned)(number % options->connections),
                    (unsigned)(number / options->connections), true);
        struct wire_publish publish;
        wire_publish_init(&publish, options->version, topic, 0, false, options->payload_bytes);
        offsets[i] = packets->len;
        g_byte_array_append(packets, publish.bytes, publish.length);
        wire_publish_deinit(&publish);
    }
    offsets[TOPICS_PREBUILT] = packets->len;
    return packets;
}

/* Publishes from one connection for `seconds`, at most WINDOW_MESSAGES ahead of the deliveries. */
static int many_publish(struct load_engine *engine, const struct load_options *options,
                        struct load_result *result, struct many *many)
{
    g_autofree uint32_t *offsets = g_new(uint32_t, TOPICS_PREBUILT + 1);
    g_autoptr(GByteArray) packets = many_packets(options, offsets);
    struct load_connection publisher = {.fd = -1, .owner = many};
    struct load_group group = {
        .list = &publisher, .count = 1, .prefix = "bench-over", .clean = true};
    int r = load_group_connect(engine, options, &group, NULL);
    uint64_t begin_ns = load_now_ns();
    uint64_t broker_ns = options->pid > 0 ? usage_cpu_ns(options->pid) : 0;
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    uint64_t sent = 0; /* as much as the connection takes, as long as so much is under way */
    uint64_t end_ns = begin_ns + (uint64_t)(options->seconds * 1e9);
    while (r == 0 && load_now_ns() < end_ns) {
        bool may = sent - many->delivered < WINDOW_MESSAGES && load_connection_is_idle(&publisher);
        while (sent - many->delivered < WINDOW_MESSAGES && load_connection_is_idle(&publisher)) {
            unsigned first = (unsigned)(sent % TOPICS_PREBUILT);
            load_connection_write(&publisher, packets->data + offsets[first],
                                  offsets[first + BATCH_MESSAGES] - offsets[first]);
            sent += BATCH_MESSAGES;
        }
        r = load_engine_turn(engine, may ? 0 : 10000000);
    }
    uint64_t delivered = many->delivered;
    result->seconds = (double)(load_now_ns() - begin_ns) * 1e-9;
    result->broker_cpu_ns = options->pid > 0 ? usage_cpu_ns(options->pid) - broker_ns : 0;
    uint64_t own_ns = (uint64_t)own.tv_sec * 1000000000u + (uint64_t)own.tv_nsec;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    result->generator_cpu_ns = (uint64_t)own.tv_sec * 1000000000u + (uint64_t)own.tv_nsec - own_ns;
    result->published = result->expected = sent;
    result->delivered = delivered;
    if (r == 0) {
        uint64_t last_ns = load_now_ns() + (uint64_t)(options->drain_s * 1e9);
        while (r == 0 && many->delivered < sent && load_now_ns() < last_ns) {
            r = load_engine_turn(engine, 10000000);
        }
        result->arrived = many->delivered;
    }
    load_group_close(&group);
    return r;
}

int load_subscriptions_run(struct load_engine *engine, const struct load_options *options,
                           struct load_result *result)
{
    struct many many;
    g_autofree struct load_connection *list = many_connections(engine, &many, options->connections);
    struct load_group group = {
        .list = list, .count = options->connections, .prefix = "bench-many", .clean = true};
    int r = load_group_connect(engine, options, &group, NULL);
    if (r == 0) {
        many_usage(engine, options, &result->before);
        uint64_t begin_ns = load_now_ns();
        r = many_subscribe_all(engine, options, list, &many);
        result->steps = (uint64_t)options->connections * options->filters;
        result->subscribes_per_s =
            (double)result->steps / ((double)(load_now_ns() - begin_ns) * 1e-9);
        many_usage(engine, options, &result->after);
    }
    if (r == 0) {
        r = many_publish(engine, options, result, &many);
    }
    load_group_close(&group);
    return r;
}

static void many_retained_topic(char *topic, size_t bytes, unsigned number)
{
    g_snprintf(topic, bytes, "bench/retained/%u/%u", number % 1000, number / 1000);
}

/* Stores (or with `payload_bytes` 0 removes) all retained messages over one connection with
 * STORE_IN_FLIGHT under way. */
static int many_store(struct load_engine *engine, const struct load_options *options,
                      struct many *many, uint32_t payload_bytes)
{
    struct load_connection connection = {.fd = -1, .owner = many};
    struct load_group group = {
        .list = &connection, .count = 1, .prefix = "bench-store", .clean = true};
    int r = load_group_connect(engine, options, &group, NULL);
    uint64_t begin = many->answered;
    for (unsigned i = 0; r == 0 && i < options->messages; i++) {
        char topic[64];
        many_retained_topic(topic, sizeof(topic), i);
        struct wire_publish publish;
        wire_publish_init(&publish, options->version, topic, 1, true, payload_bytes);
        uint16_t id = load_connection_next_id(&connection);
        publish.bytes[publish.id_at] = (uint8_t)(id >> 8);
        publish.bytes[publish.id_at + 1] = (uint8_t)id;
        load_connection_write(&connection, publish.bytes, publish.length);
        wire_publish_deinit(&publish);
        if (i % 64 == 63 && i >= STORE_IN_FLIGHT) {
            r = load_engine_wait(engine, &many->answered, begin + i + 1 - STORE_IN_FLIGHT);
        }
    }
    if (r == 0) {
        r = load_engine_wait(engine, &many->answered, begin + options->messages);
    }
    load_group_close(&group);
    return r;
}

static int many_fetch(struct load_engine *engine, const struct load_options *options,
                      struct load_result *result, struct many *many)
{
    struct load_connection connection = {.fd = -1, .owner = many};
    struct load_group group = {
        .list = &connection, .count = 1, .prefix = "bench-fetch", .clean = true};
    int r = load_group_connect(engine, options, &group, NULL);
    if (r == 0) {
        uint64_t begin_ns = load_now_ns();
        uint64_t broker_ns = options->pid > 0 ? usage_cpu_ns(options->pid) : 0;
        struct load_options at = *options;
        many_subscribe(&connection, &at, "bench/retained/#");
        r = load_engine_wait(engine, &many->delivered, options->messages);
        result->seconds = (double)(load_now_ns() - begin_ns) * 1e-9;
        result->fetches_per_s = (double)options->messages / result->seconds;
        result->delivered = many->delivered;
        result->broker_cpu_ns = options->pid > 0 ? usage_cpu_ns(options->pid) - broker_ns : 0;
    }
    load_group_close(&group);
    return r;
}

int load_retained_run(struct load_engine *engine, const struct load_options *options,
                      struct load_result *result)
{
    struct many many;
    uint64_t begin_ns = load_now_ns();

    many_begin(engine, &many);
    int r = many_store(engine, options, &many, options->payload_bytes);
    result->steps = options->messages;
    result->stores_per_s = (double)options->messages / ((double)(load_now_ns() - begin_ns) * 1e-9);
    if (r == 0) {
        many_usage(engine, options, &result->after);
        r = many_fetch(engine, options, result, &many);
    }
    if (r == 0 && !options->keep) {
        r = many_store(engine, options, &many, 0);
    }
    return r;
}

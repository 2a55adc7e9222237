/* See crowd.h. */
#include "crowd.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/test_virtual_loop.h"
#include <stdio.h>
#include <stdlib.h>

int crowd_below(struct crowd *crowd, int end)
{
    return g_rand_int_range(crowd->world.random, 0, end);
}

void crowd_broken(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("BROKEN: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    abort();
}

/* ---- wires ---- */

static bool is_of_a_client(const struct crowd *crowd, const struct stream *stream)
{
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        if (crowd->clients[i].stream == stream) {
            return true;
        }
    }
    return false;
}

void crowd_forget(struct crowd *crowd)
{
    GPtrArray *streams = crowd->world.streams;

    for (guint i = streams->len; i-- > 0;) {
        if (virtual_stream_is_ended(streams->pdata[i]) &&
            !is_of_a_client(crowd, streams->pdata[i])) {
            g_hash_table_remove(crowd->where, streams->pdata[i]);
            virtual_stream_release(streams->pdata[i]);
            g_ptr_array_remove_index(streams, i);
        }
    }
}

unsigned crowd_place(const struct crowd *crowd, const struct stream *stream)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(crowd->where, stream)) - 1;
}

static void deliver(struct crowd *crowd, struct stream *stream, size_t most, const bool *is_awake)
{
    if (!is_awake || is_awake[crowd_place(crowd, stream)]) {
        virtual_stream_deliver(stream, most);
    }
}

void crowd_deliver_some(struct crowd *crowd, const bool *is_awake)
{
    GPtrArray *streams = crowd->world.streams;

    for (int i = crowd_below(crowd, 3); i > 0 && streams->len > 0; i--) {
        struct stream *stream = streams->pdata[crowd_below(crowd, (int)streams->len)];
        deliver(crowd, stream, 1 + (size_t)crowd_below(crowd, 200), is_awake);
    }
}

void crowd_deliver_all(struct crowd *crowd, const bool *is_awake)
{
    GPtrArray *streams = crowd->world.streams;

    for (guint i = 0; i < streams->len; i++) {
        deliver(crowd, streams->pdata[i], SIZE_MAX, is_awake);
    }
}

void crowd_answer_all(struct crowd *crowd)
{
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        if (crowd->clients[i].stream) {
            client_read(&crowd->clients[i], SIZE_MAX);
            client_answer(&crowd->clients[i], UINT_MAX);
        }
    }
}

void crowd_lose(struct crowd *crowd, unsigned place)
{
    GPtrArray *streams = crowd->world.streams;

    for (guint i = 0; i < streams->len; i++) {
        if (crowd_place(crowd, streams->pdata[i]) == place) {
            virtual_stream_cut(streams->pdata[i]);
        }
    }
}

void crowd_mourn(struct crowd *crowd, unsigned place)
{
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        struct client *client = &crowd->clients[i];
        client_doubt_goodbye(client);
        if (client->stream && crowd_place(crowd, client->stream) == place) {
            virtual_stream_cut(client->stream);
            client_lose(client);
        }
    }
    crowd_forget(crowd);
}

void crowd_count_gone(struct crowd *crowd, unsigned place)
{
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        struct client *client = &crowd->clients[i];
        bool is_there = client->stream && crowd_place(crowd, client->stream) == place;
        if (is_there && client->counted_gone_ms == 0) {
            client->counted_gone_ms = loop_now_ms(crowd->world.loop);
        }
    }
}

/* ---- what they do ---- */

static unsigned choose_place(struct crowd *crowd)
{
    const struct crowd_ops *ops = crowd->ops;
    unsigned place;

    do {
        place = (unsigned)crowd_below(crowd, (int)ops->places);
    } while (ops->is_known && !ops->is_known(crowd->owner, place));
    return place;
}

static void connect_to(struct crowd *crowd, struct client *client, bool is_clean, uint32_t expiry_s)
{
    unsigned place = choose_place(crowd);

    crowd->world.broker = crowd->ops->visit(crowd->owner, place, &crowd->world.broker_loop);
    if (!crowd->world.broker) {
        return;
    }
    client_connect(client, is_clean, expiry_s);
    if (client->stream) {
        g_hash_table_insert(crowd->where, client->stream, GUINT_TO_POINTER(place + 1));
    }
}

static uint32_t choose_expiry_s(struct crowd *crowd, const struct client *client)
{
    if (client->number == 0) {
        return crowd->is_fleeting ? 0 : 100000;
    }
    bool is_fleeting = crowd->is_fleeting ? crowd_below(crowd, 8) != 0 : crowd_below(crowd, 4) == 0;
    return is_fleeting ? 0 : (uint32_t)(1 + crowd_below(crowd, 40));
}

static void connect_some(struct crowd *crowd, struct client *client)
{
    bool is_clean = client->number != 0 && crowd_below(crowd, 5) == 0;
    uint32_t expiry_s = choose_expiry_s(crowd, client);

    crowd->connects++;
    crowd->takeovers += client->stream != NULL;
    connect_to(crowd, client, is_clean, expiry_s);
}

static void subscribe_some(struct crowd *crowd, struct client *client)
{
    uint8_t filter = (uint8_t)(1 + crowd_below(crowd, (int)ledger_filter_count - 1));
    struct wish wish = {.qos = (uint8_t)crowd_below(crowd, 3),
                        .retain_handling = (uint8_t)crowd_below(crowd, 3),
                        .no_local = !ledger_is_shared(filter) && crowd_below(crowd, 4) == 0};

    client_subscribe(client, filter, &wish);
}

void crowd_act(struct crowd *crowd, struct client *client)
{
    int what = crowd_below(crowd, 100);

    if (!client->stream) {
        if (client->number == 0 || what < 20) {
            connect_some(crowd, client);
        }
    } else if (!client->is_in) {
        if (what == 0) {
            client_cut(client);
        }
    } else if (what < 60) {
        client_publish(client);
    } else if (what < 70 && client->number != 0) {
        subscribe_some(crowd, client);
    } else if (what < 74 && client->number != 0) {
        client_unsubscribe(client, (uint8_t)(1 + crowd_below(crowd, (int)ledger_filter_count - 1)));
    } else if (what < 75 && client->number != 0) {
        client_disconnect(client);
    } else if (what < 76) {
        client_cut(client);
    } else if (what < 77) {
        connect_some(crowd, client);
    } else {
        client_answer(client, 1 + (unsigned)crowd_below(crowd, 4));
    }
}

/* ---- judging ---- */

/* Connects whoever has a session, or may have one. True when somebody had to. */
static bool connect_all(struct crowd *crowd)
{
    bool has_done = false;

    for (unsigned i = 0; i < CROWD_CLIENTS - 1; i++) {
        struct client *client = &crowd->clients[i];
        if (!client->stream && (client->life || client->is_uncertain || i == 0)) {
            connect_to(crowd, client, false, 100000);
            has_done = true;
        }
    }
    crowd->ops->settle(crowd->owner);
    return has_done;
}

void crowd_come_back(struct crowd *crowd)
{
    crowd->ops->settle(crowd->owner);
    for (int i = 0; i < 3; i++) {
        crowd->ops->pass(crowd->owner, 1000);
        crowd->ops->settle(crowd->owner);
    }
    for (int tries = 0; connect_all(crowd); tries++) {
        if (tries > 4) {
            crowd_broken("a client cannot connect");
        }
    }
    for (unsigned i = 0; i < CROWD_CLIENTS - 1; i++) {
        if (crowd->clients[i].stream && !crowd->clients[i].is_in) {
            crowd_broken("client %u gets no CONNACK", i);
        }
    }
}

/* Each client is connected once in the whole cluster. */
static void judge_connections(struct crowd *crowd)
{
    uint32_t connected = 0, clients = 0;

    for (unsigned i = 0; i < crowd->ops->places; i++) {
        struct broker_counters counters = {0};
        struct loop *loop;
        struct broker *broker = crowd->ops->visit(crowd->owner, i, &loop);
        if (broker) {
            broker_counters(broker, &counters);
        }
        connected += counters.clients_connected;
    }
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        clients += crowd->clients[i].is_in;
    }
    if (connected != clients) {
        crowd_broken("%u clients, but %u connections", clients, connected);
    }
}

static void judge_deliveries(struct crowd *crowd)
{
    struct life *lives[CROWD_CLIENTS];
    struct world *world = &crowd->world;

    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        struct client *client = &crowd->clients[i];
        lives[i] = client->life;
        if (client->life) {
            ledger_settle_life(&world->ledger, client->life, client->stream != NULL);
        }
        if (client->is_in && client->outgoing->len > 0) {
            const struct outgoing *first = &g_array_index(client->outgoing, struct outgoing, 0);
            crowd_broken("client %u waits for acknowledgements: packet id %u", i, first->packet_id);
        }
    }
    ledger_settle_shares(&world->ledger, lives, CROWD_CLIENTS);
}

static void judge_wills(struct crowd *crowd)
{
    struct world *world = &crowd->world;

    for (int s = 0; s < 60; s++) {
        crowd->ops->pass(crowd->owner, 1000);
        crowd->ops->settle(crowd->owner);
    }
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        struct client *client = &crowd->clients[i];
        if (!client->stream) {
            client->asked_ms = NEVER - CLIENT_MARGIN_MS;
            client_judge_will(client, false);
            client->asked_ms = 0;
        }
    }
    if (!crowd->is_fleeting) {
        ledger_settle_wills(&world->ledger, crowd->clients[0].life);
    }
}

static void judge_retained(struct crowd *crowd)
{
    struct client *reader = &crowd->clients[CROWD_READER];

    connect_to(crowd, reader, true, 0);
    crowd->ops->settle(crowd->owner);
    memset(reader->retained, 0, sizeof reader->retained);
    client_subscribe(reader, FILTER_RETAINED, &(struct wish){.qos = 1});
    crowd->ops->settle(crowd->owner);
    for (unsigned i = 0; i < 2 * (CROWD_CLIENTS - 1); i++) {
        ledger_settle_retained(&crowd->world.ledger, (uint8_t)(TOPIC_RETAINED + i),
                               reader->retained[i]);
    }
    client_disconnect(reader);
    crowd->ops->settle(crowd->owner);
}

void crowd_judge(struct crowd *crowd)
{
    judge_connections(crowd);
    judge_deliveries(crowd);
    judge_wills(crowd);
    judge_retained(crowd);
}

void crowd_close_period(struct crowd *crowd)
{
    struct life *lives[CROWD_CLIENTS];

    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        lives[i] = crowd->clients[i].life;
    }
    ledger_close_period(&crowd->world.ledger, lives, CROWD_CLIENTS);
}

void crowd_tell(const struct crowd *crowd)
{
    const struct ledger *ledger = &crowd->world.ledger;

    printf("%u messages sent, %" G_GUINT64_FORMAT " came, %" G_GUINT64_FORMAT
           " repeated; %" G_GUINT64_FORMAT " connects, %" G_GUINT64_FORMAT " takeovers\n",
           ledger->sent->len - 1, ledger->came, ledger->duplicates, crowd->connects,
           crowd->takeovers);
}

/* ---- life ---- */

void crowd_init(struct crowd *crowd, struct loop *loop, guint32 seed)
{
    struct world *world = &crowd->world;

    world->random = g_rand_new_with_seed(seed);
    world->loop = loop;
    world->streams = g_ptr_array_new();
    ledger_init(&world->ledger);
    crowd->where = g_hash_table_new(NULL, NULL);
    for (uint8_t i = 0; i < CROWD_CLIENTS; i++) {
        client_init(&crowd->clients[i], world, i);
        crowd->clients[i].has_wills = i != 0 && i != CROWD_READER;
    }
}

void crowd_begin(struct crowd *crowd)
{
    crowd->world.ledger.nodes = crowd->ops->places;
    connect_to(crowd, &crowd->clients[0], true, crowd->is_fleeting ? 0 : 100000);
    crowd->ops->settle(crowd->owner);
    client_subscribe(&crowd->clients[0], FILTER_ALL, &(struct wish){.qos = 2});
    crowd->ops->settle(crowd->owner);
}

void crowd_deinit(struct crowd *crowd)
{
    crowd_forget(crowd);
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        client_deinit(&crowd->clients[i]);
    }
    for (guint i = 0; i < crowd->world.streams->len; i++) { /* of who never came back in */
        virtual_stream_release(crowd->world.streams->pdata[i]);
    }
    ledger_deinit(&crowd->world.ledger);
    g_ptr_array_unref(crowd->world.streams);
    g_hash_table_unref(crowd->where);
    g_rand_free(crowd->world.random);
}

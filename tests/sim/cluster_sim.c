/* Three brokers over one log and links between them, random clients that come to any of them, and
 * the ledger that says what MQTT promises. As broker_sim.c: periods of disorder, then calm, when
 * all that was promised must have come. `sim-cluster SEED [STEPS [CLIENT]]` runs one seed again.
 *
 * What is not promised is left out of the account: order over links that were cut, and what a
 * session that ends with its connection misses when a node dies while links are cut. */
#include "base/log.h"
#include "client.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/remote/remote_private.h"
#include "mqtt/test_cluster.h"
#include "mqtt/test_virtual_loop.h"
#include "session/store.h"
#include "state/state.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES         3
#define CLIENTS       10
#define PERIOD_STEPS  2000
#define START_UNIX_MS 1700000000000u
#define READER        (CLIENTS - 1) /* reads what is retained when all is calm */

struct simulation {
    struct world world; /* first */
    struct cluster cluster;
    struct client clients[CLIENTS];
    GHashTable *places; /* stream (borrowed) -> node, from 1 */
    uint64_t crashes, connects, takeovers, cuts;
    bool has_crashes, has_cuts;
};

static int below(struct simulation *simulation, int end)
{
    return g_rand_int_range(simulation->world.random, 0, end);
}

/* ---- the nodes ---- */

static bool is_linked(const struct broker *broker)
{
    return broker->remote->syncing == 0 && __builtin_popcountll(broker->remote->up) == NODES - 1;
}

static bool is_of_one_mind(const struct world *world)
{
    const struct simulation *simulation = (const struct simulation *)(const void *)world;

    for (unsigned i = 0; i < NODES; i++) {
        if (!is_linked(simulation->cluster.nodes[i].broker) ||
            simulation->cluster.nodes[i].is_cut_off) {
            return false;
        }
    }
    return true;
}

/* Messages so far may come in another order, and those after them as long as it goes on. */
static void note_trouble(struct simulation *simulation)
{
    if (!is_of_one_mind(&simulation->world)) {
        simulation->world.ledger.unordered = simulation->world.ledger.sent->len;
    }
}

static void connect_to(struct simulation *simulation, struct client *client, bool is_clean,
                       uint32_t expiry_s)
{
    unsigned node = (unsigned)below(simulation, NODES);

    simulation->world.broker = simulation->cluster.nodes[node].broker;
    client_connect(client, is_clean, expiry_s);
    if (client->stream) {
        g_hash_table_insert(simulation->places, client->stream, GUINT_TO_POINTER(node + 1));
    }
}

/* ---- the wires ---- */

static bool is_of_a_client(const struct simulation *simulation, const struct stream *stream)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (simulation->clients[i].stream == stream) {
            return true;
        }
    }
    return false;
}

static void forget_ended(struct simulation *simulation)
{
    GPtrArray *streams = simulation->world.streams;

    for (guint i = streams->len; i-- > 0;) {
        if (virtual_stream_is_ended(streams->pdata[i]) &&
            !is_of_a_client(simulation, streams->pdata[i])) {
            g_hash_table_remove(simulation->places, streams->pdata[i]);
            virtual_stream_release(streams->pdata[i]);
            g_ptr_array_remove_index(streams, i);
        }
    }
}

static void deliver_all(struct simulation *simulation)
{
    GPtrArray *streams = simulation->world.streams;

    for (guint i = 0; i < streams->len; i++) {
        virtual_stream_deliver(streams->pdata[i], SIZE_MAX);
    }
    cluster_end_turn(&simulation->cluster);
    forget_ended(simulation);
}

/* Some frames arrive, some groups are committed, some nodes apply. */
static void move_some(struct simulation *simulation)
{
    struct cluster *cluster = &simulation->cluster;

    for (int i = 1 + below(simulation, 24); i > 0; i--) {
        unsigned a = (unsigned)below(simulation, NODES);
        unsigned b = (a + 1 + (unsigned)below(simulation, NODES - 1)) % NODES;
        switch (below(simulation, 6)) {
        case 0:
            cluster_notice(cluster, a, b);
            break;
        case 1:
            cluster_commit(cluster, a);
            break;
        case 2:
            cluster_apply(cluster, a);
            break;
        default:
            cluster_carry(cluster, a, b);
        }
    }
}

/* ---- disorder ---- */

static void crash(struct simulation *simulation)
{
    GPtrArray *streams = simulation->world.streams;
    unsigned node = (unsigned)below(simulation, NODES);

    simulation->crashes++;
    for (guint i = 0; i < streams->len; i++) {
        if (g_hash_table_lookup(simulation->places, streams->pdata[i]) ==
            GUINT_TO_POINTER(node + 1)) {
            virtual_stream_cut(streams->pdata[i]);
        }
    }
    if (simulation->has_cuts) {
        simulation->world.ledger.unpromised = simulation->world.ledger.sent->len;
    }
    cluster_crash(&simulation->cluster, node);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &simulation->clients[i];
        client_doubt_goodbye(client);
        if (client->stream &&
            g_hash_table_lookup(simulation->places, client->stream) == GUINT_TO_POINTER(node + 1)) {
            virtual_stream_cut(client->stream);
            client_lose(client);
        }
    }
    note_trouble(simulation);
    forget_ended(simulation);
}

static void cut_or_heal(struct simulation *simulation)
{
    struct cluster *cluster = &simulation->cluster;
    unsigned a = (unsigned)below(simulation, NODES);
    unsigned b = (a + 1 + (unsigned)below(simulation, NODES - 1)) % NODES;

    if (cluster->cut[a][b]) {
        cluster_heal(cluster, a, b);
    } else {
        simulation->cuts++;
        cluster_cut(cluster, a, b);
    }
    note_trouble(simulation);
}

static void connect_some(struct simulation *simulation, struct client *client)
{
    bool is_clean = client->number != 0 && below(simulation, 5) == 0;
    uint32_t expiry_s = client->number == 0         ? 100000
                        : below(simulation, 4) == 0 ? 0
                                                    : (uint32_t)(1 + below(simulation, 40));

    simulation->connects++;
    simulation->takeovers += client->stream != NULL;
    connect_to(simulation, client, is_clean, expiry_s);
}

static void subscribe_some(struct simulation *simulation, struct client *client)
{
    uint8_t filter = (uint8_t)(1 + below(simulation, (int)ledger_filter_count - 1));
    struct wish wish = {.qos = (uint8_t)below(simulation, 3),
                        .retain_handling = (uint8_t)below(simulation, 3),
                        .no_local = !ledger_is_shared(filter) && below(simulation, 4) == 0};

    client_subscribe(client, filter, &wish);
}

static void act(struct simulation *simulation, struct client *client)
{
    int what = below(simulation, 100);

    if (!client->stream) {
        if (client->number == 0 || what < 20) {
            connect_some(simulation, client);
        }
    } else if (!client->is_in) {
        if (what == 0) {
            client_cut(client);
        }
    } else if (what < 60) {
        client_publish(client);
    } else if (what < 70 && client->number != 0) {
        subscribe_some(simulation, client);
    } else if (what < 74 && client->number != 0) {
        client_unsubscribe(client, (uint8_t)(1 + below(simulation, (int)ledger_filter_count - 1)));
    } else if (what < 75 && client->number != 0) {
        client_disconnect(client);
    } else if (what < 76) {
        client_cut(client);
    } else if (what < 77) {
        connect_some(simulation, client);
    } else {
        client_answer(client, 1 + (unsigned)below(simulation, 4));
    }
}

static void trouble(struct simulation *simulation)
{
    if (simulation->has_crashes && below(simulation, 3000) == 0) {
        crash(simulation);
    }
    if (simulation->has_cuts && below(simulation, 400) == 0) {
        cut_or_heal(simulation);
    }
}

static void step(struct simulation *simulation)
{
    struct client *client = &simulation->clients[below(simulation, CLIENTS - 1)];
    GPtrArray *streams = simulation->world.streams;

    note_trouble(simulation);
    act(simulation, client);
    if (client->stream && below(simulation, 3) > 0) {
        client_read(client, 1 + (size_t)below(simulation, 300));
    }
    for (int i = below(simulation, 3); i > 0 && streams->len > 0; i--) {
        struct stream *stream = streams->pdata[below(simulation, (int)streams->len)];
        virtual_stream_deliver(stream, 1 + (size_t)below(simulation, 200));
    }
    cluster_end_turn(&simulation->cluster);
    move_some(simulation);
    if (below(simulation, 100) == 0) {
        deliver_all(simulation);
        cluster_settle(&simulation->cluster);
        virtual_loop_advance(simulation->world.loop, (uint64_t)below(simulation, 4000));
        cluster_settle(&simulation->cluster);
    } else {
        virtual_loop_advance(simulation->world.loop, (uint64_t)below(simulation, 20));
    }
    trouble(simulation);
    forget_ended(simulation);
}

/* ---- calm ---- */

static void heal_all(struct simulation *simulation)
{
    struct cluster *cluster = &simulation->cluster;

    for (unsigned i = 0; i < NODES; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (cluster->cut[i][j]) {
                cluster_heal(cluster, i, j);
            }
        }
    }
}

/* Everybody answers until nothing moves any more. */
static void settle(struct simulation *simulation)
{
    struct world *world = &simulation->world;
    struct cluster *cluster = &simulation->cluster;

    for (int quiet = 0, rounds = 0; quiet < 5; rounds++) {
        uint64_t moved = world->moved + cluster->moved;
        for (unsigned i = 0; i < CLIENTS; i++) {
            if (simulation->clients[i].stream) {
                client_read(&simulation->clients[i], SIZE_MAX);
                client_answer(&simulation->clients[i], UINT_MAX);
            }
        }
        deliver_all(simulation);
        cluster_settle(cluster);
        virtual_loop_advance(world->loop, 5);
        cluster_settle(cluster);
        bool is_still = moved == world->moved + cluster->moved && cluster_is_quiet(cluster);
        quiet = is_still ? quiet + 1 : 0;
        if (rounds > 100000) {
            fprintf(stderr, "BROKEN: it never becomes quiet\n");
            abort();
        }
    }
}

/* Connects whoever has a session, or may have one. True when somebody had to. */
static bool connect_all(struct simulation *simulation)
{
    bool has_done = false;

    for (unsigned i = 0; i < CLIENTS - 1; i++) {
        struct client *client = &simulation->clients[i];
        if (!client->stream && (client->life || client->is_uncertain || i == 0)) {
            connect_to(simulation, client, false, 100000);
            has_done = true;
        }
    }
    settle(simulation);
    return has_done;
}

static void come_back(struct simulation *simulation)
{
    heal_all(simulation);
    settle(simulation);
    for (int i = 0; i < 3; i++) {
        virtual_loop_advance(simulation->world.loop, 1000);
        settle(simulation);
    }
    for (int tries = 0; connect_all(simulation); tries++) {
        if (tries > 4) {
            fprintf(stderr, "BROKEN: a client cannot connect\n");
            abort();
        }
    }
    for (unsigned i = 0; i < CLIENTS - 1; i++) {
        if (simulation->clients[i].stream && !simulation->clients[i].is_in) {
            fprintf(stderr, "BROKEN: client %u gets no CONNACK\n", i);
            abort();
        }
    }
}

static void judge_deliveries(struct simulation *simulation)
{
    struct life *lives[CLIENTS];
    struct world *world = &simulation->world;

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &simulation->clients[i];
        lives[i] = client->life;
        if (client->life) {
            ledger_settle_life(&world->ledger, client->life, client->stream != NULL);
        }
        if (client->is_in && client->outgoing->len > 0) {
            const struct outgoing *first = &g_array_index(client->outgoing, struct outgoing, 0);
            fprintf(stderr, "BROKEN: client %u waits for acknowledgements: packet id %u\n", i,
                    first->packet_id);
            abort();
        }
    }
    ledger_settle_shares(&world->ledger, lives, CLIENTS);
}

static void judge_wills(struct simulation *simulation)
{
    struct world *world = &simulation->world;

    for (int s = 0; s < 60; s++) {
        virtual_loop_advance(world->loop, 1000);
        settle(simulation);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &simulation->clients[i];
        if (!client->stream) {
            client->asked_ms = NEVER - CLIENT_MARGIN_MS;
            client_judge_will(client, false);
            client->asked_ms = 0;
        }
    }
    ledger_settle_wills(&world->ledger, simulation->clients[0].life);
}

static void judge_retained(struct simulation *simulation)
{
    struct client *reader = &simulation->clients[READER];

    connect_to(simulation, reader, true, 0);
    settle(simulation);
    memset(reader->retained, 0, sizeof reader->retained);
    client_subscribe(reader, FILTER_RETAINED, &(struct wish){.qos = 1});
    settle(simulation);
    for (unsigned i = 0; i < 2 * (CLIENTS - 1); i++) {
        ledger_settle_retained(&simulation->world.ledger, (uint8_t)(TOPIC_RETAINED + i),
                               reader->retained[i]);
    }
    client_disconnect(reader);
    settle(simulation);
}

/* Each client is connected once in the whole cluster. */
static void judge_connections(const struct simulation *simulation)
{
    uint32_t connected = 0, clients = 0;

    for (unsigned i = 0; i < NODES; i++) {
        struct broker_counters counters;
        broker_counters(simulation->cluster.nodes[i].broker, &counters);
        connected += counters.clients_connected;
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients += simulation->clients[i].is_in;
    }
    if (connected != clients) {
        fprintf(stderr, "BROKEN: %u clients, but %u connections\n", clients, connected);
        abort();
    }
}

static void calm(struct simulation *simulation)
{
    struct life *lives[CLIENTS];

    come_back(simulation);
    judge_connections(simulation);
    judge_deliveries(simulation);
    if (session_store_queued(state_sessions(simulation->cluster.nodes[0].state)) != 0) {
        fprintf(stderr, "BROKEN: deliveries wait although everybody has answered\n");
        abort();
    }
    judge_wills(simulation);
    judge_retained(simulation);
    cluster_compare(&simulation->cluster);
    for (unsigned i = 0; i < CLIENTS; i++) {
        lives[i] = simulation->clients[i].life;
    }
    ledger_close_period(&simulation->world.ledger, lives, CLIENTS);
}

/* ---- life ---- */

static void set_up(struct simulation *simulation, guint32 seed)
{
    struct world *world = &simulation->world;

    simulation->has_crashes = seed % 4 & 1;
    simulation->has_cuts = seed % 4 & 2;
    world->random = g_rand_new_with_seed(seed);
    world->loop = virtual_loop_new(START_UNIX_MS);
    world->streams = g_ptr_array_new();
    world->is_of_one_mind = is_of_one_mind;
    simulation->places = g_hash_table_new(NULL, NULL);
    ledger_init(&world->ledger);
    world->ledger.may_be_late = true;
    world->may_find_ended = simulation->has_cuts;
    cluster_init(&simulation->cluster, world->loop, world->random, NODES);
    for (uint8_t i = 0; i < CLIENTS; i++) {
        client_init(&simulation->clients[i], world, i);
        simulation->clients[i].has_wills = i != 0 && i != READER;
    }
    connect_to(simulation, &simulation->clients[0], true, 100000);
    settle(simulation);
    client_subscribe(&simulation->clients[0], FILTER_ALL, &(struct wish){.qos = 2});
    settle(simulation);
}

static void tear_down(struct simulation *simulation)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (simulation->clients[i].stream) {
            client_cut(&simulation->clients[i]);
        }
        client_deinit(&simulation->clients[i]);
    }
    cluster_deinit(&simulation->cluster);
    forget_ended(simulation);
    virtual_loop_free(simulation->world.loop);
    ledger_deinit(&simulation->world.ledger);
    g_ptr_array_unref(simulation->world.streams);
    g_hash_table_unref(simulation->places);
    g_rand_free(simulation->world.random);
}

int main(int argc, char **argv)
{
    guint32 seed = argc > 1 ? (guint32)strtoul(argv[1], NULL, 10) : g_random_int();
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    struct simulation simulation = {.world.traced = argc > 3 ? atoi(argv[3]) : -1};

    setvbuf(stdout, NULL, _IOLBF, 0); /* complete up to an abort */
    printf("sim-cluster %u %" G_GUINT64_FORMAT "\n", seed, steps);
    log_set_level(LOG_LEVEL_ERROR);
    set_up(&simulation, seed);
    for (uint64_t i = 1; i <= steps; i++) {
        step(&simulation);
        if (i % PERIOD_STEPS == 0 || i == steps) {
            calm(&simulation);
        }
    }
    const struct ledger *ledger = &simulation.world.ledger;
    printf("%u messages sent, %" G_GUINT64_FORMAT " came, %" G_GUINT64_FORMAT
           " repeated; %" G_GUINT64_FORMAT " connects, %" G_GUINT64_FORMAT
           " takeovers, %" G_GUINT64_FORMAT " crashes, %" G_GUINT64_FORMAT " cuts\n",
           ledger->sent->len - 1, ledger->came, ledger->duplicates, simulation.connects,
           simulation.takeovers, simulation.crashes, simulation.cuts);
    tear_down(&simulation);
    return 0;
}

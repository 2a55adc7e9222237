/* The broker and its state on a virtual clock, random clients from a printed seed, and a ledger
 * that says what MQTT promises. In turns: a period of disorder (cut wires, takeovers, crashes of
 * the node, a log that refuses), then calm: everybody answers, everything that was promised must
 * have come. `sim-broker SEED [STEPS [CLIENT]]` runs one seed again, and prints the packets of one
 * client. */
#include "base/log.h"
#include "client.h"
#include "loop/loop.h"
#include "mqtt/test_node.h"
#include "mqtt/test_virtual_loop.h"
#include "session/store.h"
#include "state/propose.h"
#include "state/state.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENTS       10
#define PERIOD_STEPS  2000
#define START_UNIX_MS 1700000000000u
#define READER        (CLIENTS - 1) /* reads what is retained when all is calm, and does nothing else */

struct simulation {
    struct world world;
    struct node node;
    struct client clients[CLIENTS];
    uint64_t crashes, connects, takeovers, refused_groups;
};

static int below(struct simulation *simulation, int end)
{
    return g_rand_int_range(simulation->world.random, 0, end);
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
    node_turn(&simulation->node, 0);
    forget_ended(simulation);
}

/* ---- disorder ---- */

static void crash(struct simulation *simulation)
{
    GPtrArray *streams = simulation->world.streams;

    simulation->crashes++;
    for (guint i = 0; i < streams->len; i++) {
        virtual_stream_cut(streams->pdata[i]);
    }
    node_crash(&simulation->node);
    simulation->world.broker = simulation->node.broker;
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_doubt_goodbye(&simulation->clients[i]);
        if (simulation->clients[i].stream) {
            virtual_stream_cut(simulation->clients[i].stream);
            client_lose(&simulation->clients[i]);
        }
    }
    forget_ended(simulation);
}

static void connect_some(struct simulation *simulation, struct client *client)
{
    bool is_clean = client->number != 0 && below(simulation, 5) == 0;
    uint32_t expiry_s = client->number == 0         ? 100000
                        : below(simulation, 4) == 0 ? 0
                                                    : (uint32_t)(1 + below(simulation, 40));

    simulation->connects++;
    simulation->takeovers += client->stream != NULL;
    client_connect(client, is_clean, expiry_s);
}

static void subscribe_some(struct simulation *simulation, struct client *client)
{
    uint8_t filter = (uint8_t)(1 + below(simulation, (int)ledger_filter_count - 1));
    struct wish wish = {.qos = (uint8_t)below(simulation, 3),
                        .retain_handling = (uint8_t)below(simulation, 3),
                        .no_local =
                            !ledger_is_shared(filter) && below(simulation, 4) == 0}; /* 3.8.3-4 */

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

/* The log refuses what comes next, or what has come and is not on its way yet. */
static void trouble(struct simulation *simulation)
{
    struct node *node = &simulation->node;
    bool is_full = below(simulation, 2) == 0;

    /* An end of a connection that is refused is tried again each second: it must not become later
     * than CLIENT_MARGIN_MS. */
    node->refusals = (uint64_t)below(simulation, is_full ? 2 : 20);
    node->append_error = is_full ? -ENOSPC : -EAGAIN;
    if (is_full && node->groups.length == 0 && node->filling->len > 0) {
        simulation->refused_groups++;
        node_fail(node, -ENOSPC);
    }
}

static void step(struct simulation *simulation)
{
    struct client *client = &simulation->clients[below(simulation, CLIENTS - 1)];
    GPtrArray *streams = simulation->world.streams;

    act(simulation, client);
    if (client->stream && below(simulation, 3) > 0) {
        client_read(client, 1 + (size_t)below(simulation, 300));
    }
    for (int i = below(simulation, 3); i > 0 && streams->len > 0; i--) {
        struct stream *stream = streams->pdata[below(simulation, (int)streams->len)];
        virtual_stream_deliver(stream, 1 + (size_t)below(simulation, 200));
    }
    if (below(simulation, 300) == 0) {
        trouble(simulation);
    }
    if (below(simulation, 3) == 0) {
        node_turn(&simulation->node, (unsigned)below(simulation, 4));
    }
    if (below(simulation, 100) == 0) {
        deliver_all(simulation);
        virtual_loop_advance(simulation->world.loop, (uint64_t)below(simulation, 4000));
    } else {
        virtual_loop_advance(simulation->world.loop, (uint64_t)below(simulation, 20));
    }
    if (below(simulation, 3000) == 0) {
        crash(simulation);
    }
    forget_ended(simulation);
}

/* ---- calm ---- */

/* Everybody answers until nothing moves any more. */
static void settle(struct simulation *simulation)
{
    struct world *world = &simulation->world;

    simulation->node.refusals = 0;
    for (int quiet = 0, rounds = 0; quiet < 5; rounds++) {
        uint64_t moved = world->moved;
        for (unsigned i = 0; i < CLIENTS; i++) {
            if (simulation->clients[i].stream) {
                client_read(&simulation->clients[i], SIZE_MAX);
                client_answer(&simulation->clients[i], UINT_MAX);
            }
        }
        deliver_all(simulation);
        bool has_committed = node_turn(&simulation->node, 100);
        virtual_loop_advance(world->loop, 5);
        quiet = moved == world->moved && !has_committed && node_is_quiet(&simulation->node)
                    ? quiet + 1
                    : 0;
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
            client_connect(client, false, 100000);
            has_done = true;
        }
    }
    settle(simulation);
    return has_done;
}

static void come_back(struct simulation *simulation)
{
    settle(simulation); /* what was asked before it became calm may still be refused */
    virtual_loop_advance(simulation->world.loop,
                         1000); /* what a full disk refused is tried again */
    settle(simulation);
    connect_all(simulation);
    connect_all(simulation); /* who could not tell its session from another begins anew */
    if (connect_all(simulation)) {
        fprintf(stderr, "BROKEN: a client cannot connect\n");
        abort();
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
            fprintf(stderr,
                    "BROKEN: client %u waits for acknowledgements: packet id %u, message %u, qos "
                    "%u, %s\n",
                    i, first->packet_id, first->message,
                    ledger_sent(&world->ledger, first->message)->qos,
                    first->is_received ? "PUBREL was sent" : "PUBLISH was sent");
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

static void read_retained(struct simulation *simulation, uint8_t retain_handling)
{
    struct client *reader = &simulation->clients[READER];

    memset(reader->retained, 0, sizeof reader->retained);
    client_subscribe(reader, FILTER_RETAINED,
                     &(struct wish){.qos = 1, .retain_handling = retain_handling});
    settle(simulation);
}

static void expect_nothing_retained(const struct client *reader)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(reader->retained); i++) {
        if (reader->retained[i] != 0) {
            fprintf(stderr,
                    "BROKEN: what is retained came unasked [MQTT-3.3.1-10] [MQTT-3.3.1-11]\n");
            abort();
        }
    }
}

static void judge_retained(struct simulation *simulation)
{
    struct client *reader = &simulation->clients[READER];

    client_connect(reader, true, 0);
    settle(simulation);
    read_retained(simulation, 2);
    expect_nothing_retained(reader); /* never */
    read_retained(simulation, 1);
    expect_nothing_retained(reader); /* not to a subscription that is there */
    client_unsubscribe(reader, FILTER_RETAINED);
    settle(simulation);
    read_retained(simulation, (uint8_t)below(simulation, 2)); /* to one that is new */
    for (unsigned i = 0; i < 2 * (CLIENTS - 1); i++) {
        ledger_settle_retained(&simulation->world.ledger, (uint8_t)(TOPIC_RETAINED + i),
                               reader->retained[i]);
    }
    client_disconnect(reader);
    settle(simulation);
}

static void calm(struct simulation *simulation)
{
    struct life *lives[CLIENTS];

    simulation->node.refusals = 0;
    come_back(simulation);
    judge_deliveries(simulation);
    if (session_store_queued(state_sessions(simulation->node.state)) != 0) {
        fprintf(stderr, "BROKEN: deliveries wait although everybody has answered\n");
        abort();
    }
    judge_wills(simulation);
    judge_retained(simulation);
    node_compare(&simulation->node);
    for (unsigned i = 0; i < CLIENTS; i++) {
        lives[i] = simulation->clients[i].life;
    }
    ledger_close_period(&simulation->world.ledger, lives, CLIENTS);
}

/* ---- life ---- */

static void set(struct simulation *simulation, const char *key, const char *value)
{
    if (state_propose_setting(simulation->node.state, key, value, NULL) != 0) {
        g_error("the setting was not taken");
    }
    settle(simulation);
}

/* Half of the seeds run with short queues, that drop their oldest or refuse. */
static void choose_limits(struct simulation *simulation, guint32 seed)
{
    struct ledger *ledger = &simulation->world.ledger;

    if (seed % 4 >= 2) {
        set(simulation, "mqtt.queue_messages_max", "12");
        set(simulation, "mqtt.live_queue_messages_max", "10");
        set(simulation, "mqtt.queue_full", seed % 4 == 2 ? "drop_oldest" : "refuse");
        ledger->may_drop = seed % 4 == 2;
        ledger->may_drop_wills = true;
    }
}

static void set_up(struct simulation *simulation, guint32 seed)
{
    struct world *world = &simulation->world;

    world->random = g_rand_new_with_seed(seed);
    world->loop = virtual_loop_new(START_UNIX_MS);
    world->streams = g_ptr_array_new();
    ledger_init(&world->ledger);
    node_init(&simulation->node, world->loop, world->random);
    world->broker = simulation->node.broker;
    for (uint8_t i = 0; i < CLIENTS; i++) {
        client_init(&simulation->clients[i], world, i);
        simulation->clients[i].has_wills = i != 0 && i != READER;
    }
    client_connect(&simulation->clients[0], true, 100000);
    settle(simulation);
    client_subscribe(&simulation->clients[0], FILTER_ALL, &(struct wish){.qos = 2});
    settle(simulation);
    choose_limits(simulation, seed);
}

static void tear_down(struct simulation *simulation)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (simulation->clients[i].stream) {
            client_cut(&simulation->clients[i]);
        }
        client_deinit(&simulation->clients[i]);
    }
    node_deinit(&simulation->node);
    forget_ended(simulation);
    virtual_loop_free(simulation->world.loop);
    ledger_deinit(&simulation->world.ledger);
    g_ptr_array_unref(simulation->world.streams);
    g_rand_free(simulation->world.random);
}

int main(int argc, char **argv)
{
    guint32 seed = argc > 1 ? (guint32)strtoul(argv[1], NULL, 10) : g_random_int();
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    struct simulation simulation = {.world.traced = argc > 3 ? atoi(argv[3]) : -1};

    setvbuf(stdout, NULL, _IOLBF, 0); /* complete up to an abort */
    printf("sim-broker %u %" G_GUINT64_FORMAT "\n", seed, steps);
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
           " takeovers, %" G_GUINT64_FORMAT " crashes, %" G_GUINT64_FORMAT
           " groups refused, %" G_GUINT64_FORMAT " log entries\n",
           ledger->sent->len - 1, ledger->came, ledger->duplicates, simulation.connects,
           simulation.takeovers, simulation.crashes, simulation.refused_groups,
           simulation.node.index);
    tear_down(&simulation);
    return 0;
}

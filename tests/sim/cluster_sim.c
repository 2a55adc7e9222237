/* Three brokers over one log and links between them, random clients that come to any of them, and
 * the ledger that says what MQTT promises. As broker_sim.c: periods of disorder, then calm, when
 * all that was promised must have come. `sim-cluster SEED [STEPS [CLIENT]]` runs one seed again.
 *
 * What is not promised is left out of the account: order over links that were cut, and what a
 * session that ends with its connection misses when a node dies while links are cut. */
#include "crowd.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/remote/remote_private.h"
#include "mqtt/test_cluster.h"
#include "mqtt/test_virtual_loop.h"
#include "seeds.h"
#include "session/store.h"
#include "state/state.h"
#include <stdio.h>

#define NODES         3
#define STEPS         100000
#define PERIOD_STEPS  2000
#define START_UNIX_MS 1700000000000u

struct simulation {
    struct crowd crowd; /* first */
    struct cluster cluster;
    struct loop *loop;
    uint64_t crashes, cuts;
    bool has_crashes, has_cuts;
};

static int below(struct simulation *simulation, int end)
{
    return crowd_below(&simulation->crowd, end);
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
    if (!is_of_one_mind(&simulation->crowd.world)) {
        ledger_note_trouble(&simulation->crowd.world.ledger);
    }
}

/* ---- the wires ---- */

static void deliver_all(struct simulation *simulation)
{
    crowd_deliver_all(&simulation->crowd, NULL);
    cluster_end_turn(&simulation->cluster);
    crowd_forget(&simulation->crowd);
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
    struct crowd *crowd = &simulation->crowd;
    unsigned node = (unsigned)below(simulation, NODES);

    simulation->crashes++;
    if (simulation->has_cuts) {
        crowd->world.ledger.unpromised = crowd->world.ledger.sent->len;
    }
    crowd_lose(crowd, node);
    cluster_crash(&simulation->cluster, node);
    crowd_mourn(crowd, node);
    note_trouble(simulation);
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
    struct crowd *crowd = &simulation->crowd;
    struct client *client = &crowd->clients[below(simulation, CROWD_CLIENTS - 1)];

    note_trouble(simulation);
    crowd_act(crowd, client);
    if (client->stream && below(simulation, 3) > 0) {
        client_read(client, 1 + (size_t)below(simulation, 300));
    }
    crowd_deliver_some(crowd, NULL);
    cluster_end_turn(&simulation->cluster);
    move_some(simulation);
    if (below(simulation, 100) == 0) {
        deliver_all(simulation);
        cluster_settle(&simulation->cluster);
        virtual_loop_advance(simulation->loop, (uint64_t)below(simulation, 4000));
        cluster_settle(&simulation->cluster);
    } else {
        virtual_loop_advance(simulation->loop, (uint64_t)below(simulation, 20));
    }
    trouble(simulation);
    crowd_forget(crowd);
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

static void settle(void *owner)
{
    struct simulation *simulation = owner;
    struct world *world = &simulation->crowd.world;
    struct cluster *cluster = &simulation->cluster;

    for (int quiet = 0, rounds = 0; quiet < 5; rounds++) {
        uint64_t moved = world->moved + cluster->moved;
        crowd_answer_all(&simulation->crowd);
        deliver_all(simulation);
        cluster_settle(cluster);
        virtual_loop_advance(simulation->loop, 5);
        cluster_settle(cluster);
        bool is_still = moved == world->moved + cluster->moved && cluster_is_quiet(cluster);
        quiet = is_still ? quiet + 1 : 0;
        if (rounds > 100000) {
            crowd_broken("it never becomes quiet");
        }
    }
}

static void calm(struct simulation *simulation)
{
    struct crowd *crowd = &simulation->crowd;

    heal_all(simulation);
    crowd_come_back(crowd);
    crowd_judge(crowd);
    if (session_store_queued(state_sessions(simulation->cluster.nodes[0].state)) != 0) {
        crowd_broken("deliveries wait although everybody has answered");
    }
    cluster_compare(&simulation->cluster);
    crowd_close_period(crowd);
}

/* ---- life ---- */

static struct broker *visit(void *owner, unsigned place, struct loop **loop)
{
    struct simulation *simulation = owner;

    *loop = simulation->loop;
    return simulation->cluster.nodes[place].broker;
}

static void pass(void *owner, uint64_t ms)
{
    virtual_loop_advance(((struct simulation *)owner)->loop, ms);
}

static const struct crowd_ops crowd_ops = {
    .places = NODES, .visit = visit, .settle = settle, .pass = pass};

static void set_up(struct simulation *simulation, guint32 seed)
{
    struct crowd *crowd = &simulation->crowd;

    simulation->has_crashes = seed % 4 & 1;
    simulation->has_cuts = seed % 4 & 2;
    simulation->loop = virtual_loop_new(START_UNIX_MS);
    crowd_init(crowd, simulation->loop, seed);
    crowd->ops = &crowd_ops;
    crowd->is_fleeting = seed / 4 % 2;
    crowd->owner = simulation;
    crowd->world.is_of_one_mind = is_of_one_mind;
    crowd->world.may_find_ended = simulation->has_cuts;
    cluster_init(&simulation->cluster, simulation->loop, crowd->world.random, NODES);
    crowd_begin(crowd);
}

static void tear_down(struct simulation *simulation)
{
    for (unsigned i = 0; i < CROWD_CLIENTS; i++) {
        if (simulation->crowd.clients[i].stream) {
            client_cut(&simulation->crowd.clients[i]);
        }
    }
    cluster_deinit(&simulation->cluster);
    crowd_deinit(&simulation->crowd);
    virtual_loop_free(simulation->loop);
}

static void run(const struct seeds_run *run)
{
    struct simulation simulation = {.crowd.world.traced = run->traced};
    const struct crowd *crowd = &simulation.crowd;

    set_up(&simulation, run->seed);
    for (uint64_t i = 1; i <= run->steps; i++) {
        step(&simulation);
        if (i % PERIOD_STEPS == 0 || i == run->steps) {
            calm(&simulation);
        }
    }
    if (run->is_told) {
        crowd_tell(crowd);
        printf("%" G_GUINT64_FORMAT " crashes, %" G_GUINT64_FORMAT " cuts\n", simulation.crashes,
               simulation.cuts);
    }
    tear_down(&simulation);
}

int main(int argc, char **argv)
{
    return seeds_main(argc, argv, "sim-cluster", STEPS, run);
}

/* A whole cluster in one process: three boxes, each with keeper, daemon, disk and clock of its own,
 * a network between them, and a crowd of clients. Everything from libraft and consensus up to
 * broker, links, lease and keeper decides as it does in a home; only sockets, disks and clocks are
 * made up (box.h, net.h, disk.h). From the seed come the faults: processes that die or stand still,
 * boxes without power, cuts of one direction or both, slow disks and links, leaders that hand over.
 *
 * Judged at every step: no two boxes hold the address, no two lead in one term, what was applied is
 * on a majority of the disks, states at the same index are the same. When all is calm again: what
 * MQTT promises (ledger.h).
 *
 * `sim-whole SEED [STEPS [CLIENT]]` runs one seed again; `sim-whole FROM-TO [STEPS]` runs many,
 * each in a process of its own, and says how the first that fails is replayed. */
#include "begin.h"
#include "box.h"
#include "changes.h"
#include "crowd.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/remote/remote_private.h"
#include "mqtt/test_virtual_loop.h"
#include "node/node.h"
#include "seeds.h"
#include "session/store.h"
#include "state/state.h"
#include <stdio.h>

#define FOUNDERS      3
#define BOXES         5 /* where some come and go */
#define STEPS         500
#define START_UNIX_MS 1700000000000u
#define QUIET_ROUNDS  5
#define CLOCK_MS_OFF  3000 /* what a slow link does to how nodes see each other's clocks */
#define SETTLE_MS_MAX 120000
#define COMPARE_EVERY 16  /* entries */
#define LATE_MS       150 /* the slowest link */
#define MUTE_LATE_MS  400 /* ... of what comes to a box that is mute */
#define ANSWER_MS_MAX 300 /* who has not answered for longer may have been waited for in vain */

enum fault {
    FAULT_KILL_DAEMON,
    FAULT_KILL_KEEPER,
    FAULT_POWER,
    FAULT_STOP_DAEMON,
    FAULT_STOP_KEEPER,
    FAULT_STOP_BOTH,
    FAULT_CUT_ONE_WAY,
    FAULT_CUT,
    FAULT_ISOLATE,
    FAULT_HEAL,
    FAULT_SLOW_LINK,
    FAULT_SLOW_DISK,
    FAULT_HAND_OVER,
    FAULT_LEAVE,
    FAULT_MUTE,
    FAULT_COUNT
};

static const char *const fault_names[] = {
    "kill daemon", "kill keeper", "power",     "stop daemon", "stop keeper",
    "stop both",   "cut one way", "cut",       "isolate",     "heal",
    "slow link",   "slow disk",   "hand over", "leave",       "mute"};

struct whole {
    struct crowd crowd; /* first */
    struct net net;
    struct boxes boxes;
    struct changes changes;
    struct crowd_ops ops;
    struct loop *loop; /* the clients' */
    uint64_t wake_daemon_ms[BOXES], wake_keeper_ms[BOXES];
    uint64_t answered_ms[BOXES][BOXES]; /* when a broker had every answer of another, by its slot */
    uint64_t compared;                  /* index */
    uint64_t installed;                 /* snapshots, so far */
    unsigned faults[FAULT_COUNT], rate;
    unsigned allowed; /* a bit for each fault */
    bool is_told;     /* faults are printed */
};

static int below(struct whole *whole, int end)
{
    return crowd_below(&whole->crowd, end);
}

static struct box *box_at(struct whole *whole, unsigned at)
{
    return &whole->boxes.all[at];
}

/* ---- what must hold at every step ---- */

static void compare(struct whole *whole, const struct box *a, const struct box *b)
{
    g_autofree char *digest_a = state_digest(a->node->state);
    g_autofree char *digest_b = state_digest(b->node->state);

    if (strcmp(digest_a, digest_b) != 0) {
        crowd_broken("the states of boxes %u and %u differ at entry %" G_GUINT64_FORMAT, a->at + 1,
                     b->at + 1, state_applied_index(a->node->state));
    }
}

/* At the same index. */
static void compare_some(struct whole *whole, uint64_t every)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        for (unsigned j = i + 1; j < whole->boxes.count; j++) {
            const struct box *a = box_at(whole, i), *b = box_at(whole, j);
            uint64_t index = a->node ? state_applied_index(a->node->state) : 0;
            if (a->node && b->node && index == state_applied_index(b->node->state) &&
                index >= whole->compared + every) {
                compare(whole, a, b);
                whole->compared = index;
            }
        }
    }
}

static void judge_holders(struct whole *whole)
{
    unsigned holders = 0, excused = 0;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = box_at(whole, i);
        holders += box_holds(box);
        excused += box_holds(box) && box->desk.is_stopped && box->was_cut;
    }
    if (holders > 1 && holders - excused > 1) {
        crowd_broken("%u boxes hold the address", holders);
    }
}

static void judge_step(struct whole *whole)
{
    judge_holders(whole);
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        if (box_at(whole, i)->node) {
            changes_judge_durability(&whole->boxes, box_at(whole, i));
        }
    }
    changes_judge(&whole->changes);
    compare_some(whole, COMPARE_EVERY);
}

static void note_loss(struct whole *whole)
{
    struct ledger *ledger = &whole->crowd.world.ledger;

    ledger->unpromised = ledger->sent->len;
}

/* Who is behind so far that it gets a snapshot has nothing to deliver to sessions that are not in
 * it. */
static void note_snapshots(struct whole *whole)
{
    uint64_t installed = 0;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        installed += box_at(whole, i)->disk.installed;
    }
    if (installed != whole->installed) {
        whole->installed = installed;
        note_loss(whole);
    }
}

/* Who is known to be silent is not waited for at all. */
static uint64_t answered_ms(const struct remote *remote, unsigned slot, uint64_t before_ms,
                            uint64_t now_ms)
{
    const struct remote_peer *peer = remote->peers[slot];

    if (peer && peer->is_silent) {
        return 0;
    }
    return !peer || peer->synced >= remote->sync_token ? now_ms : before_ms;
}

static void note_answers(struct whole *whole)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = box_at(whole, i);
        for (unsigned slot = 0; box->node && box->node->broker && slot < whole->boxes.count;
             slot++) {
            whole->answered_ms[i][slot] = answered_ms(
                box->node->broker->remote, slot, whole->answered_ms[i][slot], whole->net.now_ms);
        }
    }
}

/* ---- time ---- */

static void wake(struct whole *whole)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        if (whole->wake_daemon_ms[i] != 0 && whole->net.now_ms >= whole->wake_daemon_ms[i]) {
            whole->wake_daemon_ms[i] = 0;
            box_stop_daemon(box_at(whole, i), false);
        }
        if (whole->wake_keeper_ms[i] != 0 && whole->net.now_ms >= whole->wake_keeper_ms[i]) {
            whole->wake_keeper_ms[i] = 0;
            box_stop_keeper(box_at(whole, i), false);
        }
    }
}

static void turn(struct whole *whole, uint64_t now_ms)
{
    unsigned first = (unsigned)below(whole, (int)whole->boxes.count);

    whole->net.now_ms = now_ms;
    virtual_loop_turn(whole->loop, now_ms);
    wake(whole);
    net_turn(&whole->net);
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        box_turn(box_at(whole, (first + i) % whole->boxes.count));
    }
    virtual_loop_enter(whole->loop);
    note_snapshots(whole);
    note_answers(whole);
    judge_step(whole);
}

static uint64_t next_ms(const struct whole *whole)
{
    uint64_t next = net_next_ms(&whole->net);

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        next = MIN(next, box_next_ms(&whole->boxes.all[i]));
        next = MIN(next, whole->wake_daemon_ms[i] ? whole->wake_daemon_ms[i] : UINT64_MAX);
        next = MIN(next, whole->wake_keeper_ms[i] ? whole->wake_keeper_ms[i] : UINT64_MAX);
    }
    return next;
}

static void pass(void *owner, uint64_t ms)
{
    struct whole *whole = owner;
    uint64_t until_ms = whole->net.now_ms + ms;

    while (whole->net.now_ms < until_ms) {
        turn(whole, CLAMP(next_ms(whole), whole->net.now_ms + 1, until_ms));
    }
}

/* ---- faults ---- */

static void on_dying(void *owner, unsigned box)
{
    struct whole *whole = owner;

    note_loss(whole);
    crowd_lose(&whole->crowd, box);
}

static void on_dead(void *owner, unsigned box)
{
    struct whole *whole = owner;

    virtual_loop_enter(whole->loop);
    crowd_mourn(&whole->crowd, box);
}

static uint64_t pause_ms(struct whole *whole)
{
    int most = below(whole, 3) == 0 ? 6000 : 900;

    return whole->net.now_ms + 1 + (uint64_t)below(whole, most);
}

static void stop(struct whole *whole, unsigned at, bool daemon, bool keeper)
{
    uint64_t until_ms = pause_ms(whole);

    if (daemon && box_at(whole, at)->node) {
        box_stop_daemon(box_at(whole, at), true);
        whole->wake_daemon_ms[at] = until_ms;
    }
    if (keeper && box_at(whole, at)->desk.is_alive) {
        box_stop_keeper(box_at(whole, at), true);
        whole->wake_keeper_ms[at] = until_ms;
    }
}

static void cut_both(struct whole *whole, unsigned a, unsigned b)
{
    net_cut(&whole->net, a, b);
    net_cut(&whole->net, b, a);
}

/* Nothing of it gets out, and what the others have answered comes late: it hears of them when they
 * have not heard it for long. */
static void mute(struct whole *whole, unsigned at)
{
    for (unsigned i = 1; i < whole->boxes.count; i++) {
        unsigned other = (at + i) % whole->boxes.count;
        net_cut(&whole->net, at, other);
        whole->net.delay_ms_max[other][at] = MUTE_LATE_MS;
    }
}

static void heal_all(struct whole *whole)
{
    for (unsigned a = 0; a < whole->boxes.count; a++) {
        for (unsigned b = 0; b < whole->boxes.count; b++) {
            net_heal(&whole->net, a, b);
            whole->net.delay_ms_max[a][b] = 2;
        }
        box_at(whole, a)->disk.write_ms_max = 3;
    }
}

/* Of more than three, sometimes together with another. */
static void isolate(struct whole *whole, unsigned at, unsigned other)
{
    bool are_two = whole->boxes.count > FOUNDERS && below(whole, 2) == 0;

    for (unsigned i = 1; i < whole->boxes.count; i++) {
        unsigned from = (at + i) % whole->boxes.count;
        if (!are_two || from != other) {
            cut_both(whole, at, from);
        }
        if (are_two && from != other) {
            cut_both(whole, other, from);
        }
    }
}

/* The leader, rather than any. */
static unsigned choose_box(struct whole *whole)
{
    unsigned at = (unsigned)below(whole, (int)whole->boxes.count);

    for (unsigned i = 0; i < whole->boxes.count && below(whole, 2); i++) {
        const struct box *box = box_at(whole, i);
        at = box->node && box->node->is_leading ? i : at;
    }
    return at;
}

static void inflict(struct whole *whole, enum fault fault, unsigned at)
{
    unsigned count = whole->boxes.count;
    unsigned other = (at + 1 + (unsigned)below(whole, (int)count - 1)) % count;

    switch (fault) {
    case FAULT_KILL_DAEMON:
        box_kill_daemon(box_at(whole, at));
        break;
    case FAULT_KILL_KEEPER:
        box_kill_keeper(box_at(whole, at));
        break;
    case FAULT_POWER:
        box_lose_power(box_at(whole, at));
        break;
    case FAULT_STOP_DAEMON:
    case FAULT_STOP_KEEPER:
    case FAULT_STOP_BOTH:
        stop(whole, at, fault != FAULT_STOP_KEEPER, fault != FAULT_STOP_DAEMON);
        break;
    case FAULT_CUT_ONE_WAY:
        net_cut(&whole->net, at, other);
        break;
    case FAULT_CUT:
        cut_both(whole, at, other);
        break;
    case FAULT_ISOLATE:
        isolate(whole, at, other);
        break;
    case FAULT_HEAL:
        heal_all(whole);
        break;
    case FAULT_SLOW_LINK:
        whole->net.delay_ms_max[at][other] = 1 + (uint32_t)below(whole, LATE_MS);
        break;
    case FAULT_SLOW_DISK:
        box_at(whole, at)->disk.write_ms_max = 1 + (uint32_t)below(whole, 300);
        break;
    case FAULT_HAND_OVER:
        box_hand_over(box_at(whole, at));
        break;
    case FAULT_LEAVE:
        box_leave(box_at(whole, at));
        break;
    case FAULT_MUTE:
        mute(whole, at);
        break;
    case FAULT_COUNT:
        break;
    }
}

static void trouble(struct whole *whole)
{
    enum fault fault = (enum fault)below(whole, FAULT_COUNT);
    unsigned at = choose_box(whole);

    if (below(whole, 1000) >= (int)whole->rate || !(whole->allowed & 1u << fault) ||
        !box_is_there(box_at(whole, at))) {
        return;
    }
    if (fault != FAULT_HEAL && below(whole, 4) == 0) {
        inflict(whole, FAULT_HEAL, at);
    }
    whole->faults[fault]++;
    if (whole->is_told) {
        printf("%6" G_GUINT64_FORMAT " ms box %u: %s\n", whole->net.now_ms, at + 1,
               fault_names[fault]);
    }
    inflict(whole, fault, at);
    virtual_loop_enter(whole->loop);
}

/* ---- steps ---- */

static int count_members(const struct whole *whole)
{
    int count = 0;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        count += box_is_member(&whole->boxes.all[i]);
    }
    return count;
}

static bool is_linked(const struct whole *whole, const struct broker *broker)
{
    return broker->remote->syncing == 0 &&
           __builtin_popcountll(broker->remote->up) == count_members(whole) - 1;
}

/* Serves, and hears all others. */
static bool is_working(const struct whole *whole, const struct box *box)
{
    return box_is_awake(box) && box_is_serving(box) && is_linked(whole, box->node->broker);
}

static bool is_any_cut_off(const struct whole *whole, const struct box *box)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        if (box_is_member(&whole->boxes.all[i]) && whole->net.cut[box->at][i]) {
            return true;
        }
    }
    return false;
}

static bool is_untroubled(const struct whole *whole)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = &whole->boxes.all[i];
        if (box_is_member(box) ? !is_working(whole, box) || is_any_cut_off(whole, box)
                               : box_is_serving(box)) { /* it has not heard that it was removed */
            return false;
        }
    }
    return true;
}

/* A SUBACK goes out without the word of a node that does not give it within REMOTE_SYNC_MS, or is
 * known not to (mqtt/remote/sync.c). Its client may read it when nothing is cut any more, and that
 * node has not heard yet what waits for it in a wire. */
static bool is_of_one_mind(const struct world *world)
{
    const struct whole *whole = (const struct whole *)(const void *)world;
    bool is_answered = true;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        for (unsigned slot = 0; slot < whole->boxes.count; slot++) {
            is_answered &= !box_is_member(&whole->boxes.all[i]) ||
                           whole->net.now_ms <= whole->answered_ms[i][slot] + ANSWER_MS_MAX;
        }
    }
    return is_answered && is_untroubled(whole);
}

/* In what was applied. */
static bool is_any_behind(const struct whole *whole)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = &whole->boxes.all[i];
        uint64_t applied = box->node ? state_applied_index(box->node->state) : 0;
        least = box_is_member(box) ? MIN(least, applied) : least;
        most = MAX(most, applied);
    }
    return least < most;
}

static void note_trouble(struct whole *whole)
{
    whole->crowd.world.ledger.is_behind = is_any_behind(whole);
    if (!is_untroubled(whole)) {
        ledger_note_trouble(&whole->crowd.world.ledger);
    }
}

static const bool *awake(struct whole *whole, bool is_awake[BOXES])
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        is_awake[i] = box_is_awake(box_at(whole, i));
    }
    return is_awake;
}

static void end_turns(struct whole *whole)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        if (box_is_awake(box_at(whole, i))) {
            virtual_loop_enter(box_at(whole, i)->node->loop);
            virtual_loop_end_turn(box_at(whole, i)->node->loop);
        }
    }
    virtual_loop_enter(whole->loop);
}

static void step(struct whole *whole)
{
    struct crowd *crowd = &whole->crowd;
    struct client *client = &crowd->clients[below(whole, CROWD_CLIENTS - 1)];
    bool is_awake[BOXES];
    bool is_stuck = client->stream && !awake(whole, is_awake)[crowd_place(crowd, client->stream)];

    note_trouble(whole);
    if (!is_stuck) {
        crowd_act(crowd, client);
    } else if (below(whole, 20) == 0) {
        client_cut(client);
    }
    if (client->stream && below(whole, 3) > 0) {
        client_read(client, 1 + (size_t)below(whole, 300));
    }
    if (below(whole, 8) == 0) {
        crowd_deliver_all(crowd, awake(whole, is_awake));
    } else {
        crowd_deliver_some(crowd, awake(whole, is_awake));
    }
    end_turns(whole);
    pass(whole, (uint64_t)below(whole, below(whole, 30) == 0 ? 600 : 12));
    trouble(whole);
    changes_turn(&whole->changes, false);
    virtual_loop_enter(whole->loop);
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        if (box_at(whole, i)->is_out) {
            crowd_count_gone(crowd, i);
        }
    }
    note_trouble(whole);
    crowd_forget(crowd);
}

/* ---- calm ---- */

static void wake_all(struct whole *whole)
{
    heal_all(whole);
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        struct box *box = box_at(whole, i);
        box_stop_daemon(box, false);
        box_stop_keeper(box, false);
        whole->wake_daemon_ms[i] = whole->wake_keeper_ms[i] = 0;
    }
}

static bool is_at_rest(struct whole *whole)
{
    uint64_t index = 0;
    unsigned leaders = 0;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = box_at(whole, i);
        if (!box_is_member(box)) {
            continue;
        }
        if (!is_working(whole, box) || state_pending(box->node->state) > 0) {
            return false;
        }
        uint64_t applied = state_applied_index(box->node->state);
        leaders += box->node->is_leading;
        if (index != 0 && applied != index) {
            return false;
        }
        index = applied;
    }
    return leaders == 1 && !changes_unrest(&whole->changes);
}

static uint64_t applied_by_all(struct whole *whole)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = box_at(whole, i);
        sum += box->node ? state_applied_index(box->node->state) : 0;
    }
    return sum;
}

static void settle(void *owner)
{
    struct whole *whole = owner;
    struct crowd *crowd = &whole->crowd;
    uint64_t begun_ms = whole->net.now_ms;

    for (int quiet = 0; quiet < QUIET_ROUNDS;) {
        uint64_t moved = crowd->world.moved + applied_by_all(whole);
        bool is_awake[BOXES];
        crowd_answer_all(crowd);
        crowd_deliver_all(crowd, awake(whole, is_awake));
        end_turns(whole);
        crowd_forget(crowd);
        pass(whole, 8);
        note_trouble(whole);
        changes_turn(&whole->changes, true);
        bool is_still = moved == crowd->world.moved + applied_by_all(whole) && is_at_rest(whole);
        quiet = is_still ? quiet + 1 : 0;
        if (whole->net.now_ms > begun_ms + SETTLE_MS_MAX) {
            const char *why = changes_unrest(&whole->changes);
            crowd_broken("it never becomes quiet%s%s", why ? ": " : "", why ? why : "");
        }
    }
}

static void judge_address(struct whole *whole)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = box_at(whole, i);
        if (box_is_member(box) && box->node->is_leading != box_holds(box)) {
            crowd_broken("box %u leads: %d, holds the address: %d", i + 1, box->node->is_leading,
                         box_holds(box));
        }
    }
}

static void judge_queues(struct whole *whole)
{
    for (unsigned i = 0; i < whole->boxes.count; i++) {
        const struct box *box = box_at(whole, i);
        if (box_is_member(box) && session_store_queued(state_sessions(box->node->state)) != 0) {
            crowd_broken("deliveries wait although everybody has answered");
        }
    }
}

static void calm(struct whole *whole)
{
    wake_all(whole);
    settle(whole);
    crowd_come_back(&whole->crowd);
    crowd_judge(&whole->crowd);
    judge_address(whole);
    judge_queues(whole);
    whole->compared = 0;
    compare_some(whole, 0);
    crowd_close_period(&whole->crowd);
}

/* ---- life ---- */

static struct broker *visit(void *owner, unsigned place, struct loop **loop)
{
    struct whole *whole = owner;
    const struct box *box = box_at(whole, place);

    if (!box_is_awake(box) || !box_is_serving(box) || box->node->is_stopping) {
        return NULL;
    }
    *loop = box->node->loop;
    return box->node->broker;
}

static bool is_known(void *owner, unsigned place)
{
    const struct box *box = box_at(owner, place);

    return box_is_member(box) || (box_is_there(box) && box_is_serving(box));
}

/* What may go wrong under this seed: each family alone, then everything. */
static unsigned faults_of(guint32 seed)
{
    static const unsigned families[] = {
        0,
        1u << FAULT_KILL_DAEMON | 1u << FAULT_KILL_KEEPER | 1u << FAULT_POWER,
        1u << FAULT_CUT | 1u << FAULT_CUT_ONE_WAY | 1u << FAULT_ISOLATE | 1u << FAULT_MUTE |
            1u << FAULT_HEAL,
        1u << FAULT_STOP_DAEMON | 1u << FAULT_STOP_KEEPER | 1u << FAULT_STOP_BOTH,
        1u << FAULT_SLOW_LINK | 1u << FAULT_SLOW_DISK | 1u << FAULT_HAND_OVER | 1u << FAULT_LEAVE |
            1u << FAULT_HEAL,
        (1u << FAULT_COUNT) - 1,
        (1u << FAULT_COUNT) - 1,
        (1u << FAULT_COUNT) - 1,
    };
    return families[seed % G_N_ELEMENTS(families)];
}

static void set_up(struct whole *whole, guint32 seed, GBytes *beginning)
{
    struct crowd *crowd = &whole->crowd;
    bool has_plan = seed / 16 % 4 == 3;
    unsigned boxes = has_plan ? BOXES : FOUNDERS;

    g_random_set_seed(seed); /* links wait at random before they dial again */
    whole->loop = virtual_loop_new(START_UNIX_MS);
    crowd_init(crowd, whole->loop, seed);
    whole->ops = (struct crowd_ops){
        .places = boxes, .visit = visit, .settle = settle, .pass = pass, .is_known = is_known};
    crowd->ops = &whole->ops;
    crowd->is_fleeting = seed / 8 % 2;
    crowd->owner = whole;
    crowd->world.is_of_one_mind = is_of_one_mind;
    crowd->world.may_find_ended = crowd->world.may_notice_late = true;
    crowd->world.ledger.clock_ms_off = CLOCK_MS_OFF;
    whole->allowed = faults_of(seed);
    whole->rate = 20 + (unsigned)below(whole, 60);
    net_init(&whole->net, crowd->world.random, boxes);
    whole->net.now_ms = virtual_loop_true_ms(whole->loop);
    boxes_init(&whole->boxes, &whole->net, crowd->world.random, boxes);
    whole->boxes.start_unix_ms = START_UNIX_MS;
    whole->boxes.snapshot_log_bytes = below(whole, 2) ? 16384 : 0;
    whole->boxes.on_dying = on_dying;
    whole->boxes.on_dead = on_dead;
    whole->boxes.owner = whole;
    heal_all(whole);
    for (unsigned i = 0; i < FOUNDERS; i++) {
        box_found(box_at(whole, i), FOUNDERS, beginning);
        box_start(box_at(whole, i));
    }
    virtual_loop_enter(whole->loop);
    settle(whole);
    crowd_begin(crowd);
    changes_init(&whole->changes, &whole->boxes, crowd->world.random, has_plan);
    whole->changes.is_told = whole->is_told;
}

static void tear_down(struct whole *whole)
{
    boxes_deinit(&whole->boxes);
    crowd_deinit(&whole->crowd);
    net_deinit(&whole->net);
    virtual_loop_free(whole->loop);
}

static void run(const struct seeds_run *run)
{
    struct whole whole = {.crowd.world.traced = run->traced, .is_told = run->is_told};
    g_autoptr(GBytes) beginning = begin_cluster(FOUNDERS, START_UNIX_MS);

    set_up(&whole, run->seed, beginning);
    for (uint64_t i = 0; i < run->steps; i++) {
        step(&whole);
    }
    calm(&whole);
    if (run->is_told) {
        crowd_tell(&whole.crowd);
        printf("%" G_GUINT64_FORMAT " times a holder, %" G_GUINT64_FORMAT " ms\n",
               whole.boxes.failovers, whole.net.now_ms);
    }
    tear_down(&whole);
}

int main(int argc, char **argv)
{
    return seeds_main(argc, argv, "sim-whole", STEPS, run);
}

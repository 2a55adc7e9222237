/* See changes.h. */
#include "changes.h"
#include "consensus/members.h"
#include "crowd.h"
#include "loop/loop.h"
#include "mqtt/test_virtual_loop.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/propose_cluster.h"
#include "state/state.h"
#include <stdio.h>

#define PAUSE_MS_MAX 1500 /* between tasks */
#define AGAIN_MS     700  /* then somebody else is asked */
#define VOTERS       3

static const char *const names[] = {"joins",       "is removed", "is lost for good",
                                    "is given up", "is drained", "is activated"};

static const enum change plans[][6] = {
    {CHANGE_JOIN, CHANGE_REMOVE, CHANGE_END},
    {CHANGE_JOIN, CHANGE_LOSE, CHANGE_BURY, CHANGE_END},
    {CHANGE_REMOVE, CHANGE_JOIN, CHANGE_JOIN, CHANGE_REMOVE, CHANGE_END},
    {CHANGE_JOIN, CHANGE_JOIN, CHANGE_LOSE, CHANGE_REMOVE, CHANGE_END},
    {CHANGE_JOIN, CHANGE_DRAIN, CHANGE_JOIN, CHANGE_ACTIVATE, CHANGE_REMOVE, CHANGE_END},
    {CHANGE_JOIN, CHANGE_JOIN, CHANGE_REMOVE, CHANGE_REMOVE, CHANGE_END},
};

static int below(struct changes *changes, int end)
{
    return g_rand_int_range(changes->random, 0, end);
}

static struct box *box_at(const struct changes *changes, unsigned at)
{
    return &changes->boxes->all[at];
}

/* ---- who knows ---- */

static bool may_be_asked(const struct box *box)
{
    return box_is_member(box) && box_is_awake(box) && box_is_serving(box) &&
           !box->node->is_stopping;
}

/* Whoever has the most of the log. */
static const struct box *find_newest(const struct changes *changes)
{
    const struct box *newest = NULL;

    for (unsigned i = 0; i < changes->boxes->count; i++) {
        const struct box *box = box_at(changes, i);
        if (may_be_asked(box) && (!newest || state_applied_index(box->node->state) >
                                                 state_applied_index(newest->node->state))) {
            newest = box;
        }
    }
    return newest;
}

/* In the newest term. */
static const struct box *find_leader(const struct changes *changes)
{
    const struct box *leader = NULL;

    for (unsigned i = 0; i < changes->boxes->count; i++) {
        const struct box *box = box_at(changes, i);
        if (may_be_asked(box) && box->node->is_leading &&
            (!leader || box->node->cluster->term > leader->node->cluster->term)) {
            leader = box;
        }
    }
    return leader;
}

/* Bits for boxes, as the node of `box` knows them. */
struct roles {
    uint32_t known, following, voters;
};

static void note_role(void *owner, const struct consensus_member *member)
{
    struct roles *roles = owner;
    uint32_t bit = 1u << (member->node_id - 1);

    roles->known |= bit;
    roles->following |= member->role != CONSENSUS_SPARE ? bit : 0;
    roles->voters |= member->role == CONSENSUS_VOTER ? bit : 0;
}

static struct roles roles_of(const struct box *box)
{
    struct roles roles = {0};

    consensus_for_each_member(cluster_consensus(box->node->cluster), note_role, &roles);
    return roles;
}

static uint32_t members_bits(const struct changes *changes)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < changes->boxes->count; i++) {
        bits |= box_is_member(box_at(changes, i)) ? 1u << i : 0;
    }
    return bits;
}

static int count(uint32_t bits)
{
    return __builtin_popcount(bits);
}

/* ---- whom it befalls ---- */

/* A vote can go to another, and a majority of those that vote is left meanwhile. Who loses it for
 * good needs a rescue, which is not here. */
static bool can_be_lost(const struct changes *changes, const struct box *leader,
                        const struct box *box)
{
    uint32_t voters = roles_of(leader).voters, there = members_bits(changes);

    return (voters & 1u << box->at) && count(there) > VOTERS &&
           count(voters & there & ~(1u << box->at)) > count(voters) / 2;
}

/* Until another votes for one that is lost nobody else is taken away: a link is up for seconds
 * after a box lost its power, and two that are gone for good at once are a majority. */
static bool is_any_missed(const struct changes *changes, const struct box *leader)
{
    uint32_t gone = 0;

    for (unsigned i = 0; i < changes->boxes->count; i++) {
        gone |= box_at(changes, i)->is_gone ? 1u << i : 0;
    }
    return gone & roles_of(leader).voters;
}

static bool is_drained(const struct box *leader, const struct box *box)
{
    const struct cluster_node *row = state_find_node(leader->node->state, box->at + 1);

    return row && row->is_drained;
}

static bool is_meant(const struct changes *changes, const struct box *leader, const struct box *box)
{
    switch (*changes->plan) {
    case CHANGE_JOIN:
        return !box->peers;
    case CHANGE_REMOVE:
        return box_is_member(box) && !is_any_missed(changes, leader);
    case CHANGE_LOSE:
        return box_is_member(box) && can_be_lost(changes, leader, box);
    case CHANGE_BURY:
        return box->is_gone;
    case CHANGE_DRAIN:
        return box_is_member(box);
    case CHANGE_ACTIVATE:
        return is_drained(leader, box);
    case CHANGE_END:
        break;
    }
    return false;
}

/* Often the leader. */
static struct box *choose(struct changes *changes)
{
    const struct box *leader = find_leader(changes);
    unsigned at = (unsigned)below(changes, (int)changes->boxes->count);

    if (!leader) {
        return NULL;
    }
    at = below(changes, 3) == 0 ? leader->at : at;
    return is_meant(changes, leader, box_at(changes, at)) ? box_at(changes, at) : NULL;
}

/* ---- asking ---- */

static void propose_join(struct state *state, unsigned at)
{
    struct join_token token = {.id = at + 1, .expires_unix_ms = UINT64_MAX};
    char name[16], address[16];

    g_snprintf(name, sizeof name, "box-%u", at + 1);
    g_snprintf(address, sizeof address, "box-%u:7474", at + 1);
    struct state_node_join wanted = {.node_id = at + 1,
                                     .name = name,
                                     .address = address,
                                     .version = "0.1.0",
                                     .certificate = "",
                                     .token_id = at + 1,
                                     .command_level = STATE_COMMAND_LEVEL};
    state_propose_token_put(state, &token, NULL);
    state_propose_node_join(state, &wanted, NULL);
}

/* As api/nodes.c: it is refused while the node is needed. Another may be chosen then, although a
 * removal that was asked for before may still be under way (`is_asked_out`). */
static void propose_remove(struct changes *changes, const struct box *asked)
{
    uint64_t id = changes->box->at + 1;

    if (cluster_can_spare(asked->node->cluster, id)) {
        state_propose_node_remove(asked->node->state, id, false, NULL);
        changes->is_asked_out[changes->box->at] = true;
    } else {
        changes->box = NULL;
    }
}

static void propose(struct changes *changes, const struct box *asked)
{
    enum change verb = *changes->plan;
    struct state *state = asked->node->state;
    struct state_node_update update = {.node_id = changes->box->at + 1,
                                       .fields = NODE_FIELD_DRAINED,
                                       .is_drained = verb == CHANGE_DRAIN};

    virtual_loop_enter(asked->node->loop);
    if (verb == CHANGE_JOIN) {
        propose_join(state, changes->box->at);
    } else if (verb == CHANGE_REMOVE || verb == CHANGE_BURY) {
        propose_remove(changes, asked);
    } else if (verb == CHANGE_DRAIN || verb == CHANGE_ACTIVATE) {
        state_propose_node_update(state, &update, NULL);
    }
    virtual_loop_end_turn(asked->node->loop);
}

static bool is_done(const struct changes *changes, const struct box *newest)
{
    const struct cluster_node *row = state_find_node(newest->node->state, changes->box->at + 1);

    switch (*changes->plan) {
    case CHANGE_JOIN:
        return row != NULL;
    case CHANGE_REMOVE:
    case CHANGE_BURY:
        return row == NULL;
    case CHANGE_DRAIN:
    case CHANGE_ACTIVATE:
        return !row || row->is_drained == (*changes->plan == CHANGE_DRAIN);
    case CHANGE_LOSE:
    case CHANGE_END:
        break;
    }
    return true;
}

static void end_task(struct changes *changes, const struct box *newest)
{
    struct box *box = changes->box;

    if (*changes->plan == CHANGE_JOIN) { /* its answer is never lost: nobody would start it */
        box_install(box, newest->node->state);
        box_start(box);
    } else if (*changes->plan == CHANGE_LOSE) {
        box_lose(box);
    }
    if (changes->is_told) {
        printf("%6" G_GUINT64_FORMAT " ms box %u %s\n", changes->boxes->net->now_ms, box->at + 1,
               names[*changes->plan]);
    }
    changes->plan++;
    changes->box = NULL;
    changes->again_ms = 0;
    changes->next_ms = changes->boxes->net->now_ms + (uint64_t)below(changes, PAUSE_MS_MAX);
}

static void ask(struct changes *changes)
{
    const struct box *asked = box_at(changes, (unsigned)below(changes, (int)changes->boxes->count));
    uint64_t now_ms = changes->boxes->net->now_ms;

    if (may_be_asked(asked) && now_ms >= changes->again_ms) {
        propose(changes, asked);
        changes->again_ms = now_ms + AGAIN_MS;
    }
}

static bool has_plan(const struct changes *changes)
{
    return changes->plan && *changes->plan != CHANGE_END;
}

static void note_out(struct changes *changes, const struct box *newest)
{
    for (unsigned i = 0; newest && i < changes->boxes->count; i++) {
        box_at(changes, i)->is_out |=
            changes->is_asked_out[i] && !state_find_node(newest->node->state, i + 1);
    }
}

void changes_turn(struct changes *changes, bool is_urgent)
{
    const struct box *newest = changes->plan ? find_newest(changes) : NULL;

    note_out(changes, newest);
    if (!newest || !has_plan(changes) ||
        (changes->boxes->net->now_ms < changes->next_ms && !is_urgent)) {
        return;
    }
    if (!changes->box) {
        changes->box = choose(changes);
    } else if (is_done(changes, newest)) {
        end_task(changes, newest);
    } else {
        ask(changes);
    }
}

/* ---- judging ---- */

/* What the table says has reached libraft's configuration. */
static bool has_left(const struct box *leader, const struct box *box)
{
    return box->is_out && !state_find_node(leader->node->state, box->at + 1) &&
           !(roles_of(leader).known & 1u << box->at) && !leader->node->cluster->is_changing_roles;
}

static void judge_removed(const struct changes *changes, const struct box *box)
{
    uint64_t out_term = changes->out_term[box->at];

    if (box_holds(box) && !box->desk.is_stopped) {
        crowd_broken("box %u was removed and holds the address", box->at + 1);
    }
    if (box->node && box->node->is_leading && box->node->cluster->term > out_term) {
        crowd_broken("box %u was removed and leads", box->at + 1);
    }
}

void changes_judge(struct changes *changes)
{
    const struct box *leader = changes->plan ? find_leader(changes) : NULL;

    for (unsigned i = 0; changes->plan && i < changes->boxes->count; i++) {
        const struct box *box = box_at(changes, i);
        if (leader && changes->out_term[i] == 0 && has_left(leader, box)) {
            changes->out_term[i] = leader->node->cluster->term;
        }
        if (changes->out_term[i] != 0) {
            judge_removed(changes, box);
        }
    }
}

static bool is_on_majority(const struct boxes *boxes, uint32_t voters, uint64_t index,
                           uint64_t term)
{
    int copies = 0;

    for (unsigned i = 0; i < boxes->count; i++) {
        copies += (voters & 1u << i) && disk_has(&boxes->all[i].disk, index, term);
    }
    return copies > count(voters) / 2;
}

static bool is_by_leader(const struct boxes *boxes, uint64_t index, uint64_t term)
{
    bool is_on = false;

    for (unsigned i = 0; i < boxes->count && !is_on; i++) {
        const struct box *box = &boxes->all[i];
        is_on = box->node && box->node->is_leading &&
                is_on_majority(boxes, roles_of(box).voters, index, term);
    }
    return is_on;
}

/* By the voters of then, as a disk that has the entry knows them, or by those that came after: a
 * change counts for a leader from when it is appended, before any disk has it. */
static bool is_committed(const struct boxes *boxes, const struct box *box, uint64_t index)
{
    const struct disk *disk = &box->disk;
    uint64_t term = disk_term_of(disk, index);

    if (disk_has(disk, index, term) && is_by_leader(boxes, index, term)) {
        return true;
    }
    for (guint i = disk_has(disk, index, term) ? disk->voters->len : 0; i-- > 0;) {
        const struct saved_voters *voters = &g_array_index(disk->voters, struct saved_voters, i);
        if (is_on_majority(boxes, voters->boxes, index, term)) {
            return true;
        }
        if (voters->index <= index) {
            break;
        }
    }
    return false;
}

/* A disk may have one of a later term there, of a leader that nobody has heard: it will be taken
 * back. */
void changes_judge_durability(const struct boxes *boxes, const struct box *box)
{
    uint64_t index = state_applied_index(box->node->state);
    bool is_durable = index == 0; /* of one that joins */

    for (unsigned i = 0; i < boxes->count && !is_durable; i++) {
        is_durable = is_committed(boxes, &boxes->all[i], index);
    }
    if (!is_durable) {
        crowd_broken("box %u has applied entry %" G_GUINT64_FORMAT
                     ", which no majority of disks has",
                     box->at + 1, index);
    }
}

static const char *roles_unrest(const struct changes *changes)
{
    const struct box *leader = find_leader(changes);
    uint32_t bits = members_bits(changes);
    int wanted = count(bits) >= VOTERS ? VOTERS : 1;

    if (!leader) {
        return "nobody leads";
    }
    struct roles roles = roles_of(leader);
    if ((roles.following & bits) != bits) {
        return "a member does not follow the log";
    }
    if (roles.voters & ~bits) {
        return "who is gone votes";
    }
    return count(roles.voters) == wanted ? NULL : "not as many vote as should";
}

const char *changes_unrest(const struct changes *changes)
{
    if (!changes->plan) {
        return NULL;
    }
    for (unsigned i = 0; i < changes->boxes->count; i++) {
        if (box_at(changes, i)->is_out && box_is_serving(box_at(changes, i))) {
            return "a removed box serves";
        }
    }
    return has_plan(changes) ? "a change does not come about" : roles_unrest(changes);
}

void changes_init(struct changes *changes, struct boxes *boxes, GRand *random, bool has_plan)
{
    *changes = (struct changes){.boxes = boxes, .random = random};
    if (has_plan) {
        changes->plan = plans[below(changes, G_N_ELEMENTS(plans))];
        changes->next_ms = boxes->net->now_ms + (uint64_t)below(changes, PAUSE_MS_MAX);
    }
}

/* See roles.h. What is wanted is computed anew each time from all members; the first difference to
 * what is there becomes the action, in an order in which no step makes the cluster weaker than the
 * one before: who is gone goes when it does not vote, who is new comes, replacements are promoted,
 * then those that are too many are demoted, then leadership moves.
 *
 * Candidates are ranked; among equals the one with the lower id wins, so that the answer is the
 * same however the members are ordered. */
#include "cluster/roles.h"
#include <string.h>

#define VOTERS_SMALL 3
#define VOTERS_LARGE 5
#define LARGE_FROM   7
#define MEMBERS_MAX  256
#define MOMENT_MS    1000

static bool is_lost(const struct roles_view *view, const struct roles_member *member,
                    uint64_t now_ms)
{
    return member->down_ms != 0 && now_ms >= member->down_ms &&
           now_ms - member->down_ms >= view->replace_after_ms;
}

/* Votes already, or could be made to now. One that is drained still votes when nobody else can. */
static bool is_eligible(const struct roles_member *member)
{
    return member->is_in_state && member->wish != ROLES_WISH_SPARE &&
           (member->role == ROLES_VOTER || member->down_ms == 0);
}

static bool is_willing(const struct roles_member *member)
{
    return is_eligible(member) && !member->is_drained;
}

static unsigned count_members(const struct roles_view *view)
{
    unsigned count = 0;

    for (size_t i = 0; i < view->count; i++) {
        count += view->members[i].is_in_state;
    }
    return count;
}

static unsigned most_voters(const struct roles_view *view)
{
    return count_members(view) >= LARGE_FROM ? VOTERS_LARGE : VOTERS_SMALL;
}

/* An odd number: with two that are eligible one votes. A voter that is down still counts: it comes
 * back, and its vote is not taken from it before another has it. */
unsigned roles_voters_wanted(const struct roles_view *view)
{
    unsigned eligible = 0, most = most_voters(view);

    for (size_t i = 0; i < view->count; i++) {
        eligible += is_eligible(&view->members[i]);
    }
    if (eligible >= most) {
        return most;
    }
    if (eligible == 0) {
        return 1; /* all are wanted as spare: somebody has to */
    }
    return eligible % 2 ? eligible : eligible - 1;
}

/* ---- who is to vote ---- */

static bool has_zone(const struct roles_member *member)
{
    return member->zone && member->zone[0];
}

static bool is_same_zone(const struct roles_member *a, const struct roles_member *b)
{
    return has_zone(a) == has_zone(b) && (!has_zone(a) || strcmp(a->zone, b->zone) == 0);
}

/* Twice the number of those chosen already that share its zone. Where one without a label stands
 * is not known: half a mate more. */
static unsigned zone_mates(const struct roles_view *view, const bool *chosen, size_t at)
{
    unsigned halves = has_zone(&view->members[at]) ? 0 : 1;

    for (size_t i = 0; i < view->count; i++) {
        halves += chosen[i] && is_same_zone(&view->members[i], &view->members[at]) ? 2 : 0;
    }
    return halves;
}

/* A witness is made to vote, but never alone: it has nothing else. One is enough: when two of three
 * voters are witnesses and the third dies, nobody is left that may lead. */
static bool is_spare_witness(const struct roles_view *view, const bool *chosen, size_t at)
{
    bool is_needless = roles_voters_wanted(view) < VOTERS_SMALL;

    for (size_t i = 0; i < view->count; i++) {
        is_needless |= chosen[i] && view->members[i].wish == ROLES_WISH_WITNESS;
    }
    return view->members[at].wish == ROLES_WISH_WITNESS && is_needless;
}

static bool is_preferred(const struct roles_member *member)
{
    return member->wish == ROLES_WISH_VOTER || member->wish == ROLES_WISH_WITNESS;
}

/* Lower is better. A vote moves for a reason only: who votes already and is there comes before who
 * would have to be promoted, unless a zone is gained; who is down for long comes last. */
static uint64_t rank(const struct roles_view *view, const bool *chosen, size_t at, uint64_t now_ms)
{
    const struct roles_member *member = &view->members[at];
    uint64_t rank = 0;

    rank = rank * 2 + !is_willing(member);
    rank = rank * 2 + is_lost(view, member, now_ms);
    rank = rank * 2 + is_spare_witness(view, chosen, at);
    rank = rank * 2 + !is_preferred(member);
    rank = rank * (2 * MEMBERS_MAX) + zone_mates(view, chosen, at);
    rank = rank * 2 + (member->role != ROLES_VOTER);
    rank = rank * 2 + (member->node_id != view->leader_id);
    rank = rank * 2 + (member->role != ROLES_STANDBY);
    return rank * 2 + member->is_behind;
}

static bool may_choose(const struct roles_view *view, size_t at, bool has_eligible)
{
    const struct roles_member *member = &view->members[at];

    return has_eligible ? is_eligible(member) : member->is_in_state;
}

static size_t find_best(const struct roles_view *view, uint64_t now_ms, const bool *chosen,
                        bool has_eligible)
{
    size_t best = view->count;
    uint64_t best_rank = 0;

    for (size_t i = 0; i < view->count; i++) {
        if (chosen[i] || !may_choose(view, i, has_eligible)) {
            continue;
        }
        uint64_t r = rank(view, chosen, i, now_ms);
        bool is_first = best == view->count || r < best_rank;
        if (is_first ||
            (r == best_rank && view->members[i].node_id < view->members[best].node_id)) {
            best = i;
            best_rank = r;
        }
    }
    return best;
}

static void choose_voters(const struct roles_view *view, uint64_t now_ms, bool *chosen)
{
    unsigned wanted = roles_voters_wanted(view);
    bool has_eligible = false;

    memset(chosen, 0, view->count * sizeof *chosen);
    for (size_t i = 0; i < view->count; i++) {
        has_eligible |= is_eligible(&view->members[i]);
    }
    for (unsigned n = 0; n < wanted; n++) {
        size_t best = find_best(view, now_ms, chosen, has_eligible);
        if (best == view->count) {
            return;
        }
        chosen[best] = true;
    }
}

/* ---- the steps ---- */

static struct roles_action act(enum roles_verb verb, const struct roles_member *member,
                               enum roles_role role, const char *why)
{
    return (struct roles_action){verb, member->node_id, role, why};
}

static const struct roles_action nothing = {ROLES_NOTHING, 0, ROLES_NONE, NULL};

static unsigned count_voters(const struct roles_view *view, bool only_up)
{
    unsigned count = 0;

    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        count += member->role == ROLES_VOTER && (!only_up || member->down_ms == 0);
    }
    return count;
}

/* Whether a majority is there after `voters` changed by `voters_change` and those up by
 * `up_change`; a change of the configuration is committed by the new one. */
static bool keeps_quorum(const struct roles_view *view, int voters_change, int up_change)
{
    int voters = (int)count_voters(view, false) + voters_change;
    int up = (int)count_voters(view, true) + up_change;

    return voters > 0 && up > voters / 2;
}

static struct roles_action come_and_go(const struct roles_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        if (!member->is_in_state && member->role != ROLES_NONE && member->role != ROLES_VOTER) {
            return act(ROLES_REMOVE, member, ROLES_NONE, "it was removed");
        }
    }
    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        if (member->is_in_state && member->role == ROLES_NONE) {
            return act(ROLES_ADD, member, ROLES_SPARE, "it has joined");
        }
    }
    return nothing;
}

/* A chosen one that is there: first the log, then the vote. */
static struct roles_action promote(const struct roles_view *view, const bool *chosen)
{
    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        if (!chosen[i] || member->down_ms != 0 || member->role == ROLES_VOTER) {
            continue;
        }
        if (member->role == ROLES_SPARE) {
            return act(ROLES_ASSIGN, member, ROLES_STANDBY, "it is to vote and gets the log first");
        }
        if (!member->is_behind && keeps_quorum(view, 1, 1)) {
            return act(ROLES_ASSIGN, member, ROLES_VOTER, "a voter is wanted");
        }
    }
    return nothing;
}

/* A link is up for seconds after the other side fell silent: the leader that was just replaced for
 * its silence looks as if it were there. */
static bool is_heard(const struct roles_view *view, const struct roles_member *member)
{
    return member->down_ms == 0 &&
           (view->heir_silent_ms_max == 0 || member->silent_ms <= view->heir_silent_ms_max);
}

static bool inherits_before(const struct roles_member *a, const struct roles_member *b)
{
    return a->silent_ms != b->silent_ms ? a->silent_ms < b->silent_ms : a->node_id < b->node_id;
}

/* The other one that leads best: a voter that stays one, and of them the one heard last. */
static const struct roles_member *find_heir(const struct roles_view *view, const bool *chosen)
{
    const struct roles_member *heir = NULL;

    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        bool fits = member->role == ROLES_VOTER && is_heard(view, member) && chosen[i] &&
                    !member->is_behind && !member->is_drained &&
                    member->wish != ROLES_WISH_WITNESS && member->node_id != view->leader_id;
        if (fits && (!heir || inherits_before(member, heir))) {
            heir = member;
        }
    }
    return heir;
}

static bool goes_before(const struct roles_member *a, const struct roles_member *b)
{
    bool a_is_up = a->down_ms == 0, b_is_up = b->down_ms == 0;

    return a_is_up != b_is_up ? b_is_up : a->node_id < b->node_id;
}

/* Those that are down go first. */
static const struct roles_member *find_demoted(const struct roles_view *view, const bool *chosen)
{
    const struct roles_member *best = NULL;

    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        bool may_go = member->role == ROLES_VOTER && !chosen[i] &&
                      keeps_quorum(view, -1, member->down_ms == 0 ? -1 : 0);
        if (may_go && (!best || goes_before(member, best))) {
            best = member;
        }
    }
    return best;
}

/* Demoting waits until all that are to vote can do so. */
static struct roles_action demote(const struct roles_view *view, const bool *chosen)
{
    const struct roles_member *best = find_demoted(view, chosen);
    bool best_is_up = best && best->down_ms == 0;

    if (!best) {
        return nothing;
    }
    if (best->node_id == view->leader_id) {
        const struct roles_member *heir = find_heir(view, chosen);
        return heir ? act(ROLES_TRANSFER, heir, ROLES_VOTER, "the leader is not to vote any more")
                    : nothing;
    }
    bool keeps_log = best->is_in_state && best_is_up;
    return act(ROLES_ASSIGN, best, keeps_log ? ROLES_STANDBY : ROLES_SPARE,
               best_is_up ? "it is not to vote any more" : "it is down and has been replaced");
}

static bool all_chosen_vote(const struct roles_view *view, const bool *chosen)
{
    for (size_t i = 0; i < view->count; i++) {
        if (chosen[i] && view->members[i].role != ROLES_VOTER) {
            return false;
        }
    }
    return true;
}

/* Beside the voters all others follow the log: without it a node serves nobody. One at a time gets
 * it, so that the leader is not busy with all of them. */
static struct roles_action keep_standbys(const struct roles_view *view)
{
    const struct roles_member *candidate = NULL;

    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        bool may_stand = member->is_in_state && member->role == ROLES_SPARE && member->down_ms == 0;
        if (may_stand && (!candidate || member->node_id < candidate->node_id)) {
            candidate = member;
        }
    }
    return candidate ? act(ROLES_ASSIGN, candidate, ROLES_STANDBY, "it is to follow the log")
                     : nothing;
}

static const struct roles_member *find_leader(const struct roles_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        if (view->members[i].node_id == view->leader_id) {
            return &view->members[i];
        }
    }
    return NULL;
}

static struct roles_action move_leadership(const struct roles_view *view, const bool *chosen)
{
    const struct roles_member *leader = find_leader(view);
    bool should_not_lead = leader && (leader->is_drained || !leader->is_in_state ||
                                      leader->wish == ROLES_WISH_WITNESS);
    const struct roles_member *heir = should_not_lead ? find_heir(view, chosen) : NULL;

    return heir ? act(ROLES_TRANSFER, heir, ROLES_VOTER,
                      leader->is_drained ? "the leader is drained" : "the leader is not to lead")
                : nothing;
}

struct roles_action roles_decide(const struct roles_view *view, uint64_t now_ms)
{
    bool chosen[MEMBERS_MAX];
    struct roles_action action;

    if (view->count == 0 || view->count > MEMBERS_MAX || !keeps_quorum(view, 0, 0)) {
        return nothing;
    }
    choose_voters(view, now_ms, chosen);
    action = come_and_go(view);
    if (action.verb == ROLES_NOTHING) {
        action = move_leadership(view, chosen);
    }
    if (action.verb == ROLES_NOTHING) {
        action = promote(view, chosen);
    }
    if (action.verb == ROLES_NOTHING && all_chosen_vote(view, chosen)) {
        action = demote(view, chosen);
        if (action.verb == ROLES_NOTHING) {
            action = keep_standbys(view);
        }
    }
    return action;
}

/* ---- for people ---- */

unsigned roles_tolerance(const struct roles_view *view)
{
    unsigned voters = count_voters(view, false), up = count_voters(view, true);
    unsigned majority = voters / 2 + 1;

    return up >= majority ? up - majority : 0;
}

/* What goes on and what waits is the same for all three. */
#define WAITS                                                                                      \
    "This node goes on delivering between its own clients; what must not be lost (retained, "      \
    "for persistent sessions) and every change waits, and is refused after a while."

static const char *safety_cut_off(const struct roles_view *view)
{
    unsigned voters = count_voters(view, false);

    if (voters == 1) {
        return "The node that decides cannot be reached. " WAITS
               " If it is gone for good, `microcloud node promote --force NAME` on this one goes "
               "on without it.";
    }
    if (count_voters(view, true) > voters / 2) {
        return "No leader is known: the nodes that vote are electing one, or cannot be "
               "reached. " WAITS;
    }
    return "The majority of the nodes that vote is gone, or cannot be reached from here. " WAITS
           " If it is gone for good, `microcloud node promote --force NAME` on one that is left "
           "goes on without it.";
}

static bool stands_alone(const struct roles_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        if (member->node_id != view->leader_id && member->down_ms == 0) {
            return false;
        }
    }
    return true;
}

static const char *safety_intolerant(const struct roles_view *view)
{
    if (count_voters(view, false) >= VOTERS_SMALL) {
        return "No further node may fail: a voter is down and none could take its place.";
    }
    if (stands_alone(view)) {
        return "This node decides alone, no other can be reached: what is acknowledged now "
               "survives a crash of it, not the loss of its disk. If another was forced on "
               "without this one meanwhile (`node promote --force`), this one ends when they meet "
               "again, and what it took since then is lost.";
    }
    return "Two nodes cannot outvote each other: only one votes, and when it fails the cluster "
           "waits for it. A third, however small (`microcloud run --witness --join TOKEN`), lets "
           "any one fail.";
}

const char *roles_safety(const struct roles_view *view)
{
    unsigned tolerance = roles_tolerance(view);

    if (view->is_cut_off) {
        return safety_cut_off(view);
    }
    if (count_members(view) <= 1) {
        return "One node: what is acknowledged survives a crash of it, not the loss of its disk.";
    }
    if (tolerance == 0) {
        return safety_intolerant(view);
    }
    return tolerance == 1 ? "Any one node may fail: nothing is lost and everything goes on."
                          : "Any two nodes may fail: nothing is lost and everything goes on.";
}

/* A link that begins anew is down for a moment. */
static bool is_there(const struct roles_member *member, uint64_t now_ms)
{
    return member->is_in_state && (member->down_ms == 0 || now_ms < member->down_ms + MOMENT_MS);
}

bool roles_can_spare(const struct roles_view *view, uint64_t node_id, uint64_t now_ms)
{
    unsigned voters = 0, left = 0;
    bool votes = false, may_be_promoted = false;

    for (size_t i = 0; i < view->count; i++) {
        const struct roles_member *member = &view->members[i];
        bool is_it = member->node_id == node_id;
        if (member->role == ROLES_VOTER) {
            voters++;
            votes |= is_it;
            left += !is_it && is_there(member, now_ms);
            may_be_promoted |=
                !is_it && !is_there(member, now_ms); /* in the place of that one, just now */
        }
    }
    voters += !votes && may_be_promoted;
    return left > voters / 2;
}

const char *roles_role_to_string(enum roles_role role)
{
    static const char *const names[] = {"none", "spare", "stand-by", "voter"};

    return names[role];
}

static const char *const wishes[] = {"auto", "voter", "spare", "witness"};

const char *roles_wish_to_string(enum roles_wish wish)
{
    return wishes[wish];
}

bool roles_wish_from_string(const char *text, enum roles_wish *wish)
{
    for (unsigned i = 0; i < sizeof wishes / sizeof *wishes; i++) {
        if (strcmp(text, wishes[i]) == 0) {
            *wish = (enum roles_wish)i;
            return true;
        }
    }
    return false;
}

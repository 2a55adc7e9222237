/* Which node has which role in consensus: a pure function on the leader, asked again whenever
 * something has changed or an action is done, at least every second. One action at a time: the next
 * is decided when this one is in the configuration.
 *
 * Wanted are three voters, five from seven members on, an odd number of those that can be had: two
 * healthy nodes alone give one voter, since two voters would stop when either dies. Voters stand in
 * different zones when they can; of two that gain no other zone one without a label comes before
 * one of a zone that is there already. Beside the voters all others stand by: they follow the log,
 * so that they serve and know what is said of the cluster; one that is wanted as spare never votes.
 * A voter that is down is replaced by a node that is up and demoted only after its replacement
 * votes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum roles_role { ROLES_NONE, ROLES_SPARE, ROLES_STANDBY, ROLES_VOTER };
enum roles_wish { ROLES_AUTO, ROLES_WISH_VOTER, ROLES_WISH_SPARE, ROLES_WISH_WITNESS };

struct roles_member {
    uint64_t node_id;
    enum roles_role role; /* in the newest configuration of consensus; NONE: not in it */
    enum roles_wish wish;
    const char *zone;   /* label `zone`; NULL or "": perhaps any of the others' */
    uint64_t down_ms;   /* since then not reachable (boottime); 0 = reachable */
    uint64_t silent_ms; /* nothing was heard of it for so long; a link is up for a while longer */
    bool is_in_state;   /* has a row in the nodes table; false: was removed */
    bool is_drained;    /* should not lead nor vote, when another can */
    bool is_behind;     /* has not the log yet: do not let it vote (consensus knows) */
};

enum roles_verb {
    ROLES_NOTHING,
    ROLES_ADD,      /* into the configuration, as spare */
    ROLES_ASSIGN,   /* `role` */
    ROLES_REMOVE,   /* from the configuration */
    ROLES_TRANSFER, /* leadership to `node_id`, since the leader is drained, demoted or removed */
};

struct roles_action {
    enum roles_verb verb;
    uint64_t node_id;
    enum roles_role role;
    const char *why; /* constant, for the log */
};

struct roles_view {
    const struct roles_member *members;
    size_t count;
    uint64_t leader_id; /* the one that asks */
    /* A voter down for so long is replaced (cluster.node_down_after_ms). */
    uint64_t replace_after_ms;
    uint64_t heir_silent_ms_max; /* who was silent for longer is not given leadership; 0 = any */
    bool is_cut_off;             /* no leader is known here: for roles_safety */
};

/* How many voters this view wants. */
unsigned roles_voters_wanted(const struct roles_view *view);
struct roles_action roles_decide(const struct roles_view *view, uint64_t now_ms);

/* How many voters may die before the cluster stops: 0 with one or two. */
unsigned roles_tolerance(const struct roles_view *view);
/* Whether those that vote can still decide when this one is removed: it is cut off at once, while
 * its vote counts until another has it. */
bool roles_can_spare(const struct roles_view *view, uint64_t node_id, uint64_t now_ms);
/* One sentence for `status` and the console: what is safe and what is not. */
const char *roles_safety(const struct roles_view *view);
const char *roles_role_to_string(enum roles_role role);
const char *roles_wish_to_string(enum roles_wish wish);
bool roles_wish_from_string(const char *text, enum roles_wish *wish);

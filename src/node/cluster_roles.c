/* Leading: keeps the roles as roles.h decides, declares nodes dead, takes a removed one out. Looked
 * at when something changed and, while there are other nodes, twice a second. */
#include "base/log.h"
#include "cluster/roles.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/cluster_vip.h"
#include "node/node.h"
#include "state/log.h"
#include "state/propose_cluster.h"
#include "state/settings.h"
#include <errno.h>
#include <string.h>

#define LOOK_MS  500
#define LEAVE_MS 500u /* at least */

_Static_assert((int)ROLES_WISH_WITNESS == (int)NODE_ROLE_WITNESS, "the same words");

static bool is_leading(const struct node_cluster *cluster)
{
    struct consensus_status status;

    consensus_status(cluster_consensus(cluster), &status);
    return status.state == CONSENSUS_LEADING;
}

/* ---- what roles.h looks at ---- */

/* The one of this id, added when there is none. */
static struct roles_member *take_member(GArray *members, uint64_t node_id)
{
    for (guint i = 0; i < members->len; i++) {
        struct roles_member *member = &g_array_index(members, struct roles_member, i);
        if (member->node_id == node_id) {
            return member;
        }
    }
    struct roles_member fresh = {.node_id = node_id};
    g_array_append_val(members, fresh);
    return &g_array_index(members, struct roles_member, members->len - 1);
}

static void add_member(void *owner, const struct consensus_member *from)
{
    static const enum roles_role roles[] = {ROLES_SPARE, ROLES_STANDBY, ROLES_VOTER};
    struct roles_member member = {
        .node_id = from->node_id, .role = roles[from->role], .silent_ms = from->silent_ms};

    g_array_append_val(owner, member);
}

static uint64_t down_since(const struct node_cluster *cluster, uint64_t node_id)
{
    struct links_status status;

    if (node_id == cluster->node->identity.id) {
        return 0;
    }
    if (!cluster->links || !links_status(cluster->links, node_id, &status)) {
        return 1;
    }
    return status.is_up ? 0 : MAX(status.since_ms, 1);
}

GArray *cluster_members(const struct node_cluster *cluster)
{
    const struct state *state = cluster->node->state;
    GArray *members = g_array_new(FALSE, FALSE, sizeof(struct roles_member));

    consensus_for_each_member(cluster_consensus(cluster), add_member, members);
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *row = state_node_at(state, i);
        struct roles_member *member = take_member(members, row->id);
        member->is_in_state = true;
        member->wish = (enum roles_wish)row->role;
        member->is_drained = row->is_drained;
        member->zone = cluster_node_label(row, "zone");
    }
    for (guint i = 0; i < members->len; i++) {
        struct roles_member *member = &g_array_index(members, struct roles_member, i);
        member->down_ms = down_since(cluster, member->node_id);
    }
    return members;
}

struct roles_view cluster_view(const struct node_cluster *cluster, const GArray *members)
{
    const struct settings *settings = state_settings(cluster->node->state);
    struct consensus_status status;

    consensus_status(cluster_consensus(cluster), &status);
    return (struct roles_view){.members = (const struct roles_member *)members->data,
                               .count = members->len,
                               .leader_id = cluster->leader_id,
                               .replace_after_ms = settings->node_down_after_ms,
                               .heir_silent_ms_max = settings->election_timeout_ms,
                               .is_cut_off = status.state == CONSENSUS_ELECTING};
}

bool cluster_can_spare(const struct node_cluster *cluster, uint64_t node_id)
{
    g_autoptr(GArray) members = cluster_members(cluster);
    struct roles_view view = cluster_view(cluster, members);

    return roles_can_spare(&view, node_id, loop_now_ms(cluster->node->loop));
}

/* ---- what is done ---- */

static void on_done(void *owner, int error)
{
    struct node_cluster *cluster = owner;

    cluster->is_changing_roles = false;
    if (error < 0) {
        log_debug("the change of a role failed", "error=\"%s\"", g_strerror(-error));
    } else {
        cluster_roles_look(cluster);
    }
}

static int perform(struct node_cluster *cluster, const struct roles_action *action)
{
    static const enum consensus_role roles[] = {CONSENSUS_SPARE, CONSENSUS_SPARE, CONSENSUS_STANDBY,
                                                CONSENSUS_VOTER};
    struct consensus *consensus = cluster_consensus(cluster);
    const char *address = g_hash_table_lookup(cluster->addresses, &action->node_id);

    switch (action->verb) {
    case ROLES_ADD:
        return consensus_add(consensus, action->node_id, address ? address : "", on_done, cluster);
    case ROLES_ASSIGN:
        return consensus_assign(consensus, action->node_id, roles[action->role], on_done, cluster);
    case ROLES_REMOVE:
        return consensus_remove(consensus, action->node_id, on_done, cluster);
    case ROLES_TRANSFER:
        return !cluster_vip_may_hand_over(cluster->vip)
                   ? -EAGAIN
                   : cluster_vip_hand_over(cluster->vip, action->node_id, on_done, cluster);
    case ROLES_NOTHING:
        break;
    }
    return -EALREADY;
}

static void keep_roles(struct node_cluster *cluster)
{
    g_autoptr(GArray) members = cluster_members(cluster);
    struct roles_view view = cluster_view(cluster, members);
    struct roles_action action = roles_decide(&view, loop_now_ms(cluster->node->loop));

    if (action.verb == ROLES_NOTHING || cluster->is_changing_roles) {
        return;
    }
    int r = perform(cluster, &action);
    if (r == 0) {
        cluster->is_changing_roles = true;
        log_info("roles", "node=%016" G_GINT64_MODIFIER "x role=%s why=\"%s\"", action.node_id,
                 roles_role_to_string(action.role), action.why);
    } else {
        log_debug("a role is not changed now", "error=\"%s\"", g_strerror(-r));
    }
}

/* Its clients' wills go out and their sessions' time begins: once for each time that it is gone. */
static void declare_down(struct node_cluster *cluster)
{
    const struct state *state = cluster->node->state;
    uint64_t now = loop_now_ms(cluster->node->loop);
    uint64_t after_ms = state_settings(state)->node_down_after_ms;

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        uint64_t id = state_node_at(state, i)->id;
        uint64_t since = down_since(cluster, id);
        bool is_known = g_hash_table_contains(cluster->down, &id);
        bool has_lasted = since != 0 && MAX(since, cluster->led_since_ms) + after_ms <= now;
        if (has_lasted && !is_known &&
            state_propose_node_down(cluster->node->state, id, NULL) == 0) {
            g_hash_table_add(cluster->down, g_memdup2(&id, sizeof id));
            log_warning("a node is down", "node=%016" G_GINT64_MODIFIER "x name=%s", id,
                        state_node_at(state, i)->name);
        }
    }
}

void cluster_roles_look(struct node_cluster *cluster)
{
    if (cluster->is_ready && cluster->links && !cluster->node->is_stopping) {
        timer_start(cluster->roles_timer, 0);
    }
}

void cluster_roles_on_timer(void *owner)
{
    struct node_cluster *cluster = owner;

    if (cluster->node->is_stopping || !is_leading(cluster)) {
        return;
    }
    cluster->roles_ms = loop_now_ms(cluster->node->loop);
    keep_roles(cluster);
    declare_down(cluster);
    if (state_node_count(cluster->node->state) > 1) {
        timer_start(cluster->roles_timer, LOOK_MS);
    }
}

/* What would be due before the next round is done with this one: a node wakes up once for both. */
void cluster_roles_on_beats(struct node_cluster *cluster)
{
    uint64_t next_ms = loop_now_ms(cluster->node->loop) + cluster_election_ms(cluster) / 2;

    if (timer_is_active(cluster->roles_timer) && next_ms >= cluster->roles_ms + LOOK_MS) {
        cluster_roles_on_timer(cluster);
    }
}

void cluster_remove_others(struct node_cluster *cluster)
{
    struct state *state = cluster->node->state;

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *row = state_node_at(state, i);
        if (row->id != cluster->node->identity.id &&
            state_propose_node_remove(state, row->id, true, NULL) == 0) {
            log_warning("taken out of the cluster by the rescue", "node=%s", row->name);
        }
    }
}

/* ---- going ---- */

static void leave_now(struct node_cluster *cluster)
{
    void (*fn)(void *owner) = cluster->on_left;

    cluster->on_left = NULL;
    timer_stop(cluster->leave_timer);
    if (fn) {
        fn(cluster->node);
    }
}

/* Nobody took it in time: they stop as well, perhaps. */
void cluster_leave_on_timer(void *owner)
{
    leave_now(owner);
}

static void on_handed_over(void *owner, int error)
{
    leave_now(owner);
}

void node_cluster_leave(struct node_cluster *cluster, void (*fn)(void *node))
{
    cluster->on_left = fn;
    timer_start(cluster->leave_timer, MAX(LEAVE_MS, cluster_election_ms(cluster) / 2));
    if (!is_leading(cluster) ||
        cluster_vip_hand_over(cluster->vip, 0, on_handed_over, cluster) < 0) {
        timer_start(cluster->leave_timer, 0);
    }
}

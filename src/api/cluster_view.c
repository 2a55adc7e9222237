/* See cluster_view.h. */
#include "api/cluster_view.h"
#include "api/cluster.h"
#include "api/holders.h"
#include "consensus/members.h"
#include "state/state.h"
#include <string.h>

bool api_takes_writes(const struct api *api, struct consensus_status *status)
{
    consensus_status(api->options.consensus, status);
    return status->state == CONSENSUS_LEADING || status->state == CONSENSUS_FOLLOWING;
}

bool api_is_stale(const struct api *api)
{
    struct consensus_status status;

    return !api_takes_writes(api, &status) && status.state != CONSENSUS_DISK_FULL;
}

char *api_id_to_string(uint64_t id)
{
    return g_strdup_printf("%016" G_GINT64_MODIFIER "x", id);
}

/* ---- what the log knows ---- */

struct votes {
    uint64_t node_id;
    const char *role; /* of node_id */
    unsigned voters;
};

static void on_member(void *owner, const struct consensus_member *member)
{
    static const char *const names[] = {
        [CONSENSUS_SPARE] = "spare", [CONSENSUS_STANDBY] = "stand-by", [CONSENSUS_VOTER] = "voter"};
    struct votes *votes = owner;

    votes->voters += member->role == CONSENSUS_VOTER;
    if (member->node_id == votes->node_id) {
        votes->role = names[member->role];
    }
}

static struct votes votes_of(const struct api *api, uint64_t node_id)
{
    struct votes votes = {.node_id = node_id, .role = "joining"};

    consensus_for_each_member(api->options.consensus, on_member, &votes);
    return votes;
}

bool api_votes_alone(const struct api *api, uint64_t node_id)
{
    struct votes votes = votes_of(api, node_id);

    return votes.voters == 1 && strcmp(votes.role, "voter") == 0;
}

bool api_can_spare(const struct api *api, uint64_t node_id)
{
    const struct api_cluster *cluster = api->options.cluster_calls;

    return !cluster || cluster->can_spare(cluster->owner, node_id);
}

/* ---- versions ---- */

static const char *newest_version(const struct state *state)
{
    const char *newest = NULL;

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const char *version = state_node_at(state, i)->version;
        newest = !newest || strverscmp(version, newest) > 0 ? version : newest;
    }
    return newest;
}

static bool is_behind(const struct api *api, const struct cluster_node *node)
{
    const char *newest = newest_version(api->options.state);

    return newest && strcmp(node->version, newest) != 0;
}

char *api_upgrade(const struct api *api)
{
    const struct state *state = api->options.state;
    g_autoptr(GString) behind = g_string_new(NULL);

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *node = state_node_at(state, i);
        if (is_behind(api, node)) {
            g_string_append_printf(behind, "%s'%s' (%s)", behind->len > 0 ? ", " : "", node->name,
                                   node->version);
        }
    }
    return behind->len == 0
               ? NULL
               : g_strdup_printf("An upgrade to %s is under way, these nodes are behind: "
                                 "%s; what only the new version can do waits for them.",
                                 newest_version(state), behind->str);
}

/* ---- nodes ---- */

/* A spare follows the log as any stand-by, but is never to vote. */
static const char *role_of(const struct api *api, const struct cluster_node *node)
{
    const char *role = votes_of(api, node->id).role;

    return node->role == NODE_ROLE_SPARE && strcmp(role, "stand-by") == 0 ? "spare" : role;
}

static uint64_t leader_id(const struct api *api)
{
    struct consensus_status status;

    consensus_status(api->options.consensus, &status);
    bool leads = status.state == CONSENSUS_LEADING || status.state == CONSENSUS_DISK_FULL;
    return leads ? api->options.node_id : status.leader_id;
}

const char *api_leader_name(const struct api *api)
{
    uint64_t id = leader_id(api);
    const struct cluster_node *node = state_find_node(api->options.state, id);

    if (node) {
        return node->name;
    }
    return id == api->options.node_id ? api->options.node_name : NULL;
}

struct api_node_facts api_node_facts(const struct api *api, uint64_t node_id)
{
    const struct api_cluster *cluster = api->options.cluster_calls;
    struct api_node_facts facts = {.round_trip_us = -1, .round_trip_us_max = -1};

    if (cluster && cluster->node_facts) {
        cluster->node_facts(cluster->owner, node_id, &facts);
    }
    facts.is_online |= node_id == api->options.node_id;
    return facts;
}

static struct text_value *describe_labels(const struct cluster_node *node)
{
    struct text_value *labels = text_new_object();

    for (uint32_t i = 0; i < node->label_count; i++) {
        text_set_string(labels, node->labels[i].key, node->labels[i].value);
    }
    return labels;
}

struct text_value *api_describe_node(const struct api *api, const struct cluster_node *node)
{
    struct text_value *value = text_new_object();
    struct api_node_facts facts = api_node_facts(api, node->id);
    g_autofree char *id = api_id_to_string(node->id);

    text_set_string(value, "id", id);
    text_set_string(value, "name", node->name);
    text_set_string(value, "address", *node->address ? node->address : NULL);
    text_set_string(value, "role", role_of(api, node));
    text_set_string(value, "wanted_role", node_role_to_string(node->role));
    text_set_string(value, "state", facts.is_online ? "online" : "offline");
    text_set_boolean(value, "drained", node->is_drained);
    text_set_boolean(value, "leader", node->id == leader_id(api));
    text_set_boolean(value, "holder", facts.is_holder);
    text_set(value, "labels", describe_labels(node));
    text_set_string(value, "version", node->version);
    text_set_integer(value, "level", node->command_level);
    text_set_boolean(value, "behind", is_behind(api, node));
    text_set_string(value, "certificate", *node->certificate ? node->certificate : NULL);
    text_set_integer(value, "joined_unix_ms", (int64_t)node->joined_unix_ms);
    text_set_integer(value, "seen_unix_ms", (int64_t)facts.seen_unix_ms);
    if (facts.round_trip_us >= 0) {
        text_set_integer(value, "round_trip_us", facts.round_trip_us);
    }
    return value;
}

static int compare_names(const void *a, const void *b)
{
    const struct cluster_node *left = *(struct cluster_node *const *)a,
                              *right = *(struct cluster_node *const *)b;

    return strcmp(left->name, right->name);
}

struct text_value *api_describe_nodes(const struct api *api)
{
    const struct state *state = api->options.state;
    struct text_value *list = text_new_list();
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        g_ptr_array_add(nodes, (void *)state_node_at(state, i));
    }
    g_ptr_array_sort(nodes, compare_names);
    for (guint i = 0; i < nodes->len; i++) {
        text_append(list, api_describe_node(api, nodes->pdata[i]));
    }
    if (!state_find_node(state, api->options.node_id)) {
        struct cluster_node alone = {.id = api->options.node_id,
                                     .name = (char *)api->options.node_name,
                                     .address = (char *)"",
                                     .version = (char *)api->options.version,
                                     .command_level = STATE_COMMAND_LEVEL,
                                     .certificate = (char *)""};
        text_append(list, api_describe_node(api, &alone));
    }
    return list;
}

/* ---- virtual addresses ---- */

static struct text_value *describe_vip(const struct api *api, const struct virtual_address *vip)
{
    const struct api_cluster *cluster = api->options.cluster_calls;
    struct text_value *value = text_new_object();
    struct api_vip_facts facts = {0};
    g_autofree char *address = g_strdup_printf("%s/%u", vip->address, vip->prefix);

    if (cluster && cluster->vip_facts) {
        cluster->vip_facts(cluster->owner, vip, &facts);
    }
    const struct cluster_node *holder = state_find_node(api->options.state, facts.holder_id);
    text_set_string(value, "address", address);
    text_set_string(value, "interface", *vip->interface ? vip->interface : NULL);
    text_set_string(value, "holder", holder ? holder->name : NULL);
    text_set_string(value, "problem", facts.problem);
    return value;
}

struct text_value *api_describe_vips(const struct api *api)
{
    const struct state *state = api->options.state;
    struct text_value *list = text_new_list();

    for (uint32_t i = 0; i < state_vip_count(state); i++) {
        text_append(list, describe_vip(api, state_vip_at(state, i)));
    }
    return list;
}

static const char *safety_of_data(const struct api *api)
{
    const struct api_cluster *cluster = api->options.cluster_calls;
    const char *sentence = cluster && cluster->safety ? cluster->safety(cluster->owner) : NULL;

    if (sentence) {
        return sentence;
    }
    unsigned voters = votes_of(api, 0).voters;
    if (voters >= 3) {
        return "Several boxes vote: any minority of them may die, nothing that was acknowledged is "
               "lost and the rest goes on by itself.";
    }
    if (state_node_count(api->options.state) >= 2) {
        return "Two boxes cannot outvote each other: one decides and the other copies it, and when "
               "the "
               "first dies, changes stop until somebody says `microcloud node promote --force "
               "NAME` "
               "on the second; a third voice costs nothing: `microcloud run --witness` on any "
               "Linux "
               "box that is on anyway.";
    }
    return "One box: what was acknowledged survives a crash and a power cut, but not the loss of "
           "this box; with two more (the third may be a mere witness) any one of them may die.";
}

/* Who is cut off knows nothing of the others. */
char *api_safety(const struct api *api)
{
    g_autofree char *warning = api_is_stale(api) ? NULL : holders_warning(api);

    return g_strjoin(warning ? " " : "", safety_of_data(api), warning ? warning : "", NULL);
}

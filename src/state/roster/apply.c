/* Nodes join, change and leave; tokens, virtual addresses, the certificate authority. What is not
 * possible (any more) is told to whoever proposed it; the state stays as it was. */
#include "state/apply.h"
#include "state/propose_cluster.h"
#include <errno.h>

#define FULL_BYTES 512 /* more than any of these entries takes */

/* Takes the text. */
static int refuse(struct apply *apply, char *message)
{
    int r = apply_refuse(apply, REASON_UNSPECIFIED_ERROR, message);
    g_free(message);
    return r;
}

static int nodes_changed(struct apply *apply)
{
    roster_count_bytes(&apply->tables->roster);
    state_notify_nodes(apply->state);
    return 0;
}

static char *no_such_node(uint64_t node_id)
{
    return g_strdup_printf("node %016" G_GINT64_MODIFIER "x: there is none of this id", node_id);
}

/* ---- joining ---- */

static char *token_problem(const struct apply *apply, const State__NodeJoin *join)
{
    const struct roster *roster = &apply->tables->roster;
    if (join->token_id == 0) {
        return roster->nodes->len == 0
                   ? NULL
                   : g_strdup("join: a token is needed: `microcloud token` on a node prints one");
    }
    const struct join_token *token = roster_find_token(roster, join->token_id);
    if (!token) {
        return g_strdup("join: this cluster does not know the token: it is from another one, or "
                        "was taken back; `microcloud token` prints a new one");
    }
    if (token->used_by != 0) {
        const struct cluster_node *by = roster_find_node(roster, token->used_by);
        return g_strdup_printf("join: the token was used by node %s; each lets one node in: "
                               "`microcloud token` prints a new one",
                               by ? by->name : "(removed since)");
    }
    if (token->expires_unix_ms <= apply->now_unix_ms) {
        return g_strdup_printf("join: the token ended %" G_GUINT64_FORMAT
                               " s ago: `microcloud token` prints a new one",
                               (apply->now_unix_ms - token->expires_unix_ms) / 1000);
    }
    return NULL;
}

static char *id_problem(const struct apply *apply, const State__NodeJoin *join)
{
    const struct roster *roster = &apply->tables->roster;
    if (roster->nodes->len > 0 && tables_has_origin(apply->tables, join->node_id)) {
        return g_strdup("join: this node belonged to the cluster before: an identity is never used "
                        "twice; start it with an empty data directory");
    }
    for (uint32_t i = 0; i < roster->nodes->len; i++) {
        const struct cluster_node *other = roster->nodes->pdata[i];
        if ((other->id & 0xfff) == (join->node_id & 0xfff)) {
            return g_strdup_printf("join: the node's random id is too near to that of node '%s': "
                                   "start it again with an empty data directory",
                                   other->name);
        }
        if (strcmp(other->name, join->name) == 0) {
            return g_strdup_printf("join: there is a node '%s' already: start with another --name",
                                   other->name);
        }
    }
    return NULL;
}

static char *version_problem(const struct apply *apply, const State__NodeJoin *join)
{
    bool is_old;
    g_autofree char *problem =
        state_version_problem(apply->state, join->version, join->command_level, &is_old);
    return problem ? g_strconcat("join: ", problem, NULL) : NULL;
}

static char *join_problem(const struct apply *apply, const State__NodeJoin *join,
                          const struct cluster_node *node)
{
    char *problem = roster_node_problem(node);
    problem = problem ? problem : token_problem(apply, join);
    problem = problem ? problem : version_problem(apply, join);
    problem = problem ? problem : id_problem(apply, join);
    if (!problem &&
        (apply->tables->roster.nodes->len >= NODES_MAX || apply_is_full(apply, FULL_BYTES))) {
        problem = g_strdup_printf("join: there are as many nodes as allowed (%d), or the state is "
                                  "full (state.bytes_max)",
                                  NODES_MAX);
    }
    return problem;
}

/* It was said twice: the answer to the first was lost on its way. */
static bool has_joined(const struct roster *roster, const State__NodeJoin *join)
{
    const struct cluster_node *node = roster_find_node(roster, join->node_id);
    const struct join_token *token = roster_find_token(roster, join->token_id);
    return node && strcmp(node->name, join->name) == 0 &&
           strcmp(node->certificate, join->certificate) == 0 &&
           (join->token_id == 0 || (token && token->used_by == node->id));
}

int apply_node_join(struct apply *apply, const State__Command *command, GError **error)
{
    const State__NodeJoin *join = command->node_join;
    struct roster *roster = &apply->tables->roster;
    if (has_joined(roster, join)) {
        return 0;
    }
    struct cluster_node wanted = {.id = join->node_id,
                                  .name = join->name,
                                  .address = join->address,
                                  .version = join->version,
                                  .certificate = join->certificate,
                                  .joined_unix_ms = apply->now_unix_ms,
                                  .command_level = join->command_level,
                                  .role = (enum node_role)join->role};
    char *problem = join_problem(apply, join, &wanted);
    if (problem) {
        return refuse(apply, problem);
    }
    struct join_token *token = roster_find_token(roster, join->token_id);
    if (token) {
        token->used_by = join->node_id;
        wanted.role = token->role != NODE_ROLE_AUTO ? token->role : wanted.role;
    }
    struct cluster_node *node = g_new(struct cluster_node, 1);
    *node = wanted;
    node->name = g_strdup(wanted.name);
    node->address = g_strdup(wanted.address);
    node->version = g_strdup(wanted.version);
    node->certificate = g_strdup(wanted.certificate);
    roster_add_node(roster, node);
    return nodes_changed(apply);
}

/* ---- changes ---- */

static struct cluster_node updated(const struct cluster_node *node, const State__NodeUpdate *update)
{
    struct cluster_node wanted = *node;
    uint32_t fields = update->fields;
    wanted.name = fields & NODE_FIELD_NAME ? update->name : wanted.name;
    wanted.address = fields & NODE_FIELD_ADDRESS ? update->address : wanted.address;
    wanted.role = fields & NODE_FIELD_ROLE ? (enum node_role)update->role : wanted.role;
    wanted.is_drained = fields & NODE_FIELD_DRAINED ? update->is_drained : wanted.is_drained;
    wanted.certificate = fields & NODE_FIELD_CERTIFICATE ? update->certificate : wanted.certificate;
    if (fields & NODE_FIELD_VERSION) {
        wanted.version = update->version;
        wanted.command_level = update->command_level;
    }
    return wanted;
}

int apply_node_update(struct apply *apply, const State__Command *command, GError **error)
{
    const State__NodeUpdate *update = command->node_update;
    struct roster *roster = &apply->tables->roster;
    struct cluster_node *node = roster_find_node(roster, update->node_id);
    if (!node) {
        return refuse(apply, no_such_node(update->node_id));
    }
    struct cluster_node wanted = updated(node, update);
    char *problem = roster_node_problem(&wanted);
    const struct cluster_node *namesake = roster_find_name(roster, wanted.name);
    if (!problem && namesake && namesake != node) {
        problem = g_strdup_printf("node: there is a node '%s' already", wanted.name);
    }
    if (problem) {
        return refuse(apply, problem);
    }
    struct cluster_node old = *node;
    *node = wanted;
    node->name = g_strdup(wanted.name);
    node->address = g_strdup(wanted.address);
    node->version = g_strdup(wanted.version);
    node->certificate = g_strdup(wanted.certificate);
    g_free(old.name);
    g_free(old.address);
    g_free(old.version);
    g_free(old.certificate);
    return nodes_changed(apply);
}

int apply_node_label(struct apply *apply, const State__Command *command, GError **error)
{
    const State__NodeLabel *label = command->node_label;
    struct cluster_node *node = roster_find_node(&apply->tables->roster, label->node_id);
    if (!node) {
        return refuse(apply, no_such_node(label->node_id));
    }
    bool is_there = cluster_node_label(node, label->key) != NULL;
    char *problem = roster_label_problem(label->key, label->value);
    if (!problem && label->remove && !is_there) {
        problem = g_strdup_printf("node '%s': it has no label '%s'", node->name, label->key);
    }
    if (!problem && !label->remove && !is_there &&
        (node->label_count >= NODE_LABELS_MAX || apply_is_full(apply, FULL_BYTES))) {
        problem = g_strdup_printf("node '%s': it has as many labels as allowed (%d), or the state "
                                  "is full (state.bytes_max)",
                                  node->name, NODE_LABELS_MAX);
    }
    if (problem) {
        return refuse(apply, problem);
    }
    roster_set_label(node, label->key, label->remove ? NULL : label->value);
    return nodes_changed(apply);
}

/* Whoever asked has seen that those that vote could spare it: but two that are asked for at once
 * may be a majority, and nobody would ever lead again. */
static bool are_others_the_same(const struct roster *roster, const State__NodeRemove *remove)
{
    for (size_t i = 0; i < remove->n_others; i++) {
        if (!roster_find_node(roster, remove->others[i])) {
            return false;
        }
    }
    return remove->n_others == 0 || remove->n_others + 1 == roster->nodes->len;
}

int apply_node_remove(struct apply *apply, const State__Command *command, GError **error)
{
    const State__NodeRemove *remove = command->node_remove;
    uint64_t node_id = remove->node_id;
    const struct cluster_node *node = roster_find_node(&apply->tables->roster, node_id);
    if (node && !are_others_the_same(&apply->tables->roster, remove)) {
        return refuse(apply,
                      g_strdup_printf("node '%s': another one came or was removed meanwhile: "
                                      "look again (`microcloud node ls`), then ask again",
                                      node->name));
    }
    if (!roster_remove_node(&apply->tables->roster, node_id)) {
        return refuse(apply, no_such_node(node_id));
    }
    apply->result->matched = connections_break(
        apply, node_id, tables_last_epoch(apply->tables, node_id), BREAK_UP_TO_EPOCH);
    return nodes_changed(apply);
}

int apply_node_down(struct apply *apply, const State__Command *command, GError **error)
{
    const State__NodeDown *down = command->node_down;
    apply->result->matched =
        connections_break(apply, down->node_id, down->epoch, BREAK_UP_TO_EPOCH);
    return 0;
}

/* ---- tokens ---- */

int apply_token_put(struct apply *apply, const State__Command *command, GError **error)
{
    const State__TokenPut *put = command->token_put;
    struct roster *roster = &apply->tables->roster;
    struct join_token token = {.id = put->token_id,
                               .role = (enum node_role)put->role,
                               .expires_unix_ms = put->expires_unix_ms};
    if (put->token_id == 0 || put->role >= NODE_ROLE_COUNT ||
        put->secret_sha256.len != sizeof token.secret_sha256) {
        return apply_malformed(error, "its token is not possible");
    }
    if (roster_find_token(roster, token.id)) {
        return refuse(apply, g_strdup("token: there is one of this id already"));
    }
    roster_forget_tokens(roster, apply->now_unix_ms);
    if (roster->tokens->len >= TOKENS_MAX || apply_is_full(apply, FULL_BYTES)) {
        return refuse(apply, g_strdup_printf("token: there are as many as allowed (%d; those that "
                                             "ended are kept for a week), or the state is full "
                                             "(state.bytes_max)",
                                             TOKENS_MAX));
    }
    memcpy(token.secret_sha256, put->secret_sha256.data, sizeof token.secret_sha256);
    roster_put_token(roster, &token);
    roster_count_bytes(roster);
    return 0;
}

int apply_token_remove(struct apply *apply, const State__Command *command, GError **error)
{
    struct roster *roster = &apply->tables->roster;
    if (!roster_remove_token(roster, command->token_remove->token_id)) {
        return refuse(apply, g_strdup("token: there is none of this id"));
    }
    roster_count_bytes(roster);
    return 0;
}

/* ---- virtual addresses ---- */

static int vips_changed(struct apply *apply)
{
    roster_count_bytes(&apply->tables->roster);
    state_notify_vips(apply->state);
    return 0;
}

int apply_vip_set(struct apply *apply, const State__Command *command, GError **error)
{
    const State__VipSet *set = command->vip_set;
    struct roster *roster = &apply->tables->roster;
    char *problem = NULL;
    struct virtual_address *vip = roster_parse_vip(set->address, set->interface, &problem);
    if (!vip) {
        return refuse(apply, problem);
    }
    if (!roster_find_vip(roster, vip->address) &&
        (roster->vips->len >= VIPS_MAX || apply_is_full(apply, FULL_BYTES))) {
        roster_free_vip(vip);
        return refuse(apply, g_strdup_printf("virtual IP: there are as many as allowed (%d), or "
                                             "the state is full (state.bytes_max)",
                                             VIPS_MAX));
    }
    roster_put_vip(roster, vip);
    return vips_changed(apply);
}

int apply_vip_remove(struct apply *apply, const State__Command *command, GError **error)
{
    const char *address = command->vip_remove->address;
    if (!roster_remove_vip(&apply->tables->roster, address)) {
        return refuse(
            apply, g_strdup_printf("virtual IP '%.64s': there is none of this address", address));
    }
    return vips_changed(apply);
}

/* ---- certificate authority ---- */

int apply_ca_set(struct apply *apply, const State__Command *command, GError **error)
{
    const State__CaSet *set = command->ca_set;
    struct roster *roster = &apply->tables->roster;
    struct cluster_ca ca = {.certificate = set->certificate,
                            .previous_certificate = set->previous_certificate,
                            .key = bytes_of(set->key),
                            .generation = set->generation + 1};
    char *problem = roster_ca_problem(&ca);
    if (!problem && set->generation != roster->ca.generation) {
        problem = g_strdup("certificate authority: it was changed meanwhile");
    }
    if (!problem && apply_is_full(apply, ca.key.length + strlen(ca.certificate) +
                                             strlen(ca.previous_certificate))) {
        problem = g_strdup("certificate authority: the state is full (state.bytes_max)");
    }
    if (problem) {
        return refuse(apply, problem);
    }
    roster_set_ca(roster, &ca);
    roster_count_bytes(roster);
    state_notify_ca(apply->state);
    return 0;
}

/* The nodes of the cluster. What is asked of them (drained, roles) is a wish in the state: the
 * leader makes it so. */
#include "api/cluster.h"
#include "api/cluster_view.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "state/propose_cluster.h"
#include "state/state.h"
#include <string.h>

void nodes_list(struct api_request *request)
{
    api_answer(request, 200, api_describe_nodes(request->api));
}

/* By name or by id; NULL: then it was answered. */
static const struct cluster_node *find(struct api_request *request)
{
    const struct state *state = request->api->options.state;
    const char *wanted = request->parameters[0];
    const struct cluster_node *node = state_find_node_by_name(state, wanted);
    guint64 id = 0;

    if (!node && strlen(wanted) == 16 &&
        g_ascii_string_to_unsigned(wanted, 16, 1, G_MAXUINT64, &id, NULL)) {
        node = state_find_node(state, id);
    }
    if (!node) {
        api_answer_error(request, 404, "node_unknown",
                         "node '%s': there is none of this name; see node ls", wanted);
    }
    return node;
}

void node_get(struct api_request *request)
{
    const struct cluster_node *node = find(request);

    if (node) {
        api_answer(request, 200, api_describe_node(request->api, node));
    }
}

static void propose_update(struct api_request *request, const struct state_node_update *update)
{
    struct state_completion completion = {api_committed, request, 0, 0};

    api_is_proposed(request,
                    state_propose_node_update(request->api->options.state, update, &completion));
}

/* True when it was answered. */
static bool refuse_to_remove(struct api_request *request, const struct cluster_node *node)
{
    const struct api *api = request->api;

    if (state_node_count(api->options.state) == 1) {
        api_answer_error(request, 409, "node_last",
                         "node '%s': it is the only one: a cluster has at least one", node->name);
    } else if (node->id == api->options.node_id) {
        api_answer_error(request, 409, "node_itself",
                         "node '%s': it would end before it could answer: say this on another node",
                         node->name);
    } else if (api_votes_alone(api, node->id)) {
        api_answer_error(request, 409, "node_decides",
                         "node '%s': no other one votes: first `microcloud node drain %s`, which "
                         "lets another vote and lead, then remove it",
                         node->name, node->name);
    } else if (!api_can_spare(api, node->id)) {
        api_answer_error(request, 409, "node_needed",
                         "node '%s': too few of the nodes that vote would be left: wait until "
                         "others vote in their place (`microcloud node ls`), or bring back those "
                         "that are down",
                         node->name);
    } else {
        return false;
    }
    return true;
}

void node_delete(struct api_request *request)
{
    struct state *state = request->api->options.state;
    struct state_completion completion = {api_committed, request, 0, 0};
    const struct cluster_node *node = find(request); /* NULL: the request is gone */

    if (!node || refuse_to_remove(request, node)) {
        return;
    }
    api_audit(request, "node rm", node->name);
    api_is_proposed(request, state_propose_node_remove(state, node->id, false, &completion));
}

void node_drain(struct api_request *request)
{
    const struct cluster_node *node = find(request);

    if (node && state_node_count(request->api->options.state) == 1) {
        api_answer_error(request, 409, "node_last",
                         "node '%s': it is the only one: nobody could take over", node->name);
    } else if (node) {
        api_audit(request, "node drain", node->name);
        propose_update(request, &(struct state_node_update){.node_id = node->id,
                                                            .fields = NODE_FIELD_DRAINED,
                                                            .is_drained = true});
    }
}

/* Whatever was wanted of it ends: drain, promote, demote. */
void node_activate(struct api_request *request)
{
    const struct cluster_node *node = find(request);

    if (node) {
        enum node_role role = node->role == NODE_ROLE_WITNESS ? NODE_ROLE_WITNESS : NODE_ROLE_AUTO;
        api_audit(request, "node activate", node->name);
        propose_update(request,
                       &(struct state_node_update){.node_id = node->id,
                                                   .fields = NODE_FIELD_DRAINED | NODE_FIELD_ROLE,
                                                   .role = role});
    }
}

/* ---- roles ---- */

static void set_role(struct api_request *request, const struct cluster_node *node,
                     enum node_role role)
{
    if (node->role == NODE_ROLE_WITNESS) {
        api_answer_error(request, 409, "node_witness",
                         "node '%s': it was started as a witness, which votes and does nothing "
                         "else; to end that: node rm, then let it join anew without --witness",
                         node->name);
        return;
    }
    api_audit(request, role == NODE_ROLE_VOTER ? "node promote" : "node demote", node->name);
    propose_update(request, &(struct state_node_update){
                                .node_id = node->id, .fields = NODE_FIELD_ROLE, .role = role});
}

static void on_forced(void *owner, int error, const char *text)
{
    if (error < 0) {
        api_answer_error(owner, 409, "node_not_forced", "%s", text ? text : g_strerror(-error));
    } else {
        api_answer(owner, 200, text_new_object());
    }
}

static void force(struct api_request *request, const char *name)
{
    const struct api *api = request->api;
    const struct api_cluster *cluster = api->options.cluster_calls;
    struct consensus_status status;

    if (strcmp(name, api->options.node_name) != 0) {
        api_answer_error(request, 409, "node_elsewhere",
                         "node '%s': --force is said on that node itself, this is '%s'", name,
                         api->options.node_name);
    } else if (api_takes_writes(api, &status) || !cluster || !cluster->force) {
        api_answer_error(request, 409, "quorum_present",
                         "node '%s': the cluster has its majority: --force is for the one that is "
                         "left when the majority is gone for good",
                         name);
    } else {
        api_audit(request, "node promote --force", name);
        cluster->force(cluster->owner, on_forced, request);
    }
}

void node_promote(struct api_request *request)
{
    bool has_body = http_request_body(request->exchange).length > 0;
    _cleanup_(text_freep) struct text_value *body = has_body ? api_body(request) : NULL;

    if (has_body && !body) {
        return;
    }
    const struct cluster_node *node = find(request);
    if (node && text_boolean(text_get(body, "force"), false)) {
        force(request, node->name);
    } else if (node) {
        set_role(request, node, NODE_ROLE_VOTER);
    }
}

void node_demote(struct api_request *request)
{
    const struct cluster_node *node = find(request);

    if (node) {
        set_role(request, node, NODE_ROLE_SPARE);
    }
}

/* ---- labels ---- */

static void propose_label(struct api_request *request, const struct cluster_node *node,
                          const char *value)
{
    struct state_completion completion = {api_committed, request, 0, 0};

    api_audit(request, "node label", node->name);
    api_is_proposed(request, state_propose_node_label(request->api->options.state, node->id,
                                                      request->parameters[1], value, &completion));
}

void node_label_put(struct api_request *request)
{
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    const char *value = body ? api_body_string(request, body, "value") : NULL;
    const struct cluster_node *node = value ? find(request) : NULL;

    if (node) {
        propose_label(request, node, value);
    }
}

void node_label_delete(struct api_request *request)
{
    const struct cluster_node *node = find(request);

    if (node) {
        propose_label(request, node, NULL);
    }
}

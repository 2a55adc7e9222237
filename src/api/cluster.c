/* Join tokens, virtual addresses, the certificate authority; are the nodes the same? */
#include "api/cluster.h"
#include "api/cluster_view.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "state/propose_cluster.h"
#include "state/state.h"
#include <errno.h>

#define TOKEN_TTL_S     3600
#define TOKEN_TTL_S_MAX (30 * 24 * 3600)

static void answer_alone(struct api_request *request)
{
    api_answer_error(request, 409, "cluster_off",
                     "this node was started without a port for other nodes (--peer-port 0)");
}

/* What the cluster was asked for could not be had. */
static void answer_failure(struct api_request *request, int error, const char *text)
{
    bool is_waiting = error == -ETIMEDOUT || error == -EAGAIN || error == -ENOTCONN;

    api_answer_error(
        request, is_waiting ? 503 : 409, is_waiting ? "no_quorum" : "not_possible", "%s",
        text         ? text
        : is_waiting ? "this node reaches no majority of the cluster: nothing was confirmed"
                     : g_strerror(-error));
}

/* ---- the same everywhere? ---- */

/* Reads the whole state: to compare nodes that are at the same index. */
void digest_get(struct api_request *request)
{
    const struct state *state = request->api->options.state;
    g_autofree char *digest = state_digest(state);
    struct text_value *value = text_new_object();

    text_set_integer(value, "applied_index", (int64_t)state_applied_index(state));
    text_set_string(value, "sha256", digest);
    api_answer(request, 200, value);
}

/* ---- tokens ---- */

static const char *state_of(const struct join_token *token)
{
    if (token->used_by != 0) {
        return "used";
    }
    return token->expires_unix_ms <= clock_unix_ms() ? "ended" : "open";
}

void tokens_list(struct api_request *request)
{
    const struct state *state = request->api->options.state;
    struct text_value *list = text_new_list();

    for (uint32_t i = 0; i < state_token_count(state); i++) {
        const struct join_token *token = state_token_at(state, i);
        const struct cluster_node *node = state_find_node(state, token->used_by);
        struct text_value *value = text_new_object();
        g_autofree char *id = api_id_to_string(token->id);
        text_set_string(value, "id", id);
        text_set_string(value, "role", node_role_to_string(token->role));
        text_set_string(value, "state", state_of(token));
        text_set_integer(value, "expires_unix_ms", (int64_t)token->expires_unix_ms);
        text_set_string(value, "used_by", node ? node->name : NULL);
        text_append(list, value);
    }
    api_answer(request, 200, list);
}

static void on_token(void *owner, int error, const char *text)
{
    if (error < 0) {
        answer_failure(owner, error, text);
        return;
    }
    struct text_value *value = text_new_object();
    text_set_string(value, "token", text);
    api_answer(owner, 200, value);
}

void token_post(struct api_request *request)
{
    const struct api_cluster *cluster = request->api->options.cluster_calls;
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    enum node_role role = NODE_ROLE_AUTO;

    if (!body) {
        return;
    }
    const char *name = text_string(text_get(body, "role"), "auto");
    int64_t ttl_s = text_integer(text_get(body, "ttl_s"), TOKEN_TTL_S);
    if (!node_role_from_string(name, &role)) {
        api_answer_error(request, 400, "token_invalid",
                         "role: must be auto, voter, spare or witness, got '%.64s'", name);
    } else if (ttl_s < 1 || ttl_s > TOKEN_TTL_S_MAX) {
        api_answer_error(request, 400, "token_invalid", "ttl_s: must be 1..%d (30 days), got %lld",
                         TOKEN_TTL_S_MAX, (long long)ttl_s);
    } else if (!cluster || !cluster->token) {
        answer_alone(request);
    } else {
        api_audit(request, "token", name);
        cluster->token(cluster->owner, role, (uint64_t)ttl_s * 1000, on_token, request);
    }
}

void token_delete(struct api_request *request)
{
    struct state *state = request->api->options.state;
    struct state_completion completion = {api_committed, request, 0, 0};
    guint64 id = 0;

    if (!g_ascii_string_to_unsigned(request->parameters[0], 16, 1, G_MAXUINT64, &id, NULL) ||
        !state_find_token(state, id)) {
        api_answer_error(request, 404, "token_unknown", "token '%s': there is none of this id",
                         request->parameters[0]);
        return;
    }
    api_audit(request, "token rm", request->parameters[0]);
    api_is_proposed(request, state_propose_token_remove(state, id, &completion));
}

/* ---- virtual addresses ---- */

void vips_list(struct api_request *request)
{
    api_answer(request, 200, api_describe_vips(request->api));
}

void vip_put(struct api_request *request)
{
    const struct api_cluster *cluster = request->api->options.cluster_calls;
    struct state_completion completion = {api_committed, request, 0, 0};
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    const char *address = body ? api_body_string(request, body, "address") : NULL;

    if (!address) {
        return;
    }
    const char *problem =
        cluster && cluster->vip_problem ? cluster->vip_problem(cluster->owner) : NULL;
    if (problem) {
        api_answer_error(request, 409, "vip_not_possible", "%s", problem);
        return;
    }
    const char *interface = text_string(text_get(body, "interface"), "");
    g_autofree char *refusal = cluster && cluster->vip_refusal
                                   ? cluster->vip_refusal(cluster->owner, address, interface)
                                   : NULL;
    if (refusal) {
        api_answer_error(request, 400, "vip_invalid", "%s", refusal);
        return;
    }
    api_audit(request, "vip set", address);
    api_is_proposed(request, state_propose_vip_set(request->api->options.state, address, interface,
                                                   &completion));
}

void vip_delete(struct api_request *request)
{
    struct state_completion completion = {api_committed, request, 0, 0};

    api_audit(request, "vip rm", request->parameters[0]);
    api_is_proposed(request, state_propose_vip_remove(request->api->options.state,
                                                      request->parameters[0], &completion));
}

/* ---- certificate authority ---- */

void ca_get(struct api_request *request)
{
    const struct cluster_ca *ca = state_ca(request->api->options.state);
    struct text_value *value = text_new_object();

    text_set_string(value, "certificate", *ca->certificate ? ca->certificate : NULL);
    text_set_string(value, "previous_certificate",
                    *ca->previous_certificate ? ca->previous_certificate : NULL);
    text_set_integer(value, "generation", (int64_t)ca->generation);
    api_answer(request, 200, value);
}

static void on_rotated(void *owner, int error, const char *text)
{
    if (error < 0) {
        answer_failure(owner, error, text);
    } else {
        api_answer(owner, 200, text_new_object());
    }
}

void ca_rotate(struct api_request *request)
{
    const struct api_cluster *cluster = request->api->options.cluster_calls;

    if (!cluster || !cluster->rotate) {
        answer_alone(request);
        return;
    }
    api_audit(request, "ca rotate", NULL);
    cluster->rotate(cluster->owner, on_rotated, request);
}

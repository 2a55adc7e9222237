/* Letting others in: what the state says of a token and a name, and the proposal (join.h). */
#include "cluster/join.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/propose_cluster.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#define ID_LOW_BITS 0xfff /* they number connections */

static int refuse(GError **error, enum join_error code, const char *message)
{
    g_set_error_literal(error, JOIN_ERROR, (int)code, message);
    return -EPERM;
}

static int check_token(const struct state *state, const struct join_request *request,
                       uint64_t now_unix_ms, GError **error)
{
    const struct join_token *token = state_find_token(state, request->token_id);
    uint8_t hash[TOKEN_HASH_BYTES];

    token_hash(request->token_id, request->secret, hash);
    if (!token || CRYPTO_memcmp(hash, token->secret_sha256, sizeof hash) != 0) {
        return refuse(error, JOIN_ERROR_TOKEN,
                      "token: this cluster does not know it: make another with `microcloud token`");
    }
    if (token->used_by != 0) {
        return refuse(error, JOIN_ERROR_TOKEN_USED,
                      "token: it has been used: make another with `microcloud token`");
    }
    if (token->expires_unix_ms <= now_unix_ms) {
        return refuse(error, JOIN_ERROR_TOKEN_OLD,
                      "token: it has ended: make another with `microcloud token`");
    }
    if (strcmp(request->role, "witness") == 0 && token->role != NODE_ROLE_AUTO &&
        token->role != NODE_ROLE_WITNESS) {
        g_set_error(error, JOIN_ERROR, JOIN_ERROR_TOKEN,
                    "token: it lets in a %s, not a witness: make another with `microcloud token`, "
                    "or start without --witness",
                    node_role_to_string(token->role));
        return -EPERM;
    }
    return 0;
}

static int check_version(const struct state *state, const struct join_request *request,
                         GError **error)
{
    bool is_old = false;
    g_autofree char *problem =
        state_version_problem(state, request->version, request->level, &is_old);

    return problem
               ? refuse(error, is_old ? JOIN_ERROR_VERSION_OLD : JOIN_ERROR_VERSION_NEW, problem)
               : 0;
}

static int on_check(void *owner, const struct join_request *request, GError **error)
{
    struct node_cluster *cluster = owner;
    const struct state *state = cluster->node->state;
    struct consensus_status status;

    consensus_status(cluster_consensus(cluster), &status);
    if (status.state != CONSENSUS_LEADING && status.state != CONSENSUS_FOLLOWING) {
        return refuse(error, JOIN_ERROR_QUORUM,
                      "the cluster takes no changes now, too few of its nodes are up: try again "
                      "when they are");
    }
    if (check_token(state, request, loop_unix_ms(cluster->node->loop), error) < 0 ||
        check_version(state, request, error) < 0) {
        return -EPERM;
    }
    if (state_find_node_by_name(state, request->name)) {
        g_set_error(error, JOIN_ERROR, JOIN_ERROR_NAME,
                    "name '%s': another node has it: give another with --name", request->name);
        return -EPERM;
    }
    return 0;
}

/* ---- proposing ---- */

struct proposal {
    struct node_cluster *cluster;
    struct joining *joining;
    uint64_t node_id;
};

static GArray *list_nodes(const struct state *state)
{
    GArray *nodes = g_array_new(FALSE, FALSE, sizeof(struct join_node));

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *row = state_node_at(state, i);
        struct join_node node = {row->id, row->name, row->address};
        g_array_append_val(nodes, node);
    }
    return nodes;
}

static void let_in(const struct proposal *proposal)
{
    const struct node_cluster *cluster = proposal->cluster;
    const struct state *state = cluster->node->state;
    const struct cluster_node *joined = state_find_node(state, proposal->node_id);
    const struct cluster_ca *row = state_ca(state);
    g_autofree char *bundle = ca_bundle(row->certificate, row->previous_certificate);
    g_autoptr(GArray) nodes = list_nodes(state);
    struct join_answer answer = {.role = joined ? node_role_to_string(joined->role) : NULL,
                                 .ca_pem = bundle,
                                 .nodes = (const struct join_node *)nodes->data,
                                 .node_count = nodes->len};
    g_autoptr(GError) error = NULL;

    if (cluster_key_load(cluster->node->config.data, answer.cluster_key, &error) < 0) {
        join_refuse(proposal->joining, JOIN_ERROR_FAILED, error->message);
        return;
    }
    join_accept(proposal->joining, &answer);
    explicit_bzero(answer.cluster_key, sizeof answer.cluster_key);
}

static void on_proposed(void *owner, uint64_t token, const struct state_result *result)
{
    g_autofree struct proposal *proposal = owner;

    if (result->error < 0) {
        join_refuse(proposal->joining, JOIN_ERROR_QUORUM,
                    result->error == -ETIMEDOUT
                        ? "the cluster takes no changes now, too few of its nodes are up"
                        : g_strerror(-result->error));
    } else if (result->message) {
        join_refuse(proposal->joining, JOIN_ERROR_TOKEN, result->message);
    } else {
        let_in(proposal);
    }
}

static void on_propose(void *owner, struct joining *joining, const struct join_request *request,
                       uint64_t node_id, const struct ca_certificate *certificate)
{
    struct node_cluster *cluster = owner;
    g_autofree char *fingerprint = cluster_fingerprint_hex(certificate->fingerprint);
    struct state_node_join join = {.node_id = node_id,
                                   .name = request->name,
                                   .address = request->address,
                                   .version = request->version,
                                   .certificate = fingerprint,
                                   .token_id = request->token_id,
                                   .command_level = request->level};
    struct proposal *proposal = g_new0(struct proposal, 1);
    struct state_completion completion = {on_proposed, proposal, 0, 0};

    *proposal = (struct proposal){cluster, joining, node_id};
    node_role_from_string(request->role, &join.role);
    int r = state_propose_node_join(cluster->node->state, &join, &completion);
    if (r < 0) {
        g_free(proposal);
        join_refuse(joining, JOIN_ERROR_BUSY, g_strerror(-r));
    }
}

static bool is_free(void *owner, uint64_t node_id)
{
    const struct node_cluster *cluster = owner;
    const struct state *state = cluster->node->state;

    if ((node_id & ID_LOW_BITS) == 0 || state_node_was_here(state, node_id)) {
        return false;
    }
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        if (((state_node_at(state, i)->id ^ node_id) & ID_LOW_BITS) == 0) {
            return false;
        }
    }
    return true;
}

static void undo(void *owner, uint64_t node_id)
{
    const struct node_cluster *cluster = owner;

    state_propose_node_remove(cluster->node->state, node_id, true, NULL);
}

static struct ca *authority(void *owner, GError **error)
{
    return cluster_authority(owner, error);
}

struct join_server *cluster_join_server(struct node_cluster *cluster)
{
    static const struct join_server_events calls = {on_check, on_propose, is_free, undo, authority};
    struct join_server_options options = {.loop = cluster->node->loop,
                                          .cluster = cluster->node->identity.cluster,
                                          .version = MICROCLOUD_VERSION,
                                          .events = &calls,
                                          .owner = cluster};

    return join_server_new(&options);
}

/* Proposals about the cluster. */
#include "state/level.h"
#include "state/propose_cluster.h"
#include "state/propose_private.h"
#include "state/tables.h"

int state_propose_node_join(struct state *state, const struct state_node_join *join,
                            const struct state_completion *completion)
{
    State__NodeJoin message = STATE__NODE_JOIN__INIT;
    message.node_id = join->node_id;
    message.name = (char *)join->name;
    message.address = (char *)join->address;
    message.role = join->role;
    message.token_id = join->token_id;
    message.version = (char *)join->version;
    message.command_level = join->command_level;
    message.certificate = (char *)join->certificate;
    return propose_command(state, COMMAND(NODE_JOIN, node_join, &message), completion);
}

int state_propose_node_update(struct state *state, const struct state_node_update *update,
                              const struct state_completion *completion)
{
    State__NodeUpdate message = STATE__NODE_UPDATE__INIT;
    uint32_t fields = update->fields;
    message.node_id = update->node_id;
    message.fields = fields;
    if (fields & NODE_FIELD_NAME) {
        message.name = (char *)update->name;
    }
    if (fields & NODE_FIELD_ADDRESS) {
        message.address = (char *)update->address;
    }
    if (fields & NODE_FIELD_VERSION) {
        message.version = (char *)update->version;
        message.command_level = update->command_level;
    }
    if (fields & NODE_FIELD_CERTIFICATE) {
        message.certificate = (char *)update->certificate;
    }
    message.role = fields & NODE_FIELD_ROLE ? update->role : 0;
    message.is_drained = fields & NODE_FIELD_DRAINED && update->is_drained;
    return propose_command(state, COMMAND(NODE_UPDATE, node_update, &message), completion);
}

int state_propose_node_label(struct state *state, uint64_t node_id, const char *key,
                             const char *value, const struct state_completion *completion)
{
    State__NodeLabel message = STATE__NODE_LABEL__INIT;
    message.node_id = node_id;
    message.key = (char *)key;
    message.remove = !value;
    if (value) {
        message.value = (char *)value;
    }
    return propose_command(state, COMMAND(NODE_LABEL, node_label, &message), completion);
}

int state_propose_node_remove(struct state *state, uint64_t node_id, bool is_forced,
                              const struct state_completion *completion)
{
    State__NodeRemove message = STATE__NODE_REMOVE__INIT;
    uint32_t count = state_node_count(state);
    g_autofree uint64_t *others = g_new(uint64_t, count);
    bool names_others = !is_forced && state_command_level(state) >= LEVEL_OTHERS;
    message.node_id = node_id;
    message.others = others;
    for (uint32_t i = 0; names_others && i < count; i++) {
        uint64_t id = state_node_at(state, i)->id;
        if (id != node_id) {
            others[message.n_others++] = id;
        }
    }
    return propose_command(state, COMMAND(NODE_REMOVE, node_remove, &message), completion);
}

int state_propose_node_down(struct state *state, uint64_t node_id,
                            const struct state_completion *completion)
{
    State__NodeDown message = STATE__NODE_DOWN__INIT;
    message.node_id = node_id;
    message.epoch = tables_last_epoch(&state->tables, node_id);
    return propose_command(state, COMMAND(NODE_DOWN, node_down, &message), completion);
}

int state_propose_token_put(struct state *state, const struct join_token *token,
                            const struct state_completion *completion)
{
    State__TokenPut message = STATE__TOKEN_PUT__INIT;
    message.token_id = token->id;
    message.secret_sha256 =
        binary((struct bytes){token->secret_sha256, sizeof token->secret_sha256});
    message.role = token->role;
    message.expires_unix_ms = token->expires_unix_ms;
    return propose_command(state, COMMAND(TOKEN_PUT, token_put, &message), completion);
}

int state_propose_token_remove(struct state *state, uint64_t token_id,
                               const struct state_completion *completion)
{
    State__TokenRemove message = STATE__TOKEN_REMOVE__INIT;
    message.token_id = token_id;
    return propose_command(state, COMMAND(TOKEN_REMOVE, token_remove, &message), completion);
}

int state_propose_vip_set(struct state *state, const char *address, const char *interface,
                          const struct state_completion *completion)
{
    State__VipSet message = STATE__VIP_SET__INIT;
    message.address = (char *)address;
    message.interface = (char *)interface;
    return propose_command(state, COMMAND(VIP_SET, vip_set, &message), completion);
}

int state_propose_vip_remove(struct state *state, const char *address,
                             const struct state_completion *completion)
{
    State__VipRemove message = STATE__VIP_REMOVE__INIT;
    message.address = (char *)address;
    return propose_command(state, COMMAND(VIP_REMOVE, vip_remove, &message), completion);
}

int state_propose_ca(struct state *state, const struct cluster_ca *ca,
                     const struct state_completion *completion)
{
    State__CaSet message = STATE__CA_SET__INIT;
    message.certificate = ca->certificate;
    message.key = binary(ca->key);
    if (ca->previous_certificate) {
        message.previous_certificate = ca->previous_certificate;
    }
    message.generation = ca->generation;
    return propose_command(state, COMMAND(CA_SET, ca_set, &message), completion);
}

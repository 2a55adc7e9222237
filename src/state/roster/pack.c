/* The cluster's tables as one packed message, which is how a snapshot holds them. Reading checks
 * what applying would check. */
#include "base/cleanup.h"
#include "state/commands.pb-c.h"
#include "state/propose_private.h"
#include "state/roster/tables.h"
#include <string.h>

/* ---- writing: the texts are borrowed, everything else is freed with `memory` ---- */

struct packer {
    GPtrArray *memory;
};

static void *take(struct packer *packer, size_t size)
{
    void *memory = g_malloc0(MAX(size, 1));
    g_ptr_array_add(packer->memory, memory);
    return memory;
}

static State__NodeRow *node_row(struct packer *packer, const struct cluster_node *node)
{
    State__NodeRow *row = take(packer, sizeof *row);
    state__node_row__init(row);
    row->node_id = node->id;
    row->name = node->name;
    row->address = node->address;
    row->role = node->role;
    row->is_drained = node->is_drained;
    row->version = node->version;
    row->command_level = node->command_level;
    row->certificate = node->certificate;
    row->joined_unix_ms = node->joined_unix_ms;
    row->n_labels = node->label_count;
    row->labels = take(packer, node->label_count * sizeof(State__NodeLabel *));
    for (uint32_t i = 0; i < node->label_count; i++) {
        row->labels[i] = take(packer, sizeof(State__NodeLabel));
        state__node_label__init(row->labels[i]);
        row->labels[i]->key = node->labels[i].key;
        row->labels[i]->value = node->labels[i].value;
    }
    return row;
}

static State__TokenRow *token_row(struct packer *packer, const struct join_token *token)
{
    State__TokenRow *row = take(packer, sizeof *row);
    state__token_row__init(row);
    row->token = take(packer, sizeof *row->token);
    state__token_put__init(row->token);
    row->token->token_id = token->id;
    row->token->secret_sha256 =
        binary((struct bytes){token->secret_sha256, sizeof token->secret_sha256});
    row->token->role = token->role;
    row->token->expires_unix_ms = token->expires_unix_ms;
    row->used_by = token->used_by;
    return row;
}

static State__VipSet *vip_row(struct packer *packer, const struct virtual_address *vip)
{
    State__VipSet *row = take(packer, sizeof *row);
    state__vip_set__init(row);
    row->address = g_strdup_printf("%s/%u", vip->address, vip->prefix);
    g_ptr_array_add(packer->memory, row->address);
    row->interface = vip->interface;
    return row;
}

GByteArray *roster_pack(const struct roster *roster)
{
    g_autoptr(GPtrArray) memory = g_ptr_array_new_with_free_func(g_free);
    struct packer packer = {memory};
    State__Members message = STATE__MEMBERS__INIT;
    message.n_nodes = roster->nodes->len;
    message.nodes = take(&packer, message.n_nodes * sizeof *message.nodes);
    for (uint32_t i = 0; i < roster->nodes->len; i++) {
        message.nodes[i] = node_row(&packer, roster->nodes->pdata[i]);
    }
    message.n_tokens = roster->tokens->len;
    message.tokens = take(&packer, message.n_tokens * sizeof *message.tokens);
    for (uint32_t i = 0; i < roster->tokens->len; i++) {
        message.tokens[i] = token_row(&packer, roster->tokens->pdata[i]);
    }
    message.n_vips = roster->vips->len;
    message.vips = take(&packer, message.n_vips * sizeof *message.vips);
    for (uint32_t i = 0; i < roster->vips->len; i++) {
        message.vips[i] = vip_row(&packer, roster->vips->pdata[i]);
    }
    State__CaSet ca = STATE__CA_SET__INIT;
    ca.certificate = roster->ca.certificate;
    ca.key = binary(roster->ca.key);
    ca.previous_certificate = roster->ca.previous_certificate;
    ca.generation = roster->ca.generation;
    message.ca = roster->ca.generation > 0 ? &ca : NULL;

    GByteArray *bytes = g_byte_array_new();
    g_byte_array_set_size(bytes, (guint)state__members__get_packed_size(&message));
    state__members__pack(&message, bytes->data);
    return bytes;
}

/* ---- reading ---- */

static struct cluster_node *node_of(const State__NodeRow *row)
{
    struct cluster_node *node = g_new(struct cluster_node, 1);
    *node = (struct cluster_node){.id = row->node_id,
                                  .name = g_strdup(row->name),
                                  .address = g_strdup(row->address),
                                  .version = g_strdup(row->version),
                                  .certificate = g_strdup(row->certificate),
                                  .joined_unix_ms = row->joined_unix_ms,
                                  .command_level = row->command_level,
                                  .role = (enum node_role)row->role,
                                  .is_drained = row->is_drained};
    return node;
}

static const char *unpack_node(struct roster *roster, const State__NodeRow *row)
{
    if (roster->nodes->len >= NODES_MAX || roster_find_node(roster, row->node_id) ||
        roster_find_name(roster, row->name)) {
        return "a node stands there twice, or there are too many";
    }
    struct cluster_node *node = node_of(row);
    roster_add_node(roster, node);
    g_autofree char *problem = roster_node_problem(node);
    if (problem) {
        return "a node is not valid";
    }
    for (size_t i = 0; i < row->n_labels; i++) {
        const State__NodeLabel *label = row->labels[i];
        g_autofree char *label_problem = roster_label_problem(label->key, label->value);
        if (label_problem || i >= NODE_LABELS_MAX) {
            return "a label is not valid, or there are too many";
        }
        roster_set_label(node, label->key, label->value);
    }
    return NULL;
}

static const char *unpack_token(struct roster *roster, const State__TokenRow *row)
{
    const State__TokenPut *put = row->token;
    struct join_token token = {.used_by = row->used_by};
    if (!put || put->token_id == 0 || put->secret_sha256.len != sizeof token.secret_sha256 ||
        put->role >= NODE_ROLE_COUNT || roster_find_token(roster, put->token_id)) {
        return "a token is not valid or stands there twice";
    }
    token.id = put->token_id;
    token.role = (enum node_role)put->role;
    token.expires_unix_ms = put->expires_unix_ms;
    memcpy(token.secret_sha256, put->secret_sha256.data, sizeof token.secret_sha256);
    roster_put_token(roster, &token);
    return NULL;
}

static const char *unpack_vip(struct roster *roster, const State__VipSet *row)
{
    g_autofree char *problem = NULL;
    struct virtual_address *vip = roster_parse_vip(row->address, row->interface, &problem);
    if (!vip || roster_find_vip(roster, vip->address)) {
        roster_free_vip(vip);
        return "a virtual IP is not valid or stands there twice";
    }
    roster_put_vip(roster, vip);
    return NULL;
}

static const char *unpack_ca(struct roster *roster, const State__CaSet *row)
{
    struct cluster_ca ca = {.certificate = row->certificate,
                            .previous_certificate = row->previous_certificate,
                            .key = {row->key.data, row->key.len},
                            .generation = row->generation};
    g_autofree char *problem = roster_ca_problem(&ca);
    if (problem || ca.generation == 0) {
        return "the certificate authority is not valid";
    }
    roster_set_ca(roster, &ca);
    return NULL;
}

static const char *unpack(struct roster *roster, const State__Members *message)
{
    const char *problem = NULL;
    for (size_t i = 0; i < message->n_nodes && !problem; i++) {
        problem = unpack_node(roster, message->nodes[i]);
    }
    for (size_t i = 0; i < message->n_tokens && !problem; i++) {
        problem = unpack_token(roster, message->tokens[i]);
    }
    for (size_t i = 0; i < message->n_vips && !problem; i++) {
        problem = unpack_vip(roster, message->vips[i]);
    }
    return message->ca && !problem ? unpack_ca(roster, message->ca) : problem;
}

const char *roster_unpack(struct roster *roster, struct bytes bytes)
{
    State__Members *message = state__members__unpack(NULL, bytes.length, bytes.at);
    if (!message) {
        return "the cluster's tables are not a packed message";
    }
    const char *problem = unpack(roster, message);
    state__members__free_unpacked(message, NULL);
    roster_count_bytes(roster);
    return problem;
}

/* Proposals about the cluster. As in propose.h: 0 or a negative errno; `message` of the result says
 * what was wrong. */
#pragma once

#include "state/cluster_tables.h"
#include "state/propose.h"

struct state_node_join {
    uint64_t node_id;
    const char *name, *address, *version, *certificate;
    enum node_role role; /* asked for; the token's counts when that is not auto */
    uint64_t token_id;   /* 0: the founder, while there is no node */
    uint32_t command_level;
};
/* The secret was compared before; here: the token is there, not expired, not used; id, name and the
 * id's lowest 12 bits are free. The token is used up. */
int state_propose_node_join(struct state *state, const struct state_node_join *join,
                            const struct state_completion *completion);

enum node_field {
    NODE_FIELD_NAME = 1 << 0,
    NODE_FIELD_ADDRESS = 1 << 1,
    NODE_FIELD_ROLE = 1 << 2,
    NODE_FIELD_DRAINED = 1 << 3,
    NODE_FIELD_VERSION = 1 << 4, /* with the command level */
    NODE_FIELD_CERTIFICATE = 1 << 5,
    NODE_FIELDS = (1 << 6) - 1
};
struct state_node_update {
    uint64_t node_id;
    uint32_t fields; /* enum node_field; the others may be anything */
    const char *name, *address, *version, *certificate;
    enum node_role role;
    uint32_t command_level;
    bool is_drained;
};
int state_propose_node_update(struct state *state, const struct state_node_update *update,
                              const struct state_completion *completion);
/* `value` NULL removes the label. */
int state_propose_node_label(struct state *state, uint64_t node_id, const char *key,
                             const char *value, const struct state_completion *completion);
/* Refused, unless forced, when another came or was removed meanwhile: so two are never removed at
 * once that each could be spared, but not both. The last node is never removed. */
int state_propose_node_remove(struct state *state, uint64_t node_id, bool is_forced,
                              const struct state_completion *completion);
/* By the leader: its connections, of the life that is known now and those before, are closed as if
 * broken (wills go out, expiry starts). */
int state_propose_node_down(struct state *state, uint64_t node_id,
                            const struct state_completion *completion);

/* `token_id` is random and not 0, `secret_sha256` has 32 bytes. Those that ended a week ago are
 * forgotten. */
int state_propose_token_put(struct state *state, const struct join_token *token,
                            const struct state_completion *completion);
int state_propose_token_remove(struct state *state, uint64_t token_id,
                               const struct state_completion *completion);

/* `address` is ADDRESS/PREFIX; one that is there gets the new prefix and interface. `interface` may
 * be empty. */
int state_propose_vip_set(struct state *state, const char *address, const char *interface,
                          const struct state_completion *completion);
/* With or without the prefix. */
int state_propose_vip_remove(struct state *state, const char *address,
                             const struct state_completion *completion);

/* `ca->generation` is that of the one it replaces (0: there is none); the new one's is one more. */
int state_propose_ca(struct state *state, const struct cluster_ca *ca,
                     const struct state_completion *completion);

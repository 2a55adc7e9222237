/* The cluster as tables of the state: which nodes belong to it, who may join, which addresses it
 * answers at, its certificate authority. What they mean is cluster/'s and ingress/'s. Pointers are
 * valid until the next change of their table, and until a snapshot is restored. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

struct state;

/* The commands that this program can apply: one more for each version whose commands.proto has new
 * ones. How versions live together: level.h. */
#define STATE_COMMAND_LEVEL 4

#define NODES_MAX       100
#define TOKENS_MAX      256
#define VIPS_MAX        16
#define NODE_LABELS_MAX 64

/* As it is wanted; which one a node has now is consensus's. */
enum node_role {
    NODE_ROLE_AUTO, /* roles keep themselves */
    NODE_ROLE_VOTER,
    NODE_ROLE_SPARE,
    NODE_ROLE_WITNESS, /* votes, runs nothing */
    NODE_ROLE_COUNT
};
const char *node_role_to_string(enum node_role role);
/* False when there is none of this name. */
bool node_role_from_string(const char *text, enum node_role *role);

struct node_label {
    char *key, *value;
};

struct cluster_node {
    uint64_t id;       /* its lowest 12 bits are unique too: they number connections */
    char *name;        /* unique */
    char *address;     /* host:port between nodes */
    char *version;     /* of its program, "0.2.0" */
    char *certificate; /* SHA-256 of its certificate in hex; may be empty */
    uint64_t joined_unix_ms;
    uint32_t command_level;
    enum node_role role;
    bool is_drained;
    uint32_t label_count;
    struct node_label *labels; /* in order of keys */
};

struct join_token {
    uint64_t id;
    uint8_t secret_sha256[32];
    uint64_t expires_unix_ms;
    uint64_t used_by; /* node id; 0 = not yet */
    enum node_role role;
};

struct virtual_address {
    char *address;   /* as it is usually written, without the prefix */
    char *interface; /* empty: the one whose network it is in */
    uint8_t prefix;
    bool is_ipv6;
};

struct cluster_ca {
    char *certificate, *previous_certificate; /* PEM; empty when there is none */
    struct bytes key;                         /* encrypted */
    uint64_t generation;                      /* 0 = none was set */
};

/* ---- reading ---- */
/* In order of ids. */
uint32_t state_node_count(const struct state *state);
const struct cluster_node *state_node_at(const struct state *state, uint32_t at);
/* NULL when there is none: it never joined, or was removed. */
const struct cluster_node *state_find_node(const struct state *state, uint64_t node_id);
const struct cluster_node *state_find_node_by_name(const struct state *state, const char *name);
/* NULL when it has none of this key. */
const char *cluster_node_label(const struct cluster_node *node, const char *key);
/* Has this id belonged to a node before? Then it must not join under it (consensus.md, rule 9). */
bool state_node_was_here(const struct state *state, uint64_t node_id);
/* What all nodes can apply: only such commands are proposed. */
uint32_t state_command_level(const struct state *state);
/* May a node of this version and level join? NULL, or why not, for people; caller frees. */
char *state_version_problem(const struct state *state, const char *version, uint32_t level,
                            bool *is_old);
/* Why some are refused: names the node that is the furthest behind, for people. NULL when all nodes
 * can apply what we can. Caller frees. */
char *state_level_problem(const struct state *state);

/* In order of ids. */
uint32_t state_token_count(const struct state *state);
const struct join_token *state_token_at(const struct state *state, uint32_t at);
const struct join_token *state_find_token(const struct state *state, uint64_t token_id);

/* In order of addresses (IPv4 first). */
uint32_t state_vip_count(const struct state *state);
const struct virtual_address *state_vip_at(const struct state *state, uint32_t at);

const struct cluster_ca *state_ca(const struct state *state);

/* The newest time that a group had: what every node takes for now when it applies. 0 = none yet. */
uint64_t state_time_unix_ms(const struct state *state);

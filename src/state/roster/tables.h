/* The inside of the cluster's tables, for this folder only: what may stand in them, and changing
 * them. */
#pragma once

#include "state/cluster_tables.h"
#include <glib.h>

#define NODE_NAME_BYTES_MAX        63
#define NODE_ADDRESS_BYTES_MAX     300
#define NODE_VERSION_BYTES_MAX     32
#define NODE_CERTIFICATE_BYTES_MAX 128
#define NODE_LABEL_KEY_BYTES_MAX   63
#define NODE_LABEL_VALUE_BYTES_MAX 128
#define CA_BYTES_MAX               65536
/* Tokens that ended, or were used, are kept as long after their end, so that whoever comes with one
 * is told why. */
#define TOKEN_FORGET_MS (7ull * 24 * 3600 * 1000)

struct roster {
    GPtrArray *nodes;  /* struct cluster_node, in order of ids */
    GPtrArray *tokens; /* struct join_token, in order of ids */
    GPtrArray *vips;   /* struct virtual_address, in order */
    struct cluster_ca ca;
    uint64_t bytes; /* what all of it counts for */
};

void roster_init(struct roster *roster);
void roster_deinit(struct roster *roster);
/* After each change. */
void roster_count_bytes(struct roster *roster);

/* ---- nodes ---- */
struct cluster_node *roster_find_node(const struct roster *roster, uint64_t node_id);
/* Whether a connection of this number is one node's that is there (propose.h). */
bool roster_has_connection(const struct roster *roster, uint64_t connection_number);
struct cluster_node *roster_find_name(const struct roster *roster, const char *name);
/* Takes it: an allocated one whose texts are allocated. There must be none of its id. */
void roster_add_node(struct roster *roster, struct cluster_node *node);
bool roster_remove_node(struct roster *roster, uint64_t node_id);
/* `value` NULL removes. */
void roster_set_label(struct cluster_node *node, const char *key, const char *value);
void roster_set_text(char **text, const char *value);
/* The one (the first one) of the lowest command level; NULL without nodes. */
const struct cluster_node *roster_find_oldest(const struct roster *roster);
/* The lowest level of all nodes, 0 without nodes. */
uint32_t roster_command_level(const struct roster *roster);
/* NULL when it may stand there, else what is wrong, for people. Caller frees. */
char *roster_node_problem(const struct cluster_node *node);
char *roster_label_problem(const char *key, const char *value);

/* ---- tokens ---- */
struct join_token *roster_find_token(const struct roster *roster, uint64_t token_id);
/* Replaces the one of this id. Copies. */
void roster_put_token(struct roster *roster, const struct join_token *token);
bool roster_remove_token(struct roster *roster, uint64_t token_id);
/* Those that ended TOKEN_FORGET_MS before. */
void roster_forget_tokens(struct roster *roster, uint64_t now_unix_ms);

/* ---- virtual addresses (vips.c) ---- */
/* NULL, with what is wrong in `problem` (caller frees), when `address` is no ADDRESS/PREFIX that a
 * node could hold, or `interface` no name of one. */
struct virtual_address *roster_parse_vip(const char *address, const char *interface,
                                         char **problem);
void roster_free_vip(void *memory);
/* Takes it; replaces the one of this address. */
void roster_put_vip(struct roster *roster, struct virtual_address *vip);
struct virtual_address *roster_find_vip(const struct roster *roster, const char *address);
/* `address` with or without prefix. */
bool roster_remove_vip(struct roster *roster, const char *address);

/* ---- certificate authority ---- */
char *roster_ca_problem(const struct cluster_ca *ca);
void roster_set_ca(struct roster *roster, const struct cluster_ca *ca); /* copies */

/* ---- in a snapshot (pack.c) ---- */
/* Packed; caller unrefs. */
GByteArray *roster_pack(const struct roster *roster);
/* Into empty tables. NULL, or what is wrong; then they hold a part of it. */
const char *roster_unpack(struct roster *roster, struct bytes bytes);

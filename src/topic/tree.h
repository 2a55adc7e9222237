/* A tree of topic levels with one value a node: filters (subscriptions) or names (retained
 * messages). Pure, built for millions of nodes: nodes are 32 bytes in one pool, addressed by 32-bit
 * ids; children are found by one hash table over (parent, level), so width costs nothing. A node
 * without value and children is removed at once. The table grows a few slots with every change, so
 * no change ever waits for all of it; its seed is random, but nothing that is seen from outside
 * depends on it. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

struct topic_tree;

/* The most nodes (levels, not values) of one tree: far above what the settings of the broker let
 * clients make. */
#define TOPIC_TREE_NODES_MAX ((1u << 26) - 2)

struct topic_tree *topic_tree_new(void);
/* Values are not freed. */
void topic_tree_free(struct topic_tree *tree);

/* Nodes are never 0, and stay where they are as long as they have a value. */
/* Makes the path if needed. The caller sets a value before the next change, else the node is not
 * kept alive. 0 when the tree holds TOPIC_TREE_NODES_MAX nodes, and for an empty path. */
uint32_t topic_tree_add(struct topic_tree *tree, struct bytes path);
/* 0 when there is no node of this path. */
uint32_t topic_tree_find(const struct topic_tree *tree, struct bytes path);
/* The path of a node, put together from its levels; NUL-terminated, the caller frees (g_free). */
char *topic_tree_path(const struct topic_tree *tree, uint32_t node);
void *topic_tree_value(const struct topic_tree *tree, uint32_t node);
/* NULL removes the value, and with it the node and its ancestors as far as nothing needs them. */
void topic_tree_set_value(struct topic_tree *tree, uint32_t node, void *value);
uint32_t topic_tree_count(const struct topic_tree *tree); /* of values */
size_t topic_tree_bytes(const struct topic_tree *tree);   /* memory */
/* Changes with every value set or removed: what was resolved from the tree is valid as long as this
 * is the same. */
uint64_t topic_tree_generation(const struct topic_tree *tree);

/* Calls `fn` with each value whose path, read as filter, matches the topic name (a valid one: no
 * wildcards); order is the tree's, deterministic for the same sequence of changes. `fn` must not
 * change the tree. */
void topic_tree_match(const struct topic_tree *tree, struct bytes name,
                      void (*fn)(void *owner, void *value), void *owner);
/* Is it too large for the processor's caches? Then topic_tree_prefetch is worth its time. */
bool topic_tree_is_large(const struct topic_tree *tree);
/* Brings near what matching the first TOPIC_PREFETCH_MAX of these names will touch. */
#define TOPIC_PREFETCH_MAX 8
void topic_tree_prefetch(const struct topic_tree *tree, const struct bytes *names, unsigned count);
/* Calls `fn` with each value whose path, read as name, is matched by the filter, until it returns
 * false. Siblings come in the order in which they were added. `fn` must not change the tree. */
void topic_tree_scan(const struct topic_tree *tree, struct bytes filter,
                     bool (*fn)(void *owner, void *value), void *owner);
/* All values, in order of paths' bytes: for deterministic snapshots. `fn` must not change the tree.
 */
void topic_tree_for_each(const struct topic_tree *tree, void (*fn)(void *owner, void *value),
                         void *owner);

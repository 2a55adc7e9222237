/* The inside of struct topic_tree, shared by its files. Invariants: node 1 is the root; a node is
 * in the index under (parent, level), and the first child of a parent once more under (parent,
 * "head"), which is how children are reached without a field for it; siblings form a ring in order
 * of insertion, IS_HEAD marks its first; a node without value and children exists only between
 * topic_tree_add and the next change (`fresh`). Private to topic. */
#pragma once

#include "base/pool.h"
#include "topic/level.h"
#include "topic/tree.h"
#include <glib.h>

#define TREE_ROOT        1u
#define TREE_CHUNK_NODES (POOL_CHUNK_BYTES / 32)
#define TREE_ID_BITS     26
#define TREE_ID_MASK     ((1u << TREE_ID_BITS) - 1)

enum node_flags { NODE_HAS_CHILDREN = 1, NODE_HAS_PLUS = 2, NODE_HAS_HASH = 4, NODE_IS_HEAD = 8 };

struct node {
    void *value;
    uint8_t text[LEVEL_SHORT_BYTES +
                 1]; /* as in struct level; of a long level a pointer to struct long_text */
    uint32_t parent : TREE_ID_BITS;
    uint32_t flags : 6;
    uint32_t next, previous; /* the ring of siblings; of a free node the next free one */
};
_Static_assert(sizeof(struct node) == 32, "a node is two to a cache line");

struct long_text {
    uint32_t length;
    uint8_t at[];
};

/* Open addressing, linear probing. A slot is 0 (never used), INDEX_REMOVED, or head bit, five bits
 * of hash, node id. */
struct index {
    uint32_t *slots;
    uint32_t mask;
    uint32_t used; /* removed ones included */
};

struct topic_tree {
    struct node **chunks;
    uint32_t chunk_count, chunk_capacity;
    uint32_t node_limit; /* ids given out so far are below */
    uint32_t free_node;  /* list through `next`, 0 ends it */
    uint32_t node_count; /* root included */
    uint32_t value_count;
    uint32_t fresh; /* added and still without value */
    uint64_t generation;
    size_t long_bytes;
    struct hash_key key;
    uint64_t head_hash;
    struct level plus, hash;
    struct index index, old; /* `old` is being moved over to `index` when it has slots */
    uint32_t moved;          /* slots of `old` that were */
    uint32_t entry_count;    /* in both */
};

static inline struct node *tree_node(const struct topic_tree *tree, uint32_t id)
{
    return &tree->chunks[id / TREE_CHUNK_NODES][id % TREE_CHUNK_NODES];
}

static inline struct long_text *node_long_text(const struct node *node)
{
    struct long_text *text;
    memcpy(&text, node->text, sizeof text);
    return text;
}

static inline struct bytes node_text(const struct node *node)
{
    if (node->text[LEVEL_SHORT_BYTES] != LEVEL_LONG) {
        return (struct bytes){node->text, node->text[LEVEL_SHORT_BYTES]};
    }
    const struct long_text *text = node_long_text(node);
    return (struct bytes){text->at, text->length};
}

static inline bool node_has_level(const struct node *node, const struct level *level)
{
    if (level->text[LEVEL_SHORT_BYTES] != LEVEL_LONG) {
        return memcmp(node->text, level->text, sizeof level->text) == 0;
    }
    return node->text[LEVEL_SHORT_BYTES] == LEVEL_LONG &&
           bytes_equal(node_text(node), (struct bytes){level->at, level->length});
}

/* ---- index.c ---- */

void index_init(struct topic_tree *tree);
void index_deinit(struct topic_tree *tree);
/* Gives the memory back; there are no entries left. */
void index_clear(struct topic_tree *tree);
/* The child of `parent` with this level, 0 when none. */
uint32_t index_find(const struct topic_tree *tree, uint32_t parent, const struct level *level);
/* The first child of `parent`, which has children. */
uint32_t index_head(const struct topic_tree *tree, uint32_t parent);
/* Brings the cache line of a lookup near. */
void index_prefetch(const struct topic_tree *tree, uint32_t parent, const struct level *level);
/* The same for the node that the lookup will look at, once the line is near. */
void index_prefetch_node(const struct topic_tree *tree, uint32_t parent, const struct level *level);
void index_add(struct topic_tree *tree, uint32_t node, const struct level *level);
void index_add_head(struct topic_tree *tree, uint32_t node);
/* The node is still whole. */
void index_remove(struct topic_tree *tree, uint32_t node);
void index_remove_head(struct topic_tree *tree, uint32_t parent);
/* Another child is the first now. */
void index_replace_head(struct topic_tree *tree, uint32_t parent, uint32_t node);
/* A bounded part of the move to another size; called once with every change. */
void index_step(struct topic_tree *tree);
size_t index_bytes(const struct topic_tree *tree);

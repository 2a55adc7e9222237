/* The hash table of a topic tree: (parent, level) → child, and (parent, head) → first child.
 *
 * A slot holds five bits of the hash beside the id, so 31 of 32 foreign entries on the way are
 * passed without touching their node. When five eighths are used, a table of a fitting size is made
 * and every further change moves INDEX_STEP_SLOTS of the old one, while lookups ask both: no change
 * waits for more than that, whatever the size. Levels are hashed with a secret key (SipHash), then
 * mixed with the parent, so that a topic's levels are hashed once for all branches of a match.
 *
 * Removed slots become empty at once when the next one is; else they stay marked, count as used,
 * and go with the next move. */
#include "topic/tree_private.h"
#include <assert.h>

#define INDEX_REMOVED    UINT32_MAX
#define INDEX_HEAD_BIT   0x80000000u
#define INDEX_SLOTS_MIN  64u
#define INDEX_STEP_SLOTS 16u

/* What is looked for; level NULL for the head. */
struct key {
    uint64_t hash;
    uint32_t parent;
    const struct level *level;
};

static uint64_t mix(const struct topic_tree *tree, uint64_t hash, uint32_t parent)
{
    uint64_t mixed = hash ^ parent * (tree->key.high | 1);

    mixed ^= mixed >> 32;
    mixed *= 0x9e3779b97f4a7c15u;
    return mixed ^ mixed >> 29;
}

static struct key key_of_level(const struct topic_tree *tree, uint32_t parent,
                               const struct level *level)
{
    return (struct key){mix(tree, level->hash, parent), parent, level};
}

static struct key key_of_head(const struct topic_tree *tree, uint32_t parent)
{
    return (struct key){mix(tree, tree->head_hash, parent), parent, NULL};
}

/* The slot of this entry: tag of the hash, and the kind. */
static uint32_t slot_of(const struct key *key, uint32_t node)
{
    uint32_t tag = (uint32_t)(key->hash >> 59) << TREE_ID_BITS;
    return (key->level ? 0 : INDEX_HEAD_BIT) | tag | node;
}

static bool is_wanted(const struct topic_tree *tree, const struct key *key, uint32_t slot)
{
    const struct node *node = tree_node(tree, slot & TREE_ID_MASK);
    return node->parent == key->parent && (!key->level || node_has_level(node, key->level));
}

static uint32_t *probe(const struct topic_tree *tree, const struct index *index,
                       const struct key *key)
{
    uint32_t wanted = slot_of(key, 0);

    for (uint32_t i = (uint32_t)key->hash;; i++) {
        uint32_t *slot = &index->slots[i & index->mask];
        if (*slot == 0) {
            return NULL;
        }
        if ((*slot & ~TREE_ID_MASK) == wanted && *slot != INDEX_REMOVED &&
            is_wanted(tree, key, *slot)) {
            return slot;
        }
    }
}

/* NULL when it is nowhere; `where` is the table it is in. */
static uint32_t *search(const struct topic_tree *tree, const struct key *key,
                        const struct index **where)
{
    uint32_t *slot = probe(tree, &tree->index, key);

    *where = &tree->index;
    if (!slot && tree->old.slots) {
        *where = &tree->old;
        slot = probe(tree, &tree->old, key);
    }
    return slot;
}

uint32_t index_find(const struct topic_tree *tree, uint32_t parent, const struct level *level)
{
    struct key key = key_of_level(tree, parent, level);
    const struct index *where;
    const uint32_t *slot = search(tree, &key, &where);
    return slot ? *slot & TREE_ID_MASK : 0;
}

uint32_t index_head(const struct topic_tree *tree, uint32_t parent)
{
    struct key key = key_of_head(tree, parent);
    const struct index *where;
    const uint32_t *slot = search(tree, &key, &where);
    assert(slot);
    return *slot & TREE_ID_MASK;
}

void index_prefetch(const struct topic_tree *tree, uint32_t parent, const struct level *level)
{
    __builtin_prefetch(
        &tree->index.slots[(uint32_t)mix(tree, level->hash, parent) & tree->index.mask]);
}

/* The first entry on the way with the tag that is wanted: mostly it is the one. */
void index_prefetch_node(const struct topic_tree *tree, uint32_t parent, const struct level *level)
{
    const struct key key = key_of_level(tree, parent, level);
    uint32_t wanted = slot_of(&key, 0);

    for (uint32_t i = (uint32_t)key.hash;; i++) {
        uint32_t slot = tree->index.slots[i & tree->index.mask];
        if (slot == 0) {
            return;
        }
        if ((slot & ~TREE_ID_MASK) == wanted && slot != INDEX_REMOVED) {
            __builtin_prefetch(tree_node(tree, slot & TREE_ID_MASK));
            return;
        }
    }
}

/* ---- changes ---- */

static void put(struct index *index, const struct key *key, uint32_t node)
{
    uint32_t i = (uint32_t)key->hash;

    while (index->slots[i & index->mask] != 0 && index->slots[i & index->mask] != INDEX_REMOVED) {
        i++;
    }
    index->used += index->slots[i & index->mask] == 0;
    index->slots[i & index->mask] = slot_of(key, node);
}

static uint32_t slots_for(uint32_t entries)
{
    uint32_t slots = INDEX_SLOTS_MIN;

    while (slots < entries + entries / 8 * 17) {
        slots *= 2;
    }
    return slots;
}

static bool is_large(uint32_t count)
{
    return count * sizeof(uint32_t) >= POOL_CHUNK_BYTES;
}

/* A large table is memory that the system hands out zeroed when it is touched: making one costs
 * nothing at once. */
static struct index index_new(uint32_t entries)
{
    uint32_t count = slots_for(entries);
    uint32_t *slots =
        is_large(count) ? pages_new(count * sizeof *slots, true) : g_new0(uint32_t, count);
    return (struct index){.slots = slots, .mask = count - 1};
}

static void index_free(struct index *index)
{
    if (is_large(index->mask + 1)) {
        pages_free(index->slots, (index->mask + 1) * sizeof *index->slots);
    } else {
        g_free(index->slots);
    }
    index->slots = NULL;
}

static void move_one(struct topic_tree *tree, uint32_t *slot)
{
    uint32_t id = *slot & TREE_ID_MASK;
    const struct node *node = tree_node(tree, id);

    if (*slot & INDEX_HEAD_BIT) {
        struct key key = key_of_head(tree, node->parent);
        put(&tree->index, &key, id);
    } else {
        struct bytes text = node_text(node);
        struct level level;
        level_init(&level, text.at, text.length, &tree->key);
        struct key key = key_of_level(tree, node->parent, &level);
        put(&tree->index, &key, id);
    }
    *slot = INDEX_REMOVED;
}

static void move_some(struct topic_tree *tree, uint32_t count)
{
    for (; tree->old.slots && count > 0; count--) {
        uint32_t *slot = &tree->old.slots[tree->moved];
        if (*slot != 0 && *slot != INDEX_REMOVED) {
            move_one(tree, slot);
        }
        if (tree->moved++ == tree->old.mask) {
            index_free(&tree->old);
        }
    }
}

void index_step(struct topic_tree *tree)
{
    uint32_t slots = tree->index.mask + 1;

    if (tree->old.slots) {
        move_some(tree, tree->index.used > slots / 8 * 7 ? UINT32_MAX : INDEX_STEP_SLOTS);
        return;
    }
    bool is_full = tree->index.used > slots / 8 * 5;
    bool is_wide = slots > INDEX_SLOTS_MIN * 16 && tree->entry_count < slots / 16;
    if (is_full || is_wide) {
        tree->old = tree->index;
        tree->moved = 0;
        tree->index = index_new(tree->entry_count);
    }
}

static void add(struct topic_tree *tree, const struct key *key, uint32_t node)
{
    put(&tree->index, key, node);
    tree->entry_count++;
}

void index_add(struct topic_tree *tree, uint32_t node, const struct level *level)
{
    struct key key = key_of_level(tree, tree_node(tree, node)->parent, level);
    add(tree, &key, node);
}

void index_add_head(struct topic_tree *tree, uint32_t node)
{
    struct key key = key_of_head(tree, tree_node(tree, node)->parent);
    add(tree, &key, node);
}

static void remove_entry(struct topic_tree *tree, const struct key *key)
{
    const struct index *where;
    uint32_t *slot = search(tree, key, &where);

    assert(slot);
    tree->entry_count--;
    *slot = INDEX_REMOVED;
    if (where == &tree->old) {
        return;
    }
    /* At the end of a run nothing can lie behind: give removed slots back. */
    struct index *index = &tree->index;
    uint32_t i = (uint32_t)(slot - index->slots);
    if (index->slots[(i + 1) & index->mask] == 0) {
        for (; index->slots[i & index->mask] == INDEX_REMOVED; i--) {
            index->slots[i & index->mask] = 0;
            index->used--;
        }
    }
}

void index_remove(struct topic_tree *tree, uint32_t id)
{
    const struct node *node = tree_node(tree, id);
    struct bytes text = node_text(node);
    struct level level;

    level_init(&level, text.at, text.length, &tree->key);
    struct key key = key_of_level(tree, node->parent, &level);
    remove_entry(tree, &key);
}

void index_remove_head(struct topic_tree *tree, uint32_t parent)
{
    struct key key = key_of_head(tree, parent);
    remove_entry(tree, &key);
}

void index_replace_head(struct topic_tree *tree, uint32_t parent, uint32_t node)
{
    struct key key = key_of_head(tree, parent);
    const struct index *where;
    uint32_t *slot = search(tree, &key, &where);
    assert(slot);
    *slot = slot_of(&key, node);
}

void index_init(struct topic_tree *tree)
{
    tree->index = index_new(0);
    tree->old = (struct index){.slots = NULL};
}

void index_deinit(struct topic_tree *tree)
{
    index_free(&tree->index);
    index_free(&tree->old);
}

void index_clear(struct topic_tree *tree)
{
    assert(tree->entry_count == 0);
    if (tree->old.slots || tree->index.mask + 1 > INDEX_SLOTS_MIN) {
        index_deinit(tree);
        index_init(tree);
    }
}

size_t index_bytes(const struct topic_tree *tree)
{
    size_t slots = tree->index.mask + 1;

    if (tree->old.slots) {
        slots += tree->old.mask + 1;
    }
    return slots * sizeof(uint32_t);
}

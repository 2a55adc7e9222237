/* Nodes of a topic tree: adding and removing paths, and what there is to ask about one node.
 *
 * topic_tree_add walks the levels and makes the nodes that are missing; topic_tree_set_value(NULL)
 * takes a leaf away and every ancestor that was there only for it. Nodes live in chunks that never
 * move, freed ones are used again; when the last value goes, all chunks but one go too. At
 * TOPIC_TREE_NODES_MAX topic_tree_add undoes what it made and returns 0. */
#include "topic/tree_private.h"
#include <assert.h>
#include <sys/random.h>

/* Only from so many chunks on huge pages are worth what they may waste. */
#define HUGE_FROM_CHUNKS 3

static void chunk_add(struct topic_tree *tree)
{
    if (tree->chunk_count == tree->chunk_capacity) {
        tree->chunk_capacity = tree->chunk_capacity ? tree->chunk_capacity * 2 : 4;
        tree->chunks = g_renew(struct node *, tree->chunks, tree->chunk_capacity);
    }
    bool is_huge = tree->chunk_count >= HUGE_FROM_CHUNKS;
    tree->chunks[tree->chunk_count++] = pages_new(POOL_CHUNK_BYTES, is_huge);
}

static void chunks_trim(struct topic_tree *tree, uint32_t count)
{
    while (tree->chunk_count > count) {
        pages_free(tree->chunks[--tree->chunk_count], POOL_CHUNK_BYTES);
    }
}

static uint32_t node_new(struct topic_tree *tree)
{
    uint32_t id = tree->free_node;

    if (id != 0) {
        tree->free_node = tree_node(tree, id)->next;
    } else {
        if (tree->node_limit == TOPIC_TREE_NODES_MAX) {
            return 0;
        }
        if (tree->node_limit / TREE_CHUNK_NODES == tree->chunk_count) {
            chunk_add(tree);
        }
        id = tree->node_limit++;
    }
    *tree_node(tree, id) = (struct node){.next = id, .previous = id};
    tree->node_count++;
    return id;
}

static void node_set_text(struct topic_tree *tree, struct node *node, const struct level *level)
{
    memcpy(node->text, level->text, sizeof node->text);
    if (level->text[LEVEL_SHORT_BYTES] == LEVEL_LONG) {
        struct long_text *text = g_malloc(sizeof *text + level->length);
        text->length = level->length;
        memcpy(text->at, level->at, level->length);
        memcpy(node->text, &text, sizeof text);
        tree->long_bytes += sizeof *text + level->length;
    }
}

static void node_clear_text(struct topic_tree *tree, const struct node *node)
{
    if (node->text[LEVEL_SHORT_BYTES] == LEVEL_LONG) {
        struct long_text *text = node_long_text(node);
        tree->long_bytes -= sizeof *text + text->length;
        g_free(text);
    }
}

static void set_wildcard_flag(const struct topic_tree *tree, struct node *parent,
                              const struct node *child, bool is_there)
{
    unsigned flag = node_has_level(child, &tree->plus)   ? NODE_HAS_PLUS
                    : node_has_level(child, &tree->hash) ? NODE_HAS_HASH
                                                         : 0;
    parent->flags = is_there ? parent->flags | flag : parent->flags & ~flag;
}

/* ---- adding ---- */

static uint32_t child_add(struct topic_tree *tree, uint32_t parent_id, const struct level *level)
{
    uint32_t id = node_new(tree);
    if (id == 0) {
        return 0;
    }
    struct node *node = tree_node(tree, id), *parent = tree_node(tree, parent_id);

    node->parent = parent_id;
    node_set_text(tree, node, level);
    set_wildcard_flag(tree, parent, node, true);
    if (parent->flags & NODE_HAS_CHILDREN) {
        uint32_t head_id = index_head(tree, parent_id);
        struct node *head = tree_node(tree, head_id);
        node->next = head_id;
        node->previous = head->previous;
        tree_node(tree, head->previous)->next = id;
        head->previous = id;
    } else {
        parent->flags |= NODE_HAS_CHILDREN;
        node->flags = NODE_IS_HEAD;
        index_add_head(tree, id);
    }
    index_add(tree, id, level);
    index_step(tree);
    return id;
}

/* ---- removing ---- */

static void child_remove(struct topic_tree *tree, uint32_t id)
{
    struct node *node = tree_node(tree, id), *parent = tree_node(tree, node->parent);

    index_remove(tree, id);
    set_wildcard_flag(tree, parent, node, false);
    if (node->next == id) {
        parent->flags &= ~(unsigned)NODE_HAS_CHILDREN;
        index_remove_head(tree, node->parent);
    } else {
        if (node->flags & NODE_IS_HEAD) {
            tree_node(tree, node->next)->flags |= NODE_IS_HEAD;
            index_replace_head(tree, node->parent, node->next);
        }
        tree_node(tree, node->previous)->next = node->next;
        tree_node(tree, node->next)->previous = node->previous;
    }
    node_clear_text(tree, node);
    *node = (struct node){.next = tree->free_node};
    tree->free_node = id;
    tree->node_count--;
    index_step(tree);
}

/* Removes the node and its ancestors as far as they have neither value nor children. */
static void prune(struct topic_tree *tree, uint32_t id)
{
    while (id != TREE_ROOT) {
        const struct node *node = tree_node(tree, id);
        if (node->value || node->flags & NODE_HAS_CHILDREN) {
            return;
        }
        uint32_t parent = node->parent;
        child_remove(tree, id);
        id = parent;
    }
    if (tree->node_count == 1) {
        chunks_trim(tree, 1);
        tree->free_node = 0;
        tree->node_limit = TREE_ROOT + 1;
        index_clear(tree);
    }
}

static void settle(struct topic_tree *tree)
{
    uint32_t fresh = tree->fresh;

    tree->fresh = 0;
    if (fresh != 0) {
        prune(tree, fresh);
    }
}

/* ---- public ---- */

struct topic_tree *topic_tree_new(void)
{
    struct topic_tree *tree = g_new0(struct topic_tree, 1);

    if (getrandom(&tree->key, sizeof tree->key, 0) != (ssize_t)sizeof tree->key) {
        g_error("topic tree: no random bytes");
    }
    tree->head_hash = hash_bytes(bytes_from_string("first child"), &tree->key);
    level_init(&tree->plus, (const uint8_t *)"+", 1, &tree->key);
    level_init(&tree->hash, (const uint8_t *)"#", 1, &tree->key);
    index_init(tree);
    tree->node_limit = TREE_ROOT;
    uint32_t root = node_new(tree);
    assert(root == TREE_ROOT);
    return tree;
}

void topic_tree_free(struct topic_tree *tree)
{
    if (!tree) {
        return;
    }
    for (uint32_t id = TREE_ROOT; tree->long_bytes > 0 && id < tree->node_limit; id++) {
        node_clear_text(tree, tree_node(tree, id));
    }
    chunks_trim(tree, 0);
    g_free(tree->chunks);
    index_deinit(tree);
    g_free(tree);
}

uint32_t topic_tree_add(struct topic_tree *tree, struct bytes path)
{
    uint32_t id = TREE_ROOT;

    settle(tree);
    if (path.length == 0) {
        return 0;
    }
    const uint8_t *at = path.at, *end = path.at + path.length;
    while (at) {
        struct level level;
        level_next(&level, &at, end, &tree->key);
        uint32_t child =
            tree_node(tree, id)->flags & NODE_HAS_CHILDREN ? index_find(tree, id, &level) : 0;
        if (child == 0) {
            child = child_add(tree, id, &level);
        }
        if (child == 0) {
            prune(tree, id);
            return 0;
        }
        id = child;
    }
    tree->fresh = tree_node(tree, id)->value ? 0 : id;
    return id;
}

uint32_t topic_tree_find(const struct topic_tree *tree, struct bytes path)
{
    uint32_t id = TREE_ROOT;

    if (path.length == 0) {
        return 0;
    }
    const uint8_t *at = path.at, *end = path.at + path.length;
    while (at) {
        struct level level;
        level_next(&level, &at, end, &tree->key);
        id = tree_node(tree, id)->flags & NODE_HAS_CHILDREN ? index_find(tree, id, &level) : 0;
        if (id == 0) {
            return 0;
        }
    }
    return id;
}

char *topic_tree_path(const struct topic_tree *tree, uint32_t node)
{
    size_t length = 0; /* of all levels, each with a '/' before it; the first has none, so there is
                          room for the NUL */

    assert(node > TREE_ROOT && node < tree->node_limit);
    for (uint32_t id = node; id != TREE_ROOT; id = tree_node(tree, id)->parent) {
        length += node_text(tree_node(tree, id)).length + 1;
    }
    char *path = g_malloc(length + 1);
    char *end = path + length - 1;
    *end = '\0';
    for (uint32_t id = node; id != TREE_ROOT; id = tree_node(tree, id)->parent) {
        struct bytes text = node_text(tree_node(tree, id));
        end -= text.length;
        if (text.length > 0) {
            memcpy(end, text.at, text.length);
        }
        if (end > path) {
            *--end = '/';
        }
    }
    return path;
}

void *topic_tree_value(const struct topic_tree *tree, uint32_t node)
{
    return tree_node(tree, node)->value;
}

void topic_tree_set_value(struct topic_tree *tree, uint32_t node, void *value)
{
    assert(node > TREE_ROOT && node < tree->node_limit);
    if (tree->fresh == node) {
        tree->fresh = 0;
    }
    settle(tree);
    struct node *at = tree_node(tree, node);
    assert(at->parent != 0); /* else it was removed */
    tree->value_count += (value != NULL) - (at->value != NULL);
    tree->generation++;
    at->value = value;
    if (!value) {
        prune(tree, node);
    }
}

uint32_t topic_tree_count(const struct topic_tree *tree)
{
    return tree->value_count;
}

size_t topic_tree_bytes(const struct topic_tree *tree)
{
    return sizeof *tree + tree->chunk_capacity * sizeof *tree->chunks +
           (size_t)tree->node_limit * sizeof(struct node) + index_bytes(tree) + tree->long_bytes;
}

uint64_t topic_tree_generation(const struct topic_tree *tree)
{
    return tree->generation;
}

/* Which names of a tree a filter matches (MQTT 5, 4.7): for retained messages.
 *
 * A walk without a stack: siblings are linked and nodes know their parents, so from any node the
 * next one is found. On a level with '+' the next is the sibling; with '#' it is the next node of
 * the whole branch in depth-first order. The filter's levels are cut once. */
#include "topic/tree_private.h"

#define SCAN_LEVELS_INLINE 24

struct scan {
    const struct topic_tree *tree;
    bool (*fn)(void *owner, void *value);
    void *owner;
    struct level *levels;
    uint32_t count;
    bool has_hash; /* the filter ends with '#', which is not counted as level */
};

/* False when the caller wants no more. */
static bool found(const struct scan *scan, uint32_t id)
{
    void *value = tree_node(scan->tree, id)->value;
    return !value || scan->fn(scan->owner, value);
}

/* The first child that the wildcards of a filter may see: on the first level `$...` is out of sight
 * (4.7.2-1). */
static uint32_t visible(const struct topic_tree *tree, uint32_t id)
{
    while (id != 0) {
        const struct node *node = tree_node(tree, id);
        struct bytes text = node_text(node);
        if (node->parent != TREE_ROOT || text.length == 0 || text.at[0] != '$') {
            return id;
        }
        id = tree_node(tree, node->next)->flags & NODE_IS_HEAD ? 0 : node->next;
    }
    return 0;
}

static uint32_t first_child(const struct topic_tree *tree, uint32_t id)
{
    return tree_node(tree, id)->flags & NODE_HAS_CHILDREN ? visible(tree, index_head(tree, id)) : 0;
}

static uint32_t next_sibling(const struct topic_tree *tree, uint32_t id)
{
    uint32_t next = tree_node(tree, id)->next;
    return tree_node(tree, next)->flags & NODE_IS_HEAD ? 0 : visible(tree, next);
}

/* Every node below `top`, depth first. */
static bool scan_below(const struct scan *scan, uint32_t top)
{
    uint32_t id = top;

    for (;;) {
        uint32_t next = first_child(scan->tree, id);
        while (next == 0 && id != top) {
            next = next_sibling(scan->tree, id);
            if (next == 0) {
                id = tree_node(scan->tree, id)->parent;
            }
        }
        if (next == 0) {
            return true;
        }
        id = next;
        __builtin_prefetch(tree_node(scan->tree, tree_node(scan->tree, id)->next));
        if (!found(scan, id)) {
            return false;
        }
    }
}

static uint32_t descend(const struct scan *scan, uint32_t id, uint32_t depth)
{
    if (level_is(&scan->levels[depth], '+')) {
        return first_child(scan->tree, id);
    }
    return tree_node(scan->tree, id)->flags & NODE_HAS_CHILDREN
               ? index_find(scan->tree, id, &scan->levels[depth])
               : 0;
}

/* The next node at or above `id`, which is `*depth` levels deep; 0 at the end. */
static uint32_t advance(const struct scan *scan, uint32_t id, uint32_t *depth)
{
    while (*depth > 0) {
        if (level_is(&scan->levels[*depth - 1], '+')) {
            uint32_t next = next_sibling(scan->tree, id);
            if (next != 0) {
                return next;
            }
        }
        id = tree_node(scan->tree, id)->parent;
        --*depth;
    }
    return 0;
}

static void scan_run(const struct scan *scan)
{
    uint32_t id = TREE_ROOT, depth = 0;

    while (id != 0) {
        uint32_t child = depth < scan->count ? descend(scan, id, depth) : 0;
        if (child != 0) {
            id = child;
            depth++;
            continue;
        }
        if (depth == scan->count) {
            if ((id != TREE_ROOT && !found(scan, id)) ||
                (scan->has_hash && !scan_below(scan, id))) {
                return;
            }
        }
        id = advance(scan, id, &depth);
    }
}

void topic_tree_scan(const struct topic_tree *tree, struct bytes filter,
                     bool (*fn)(void *owner, void *value), void *owner)
{
    struct level few[SCAN_LEVELS_INLINE];
    struct scan scan = {.tree = tree, .fn = fn, .owner = owner, .levels = few};
    uint32_t capacity = 1;

    if (tree->value_count == 0 || filter.length == 0) {
        return;
    }
    const uint8_t *at = filter.at, *end = filter.at + filter.length;
    for (const uint8_t *byte = at; byte < end; byte++) {
        capacity += *byte == '/';
    }
    if (capacity > SCAN_LEVELS_INLINE) {
        scan.levels = g_new(struct level, capacity);
    }
    do {
        level_next(&scan.levels[scan.count++], &at, end, &tree->key);
    } while (at);
    if (level_is(&scan.levels[scan.count - 1], '#')) {
        scan.has_hash = true;
        scan.count--;
    }
    scan_run(&scan);
    if (scan.levels != few) {
        g_free(scan.levels);
    }
}

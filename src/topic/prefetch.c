/* Brings near what matching some names will touch. In a tree larger than the processor's caches a
 * match is a chain of waits for memory: slot, node, next slot. Here the chains of several names are
 * walked side by side, so that their waits overlap; the match that follows finds all at hand. Only
 * the likeliest way is walked: the name's own level, else '+'; at the end '#'. Nothing depends on
 * it but time. */
#include "topic/tree_private.h"

/* Below that a tree lies in the caches anyway. */
#define LARGE_FROM_NODES 32768

struct walk {
    const uint8_t *at, *end; /* what of the name is not cut yet; `at` NULL after the last level */
    struct level level;      /* what is looked for among the children of `node` */
    uint32_t node;           /* 0 = has ended */
    bool is_last;            /* it asks for '#', behind the last level */
};

bool topic_tree_is_large(const struct topic_tree *tree)
{
    return tree->node_count >= LARGE_FROM_NODES;
}

static void begin(struct walk *walk, struct bytes name)
{
    walk->at = name.length > 0 ? name.at : NULL;
    walk->end = name.at + name.length;
    walk->node = name.length > 0 ? TREE_ROOT : 0;
    walk->is_last = false;
}

/* What to look for next; false when the walk is at its end. */
static bool next_level(const struct topic_tree *tree, struct walk *walk)
{
    const struct node *node = tree_node(tree, walk->node);

    if (walk->at && !walk->is_last && node->flags & NODE_HAS_CHILDREN) {
        level_next(&walk->level, &walk->at, walk->end, &tree->key);
        return true;
    }
    if (!walk->at && !walk->is_last && node->flags & NODE_HAS_HASH) {
        walk->level = tree->hash;
        walk->is_last = true;
        return true;
    }
    __builtin_prefetch(node->value);
    return false;
}

static void find(const struct topic_tree *tree, struct walk *walk)
{
    uint32_t child = index_find(tree, walk->node, &walk->level);

    if (child == 0 && !walk->is_last && tree_node(tree, walk->node)->flags & NODE_HAS_PLUS) {
        child = index_find(tree, walk->node, &tree->plus);
    }
    walk->node = child;
}

void topic_tree_prefetch(const struct topic_tree *tree, const struct bytes *names, unsigned count)
{
    struct walk walks[TOPIC_PREFETCH_MAX];
    bool is_going = count > 0;

    count = MIN(count, TOPIC_PREFETCH_MAX);
    for (unsigned i = 0; i < count; i++) {
        begin(&walks[i], names[i]);
    }
    while (is_going) {
        is_going = false;
        for (unsigned i = 0; i < count; i++) {
            if (walks[i].node != 0 && !next_level(tree, &walks[i])) {
                walks[i].node = 0;
            } else if (walks[i].node != 0) {
                index_prefetch(tree, walks[i].node, &walks[i].level);
            }
        }
        for (unsigned i = 0; i < count; i++) {
            if (walks[i].node != 0) {
                index_prefetch_node(tree, walks[i].node, &walks[i].level);
            }
        }
        for (unsigned i = 0; i < count; i++) {
            if (walks[i].node != 0) {
                find(tree, &walks[i]);
                is_going |= walks[i].node != 0;
            }
        }
    }
}

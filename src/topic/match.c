/* Which filters of a tree match a name (MQTT 5, 4.7).
 *
 * Depth first: at each node the value of its '#' child, then the child of the name's own level,
 * then the '+' child. The '+' child is put by and taken when the first way has ended; at most one
 * is pending for each level, so the levels themselves are the stack. Flags say whether there are
 * wildcard children at all, so they cost nothing where there are none. Levels are cut and hashed
 * when they are reached for the first time. */
#include "topic/tree_private.h"

#define MATCH_LEVELS_INLINE 24

struct step {
    struct level level;
    uint32_t pending; /* '+' child of this level, still to be visited */
};

struct match {
    const struct topic_tree *tree;
    const uint8_t *at, *end; /* what of the name is not cut yet; `at` NULL after the last level */
    struct step *steps;
    uint32_t count, capacity;
    void (*fn)(void *owner, void *value);
    void *owner;
    bool is_system; /* `$...`: not for wildcards on the first level (4.7.2-1) */
    struct step few[MATCH_LEVELS_INLINE];
};

/* False when the name has no such level. */
static bool reach_level(struct match *match, uint32_t index)
{
    if (index < match->count) {
        return true;
    }
    if (!match->at) {
        return false;
    }
    if (match->count == match->capacity) {
        match->capacity *= 2;
        struct step *steps = g_new(struct step, match->capacity);
        memcpy(steps, match->steps, match->count * sizeof *steps);
        if (match->steps != match->few) {
            g_free(match->steps);
        }
        match->steps = steps;
    }
    struct step *step = &match->steps[match->count++];
    level_next(&step->level, &match->at, match->end, &match->tree->key);
    step->pending = 0;
    return true;
}

static void found(const struct match *match, uint32_t id)
{
    void *value = tree_node(match->tree, id)->value;

    if (value) {
        match->fn(match->owner, value);
    }
}

/* What of the children of `id`, whose path is the first `depth` levels, comes next; 0 when nothing.
 */
static uint32_t descend(struct match *match, uint32_t id, uint32_t depth)
{
    const struct topic_tree *tree = match->tree;
    unsigned flags = tree_node(tree, id)->flags;
    bool takes_wildcards = depth > 0 || !match->is_system;

    if (flags & NODE_HAS_HASH && takes_wildcards) {
        found(match, index_find(tree, id, &tree->hash));
    }
    if (!reach_level(match, depth)) {
        found(match, id);
        return 0;
    }
    if (!(flags & NODE_HAS_CHILDREN)) {
        return 0;
    }
    struct step *step = &match->steps[depth];
    uint32_t plus = 0;
    if (flags & NODE_HAS_PLUS && takes_wildcards) {
        index_prefetch(tree, id, &step->level);
        plus = index_find(tree, id, &tree->plus);
    }
    uint32_t child = index_find(tree, id, &step->level);
    if (child == 0) {
        return plus;
    }
    step->pending = plus;
    if (plus != 0 &&
        reach_level(match, depth + 1)) { /* what will be asked of it when the first way has ended */
        index_prefetch(tree, plus, &match->steps[depth + 1].level);
    }
    return child;
}

void topic_tree_match(const struct topic_tree *tree, struct bytes name,
                      void (*fn)(void *owner, void *value), void *owner)
{
    struct match match;

    if (tree->value_count == 0 || name.length == 0) {
        return;
    }
    match.tree = tree;
    match.at = name.at;
    match.end = name.at + name.length;
    match.steps = match.few;
    match.count = 0;
    match.capacity = MATCH_LEVELS_INLINE;
    match.fn = fn;
    match.owner = owner;
    match.is_system = name.at[0] == '$';

    uint32_t id = TREE_ROOT, depth = 0;
    for (;;) {
        id = descend(&match, id, depth);
        depth++;
        while (id == 0 && depth > 0) { /* back to the deepest way that was put by */
            depth--;
            if (depth < match.count) {
                id = match.steps[depth].pending;
                match.steps[depth].pending = 0;
            }
            if (id != 0) {
                depth++;
                break;
            }
        }
        if (id == 0) {
            break;
        }
    }
    if (match.steps != match.few) {
        g_free(match.steps);
    }
}

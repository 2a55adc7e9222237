/* All values of a tree in order of their paths' bytes, for snapshots that must be the same on every
 * node.
 *
 * Byte order of paths is not the order of levels: "a-b" comes before "a/b" ('-' < '/'), but after
 * "a". So each child stands twice in the sorted list of its siblings: as its level, for its value,
 * and as its level with a '/' behind, for the branch below. The lists of the branch at hand are the
 * stack. Eight bytes of each key are kept beside it: few comparisons look further. */
#include "topic/tree_private.h"

struct entry {
    uint64_t prefix; /* first bytes of the key, as a big-endian number */
    uint32_t node;
    bool is_branch; /* key ends with '/' */
};

struct list_at {
    GArray *entries;
    guint next;
};

static uint8_t key_byte(const struct entry *entry, struct bytes text, size_t index)
{
    return index < text.length                        ? text.at[index]
           : entry->is_branch && index == text.length ? '/'
                                                      : 0;
}

static struct entry entry_of(const struct topic_tree *tree, uint32_t id, bool is_branch)
{
    struct entry entry = {.node = id, .is_branch = is_branch};
    struct bytes text = node_text(tree_node(tree, id));

    for (size_t i = 0; i < sizeof entry.prefix; i++) {
        entry.prefix = entry.prefix << 8 | key_byte(&entry, text, i);
    }
    return entry;
}

static int compare(const void *a, const void *b, void *owner)
{
    const struct topic_tree *tree = owner;
    const struct entry *left = a, *right = b;

    if (left->prefix != right->prefix) {
        return left->prefix < right->prefix ? -1 : 1;
    }
    struct bytes left_text = node_text(tree_node(tree, left->node));
    struct bytes right_text = node_text(tree_node(tree, right->node));
    size_t left_bytes = left_text.length + left->is_branch,
           right_bytes = right_text.length + right->is_branch;
    for (size_t i = sizeof left->prefix; i < MIN(left_bytes, right_bytes); i++) {
        int difference = key_byte(left, left_text, i) - key_byte(right, right_text, i);
        if (difference != 0) {
            return difference;
        }
    }
    return left_bytes < right_bytes ? -1 : left_bytes > right_bytes;
}

static void push_children(const struct topic_tree *tree, GArray *stack, uint32_t parent)
{
    struct list_at list = {.entries = g_array_new(FALSE, FALSE, sizeof(struct entry))};
    uint32_t head = index_head(tree, parent), id = head;

    do {
        const struct node *node = tree_node(tree, id);
        if (node->value) {
            struct entry entry = entry_of(tree, id, false);
            g_array_append_val(list.entries, entry);
        }
        if (node->flags & NODE_HAS_CHILDREN) {
            struct entry entry = entry_of(tree, id, true);
            g_array_append_val(list.entries, entry);
        }
        id = node->next;
    } while (id != head);
    g_array_sort_with_data(list.entries, compare, (void *)tree);
    g_array_append_val(stack, list);
}

void topic_tree_for_each(const struct topic_tree *tree, void (*fn)(void *owner, void *value),
                         void *owner)
{
    if (tree->value_count == 0) {
        return;
    }
    GArray *stack = g_array_new(FALSE, FALSE, sizeof(struct list_at));
    push_children(tree, stack, TREE_ROOT);
    while (stack->len > 0) {
        struct list_at *top = &g_array_index(stack, struct list_at, stack->len - 1);
        if (top->next == top->entries->len) {
            g_array_unref(top->entries);
            g_array_set_size(stack, stack->len - 1);
            continue;
        }
        const struct entry *entry = &g_array_index(top->entries, struct entry, top->next++);
        if (entry->is_branch) {
            push_children(tree, stack, entry->node);
        } else {
            fn(owner, tree_node(tree, entry->node)->value);
        }
    }
    g_array_unref(stack);
}

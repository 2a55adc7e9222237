/* Fuzzes names, filters and the tree: the input is lines, each a path. A line that begins with '-'
 * removes a path, one with '=' is matched and scanned for, any other is added; what the tree finds
 * is held against topic_filter_matches. */
#include "topic/name.h"
#include "topic/tree.h"
#include <assert.h>
#include <glib.h>

#define LEVELS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

struct entry {
    struct bytes path;
    bool is_set, is_found;
};

static void on_match(void *owner, void *value)
{
    struct entry *entry = value;
    (void)owner;
    assert(entry->is_set && !entry->is_found);
    entry->is_found = true;
}

static bool on_scan(void *owner, void *value)
{
    on_match(owner, value);
    return true;
}

static void on_each(void *owner, void *value)
{
    GBytes **last = owner;
    const struct entry *entry = value;
    GBytes *path = g_bytes_new_static(entry->path.at, entry->path.length);

    assert(!*last || g_bytes_compare(*last, path) < 0);
    g_clear_pointer(last, g_bytes_unref);
    *last = path;
}

static void check_name(const struct topic_tree *tree, GPtrArray *entries, struct bytes name)
{
    topic_tree_match(tree, name, on_match, NULL);
    for (guint i = 0; i < entries->len; i++) {
        struct entry *entry = entries->pdata[i];
        assert(entry->is_found == (entry->is_set && topic_filter_matches(entry->path, name)));
        entry->is_found = false;
    }
}

static void check_filter(const struct topic_tree *tree, GPtrArray *entries, struct bytes filter)
{
    topic_tree_scan(tree, filter, on_scan, NULL);
    for (guint i = 0; i < entries->len; i++) {
        struct entry *entry = entries->pdata[i];
        assert(entry->is_found == (entry->is_set && topic_filter_matches(filter, entry->path)));
        entry->is_found = false;
        assert(!topic_filter_covers(filter, entry->path) ||
               !topic_name_is_valid(entry->path, LEVELS_MAX) ||
               topic_filter_matches(filter, entry->path));
    }
}

static void add(struct topic_tree *tree, GPtrArray *entries, struct bytes path)
{
    struct bytes share, rest;

    if (!topic_filter_is_valid(path, LEVELS_MAX)) {
        return;
    }
    if (topic_filter_split_shared(path, &share, &rest)) {
        path = rest;
    }
    uint32_t node = topic_tree_add(tree, path);
    if (!topic_tree_value(tree, node)) {
        struct entry *entry = g_new0(struct entry, 1);
        *entry = (struct entry){.path = path, .is_set = true};
        g_ptr_array_add(entries, entry);
        topic_tree_set_value(tree, node, entry);
    }
    char *text = topic_tree_path(tree, node);
    assert(bytes_equal(bytes_from_string(text), path));
    g_free(text);
}

static void take_line(struct topic_tree *tree, GPtrArray *entries, struct bytes line)
{
    struct bytes path = {line.at + 1, line.length > 0 ? line.length - 1 : 0};

    if (line.length > 1 && line.at[0] == '-') {
        uint32_t node = topic_tree_find(tree, path);
        struct entry *entry = node ? topic_tree_value(tree, node) : NULL;
        if (entry) {
            entry->is_set = false;
            topic_tree_set_value(tree, node, NULL);
        }
    } else if (line.length > 1 && line.at[0] == '=') {
        if (topic_name_is_valid(path, LEVELS_MAX)) {
            check_name(tree, entries, path);
        }
        if (topic_filter_is_valid(path, LEVELS_MAX)) {
            check_filter(tree, entries, path);
        }
    } else {
        add(tree, entries, line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct topic_tree *tree = topic_tree_new();
    GPtrArray *entries = g_ptr_array_new_with_free_func(g_free);
    struct bytes rest = {input, size};
    GBytes *last = NULL;

    while (rest.length > 0) {
        const uint8_t *end = memchr(rest.at, '\n', rest.length);
        size_t length = end ? (size_t)(end - rest.at) : rest.length;
        take_line(tree, entries, (struct bytes){rest.at, length});
        length += end != NULL;
        rest = (struct bytes){rest.at + length, rest.length - length};
    }
    topic_tree_for_each(tree, on_each, &last);
    g_clear_pointer(&last, g_bytes_unref);
    topic_tree_free(tree);
    g_ptr_array_unref(entries);
    return 0;
}

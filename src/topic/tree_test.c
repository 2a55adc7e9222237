/* The topic tree: against a naive list of paths with topic_filter_matches, and its promises about
 * order and memory. */
#include "topic/tree.h"
#include "topic/name.h"
#include "topic/tree_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <cmocka.h>

#define PATHS 400

static struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

static void set(struct topic_tree *tree, const char *path, void *value)
{
    uint32_t node = topic_tree_add(tree, text(path));
    assert_int_not_equal(node, 0);
    topic_tree_set_value(tree, node, value);
}

static void put(struct topic_tree *tree, const char *path)
{
    set(tree, path, (void *)path);
}

static void drop(struct topic_tree *tree, const char *path)
{
    uint32_t node = topic_tree_find(tree, text(path));
    assert_int_not_equal(node, 0);
    topic_tree_set_value(tree, node, NULL);
}

/* Values are strings; they are joined in the order in which they come. */
static void join(void *owner, void *value)
{
    GString *joined = owner;
    g_string_append(joined, joined->len > 0 ? " " : "");
    g_string_append(joined, value);
}

static bool join_on(void *owner, void *value)
{
    join(owner, value);
    return true;
}

static void expect_match(const struct topic_tree *tree, const char *name, const char *expected)
{
    g_autoptr(GString) joined = g_string_new(NULL);
    topic_tree_match(tree, text(name), join, joined);
    assert_string_equal(joined->str, expected);
}

static void expect_scan(const struct topic_tree *tree, const char *filter, const char *expected)
{
    g_autoptr(GString) joined = g_string_new(NULL);
    topic_tree_scan(tree, text(filter), join_on, joined);
    assert_string_equal(joined->str, expected);
}

static void expect_sorted(const struct topic_tree *tree, const char *expected)
{
    g_autoptr(GString) joined = g_string_new(NULL);
    topic_tree_for_each(tree, join, joined);
    assert_string_equal(joined->str, expected);
}

/* ---- matching ---- */

static void a_new_tree_is_empty(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    expect_match(tree, "a/b", "");
    expect_scan(tree, "#", "");
    expect_sorted(tree, "");
    assert_int_equal(topic_tree_count(tree), 0);
    assert_int_equal(topic_tree_find(tree, text("a")), 0);
    assert_int_equal(topic_tree_add(tree, (struct bytes){NULL, 0}), 0);
    assert_int_equal(topic_tree_find(tree, (struct bytes){NULL, 0}), 0);
    topic_tree_free(tree);
    topic_tree_free(NULL);
}

/* [MQTT-4.7.3-4] */
static void a_filter_without_wildcards_matches_its_own_name_only(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "house/kitchen/light");
    expect_match(tree, "house/kitchen/light", "house/kitchen/light");
    expect_match(tree, "house/kitchen/Light", "");
    expect_match(tree, "house/kitchen", "");
    expect_match(tree, "house/kitchen/light/", "");
    expect_match(tree, "house/kitchen/light/on", "");
    expect_match(tree, "/house/kitchen/light", "");
    topic_tree_free(tree);
}

/* [MQTT-4.7.1-1] */
static void a_multi_level_wildcard_matches_the_parent_and_all_below(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "sport/tennis/player1/#");
    put(tree, "#");
    expect_match(tree, "sport/tennis/player1", "# sport/tennis/player1/#");
    expect_match(tree, "sport/tennis/player1/ranking", "# sport/tennis/player1/#");
    expect_match(tree, "sport/tennis/player1/score/wimbledon", "# sport/tennis/player1/#");
    expect_match(tree, "sport/tennis/player2", "#");
    topic_tree_free(tree);
}

/* [MQTT-4.7.1-2] */
static void a_single_level_wildcard_matches_exactly_one_level(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "sport/+");
    put(tree, "+");
    put(tree, "+/+");
    put(tree, "/+");
    put(tree, "+/tennis/#");
    expect_match(tree, "sport", "+");
    expect_match(tree, "sport/", "sport/+ +/+");
    expect_match(tree, "/finance", "/+ +/+");
    expect_match(tree, "sport/tennis", "sport/+ +/tennis/# +/+");
    expect_match(tree, "sport/tennis/player1", "+/tennis/#");
    topic_tree_free(tree);
}

/* [MQTT-4.7.2-1] */
static void wildcards_never_match_system_topics(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "#");
    put(tree, "+/monitor/Clients");
    put(tree, "$SYS/#");
    put(tree, "$SYS/monitor/+");
    expect_match(tree, "$SYS/monitor/Clients", "$SYS/# $SYS/monitor/+");
    expect_match(tree, "$SYS", "$SYS/#");
    expect_match(tree, "x/monitor/Clients", "# +/monitor/Clients");
    expect_match(tree, "x/$SYS", "#");
    topic_tree_free(tree);
}

static void every_way_through_both_kinds_of_levels_is_found(void **state)
{
    static const char *const filters[] = {"a/b/c", "a/b/+", "a/+/c", "a/+/+",
                                          "+/b/c", "+/b/+", "+/+/c", "+/+/+"};
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    for (size_t i = 0; i < G_N_ELEMENTS(filters); i++) {
        put(tree, filters[i]);
    }
    expect_match(tree, "a/b/c", "a/b/c a/b/+ a/+/c a/+/+ +/b/c +/b/+ +/+/c +/+/+");
    expect_match(tree, "x/b/y", "+/b/+ +/+/+");
    topic_tree_free(tree);
}

static void empty_levels_are_levels(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "/");
    put(tree, "a//b");
    put(tree, "a/");
    expect_match(tree, "/", "/");
    expect_match(tree, "a//b", "a//b");
    expect_match(tree, "a/b", "");
    expect_match(tree, "a/", "a/");
    expect_scan(tree, "a/#", "a/ a//b");
    expect_scan(tree, "+/", "/ a/");
    expect_sorted(tree, "/ a/ a//b");
    topic_tree_free(tree);
}

static void levels_of_any_length_are_kept_apart(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "elevenbytes");
    put(tree, "twelve-bytes");
    put(tree, "twelve-byteS");
    put(tree, "a-level-that-is-much-longer-than-a-node/x");
    put(tree, "a-level-that-is-much-longer-than-a-node");
    expect_match(tree, "elevenbytes", "elevenbytes");
    expect_match(tree, "twelve-bytes", "twelve-bytes");
    expect_match(tree, "twelve-byteS", "twelve-byteS");
    expect_match(tree, "a-level-that-is-much-longer-than-a-node/x",
                 "a-level-that-is-much-longer-than-a-node/x");
    size_t before = topic_tree_bytes(tree);
    drop(tree, "a-level-that-is-much-longer-than-a-node/x");
    assert_int_equal(topic_tree_bytes(tree), before);
    drop(tree, "a-level-that-is-much-longer-than-a-node");
    assert_true(topic_tree_bytes(tree) < before);
    topic_tree_free(tree);
}

static void a_name_of_the_greatest_length_is_walked_without_recursion(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    g_autofree char *deep = g_strnfill(TOPIC_BYTES_MAX, '/');
    g_autofree char *filter = g_strnfill(TOPIC_BYTES_MAX, '/');
    (void)state;

    for (int i = 0; i < TOPIC_BYTES_MAX; i += 2) {
        filter[i] = '+';
    }
    put(tree, deep);
    put(tree, filter);
    put(tree, "#");
    g_autoptr(GString) joined = g_string_new(NULL);
    topic_tree_match(tree, text(deep), join, joined);
    assert_int_equal(joined->len, 1 + 1 + TOPIC_BYTES_MAX);
    g_string_truncate(joined, 0);
    topic_tree_scan(tree, text("/#"), join_on, joined);
    assert_int_equal(joined->len, TOPIC_BYTES_MAX);
    g_string_truncate(joined, 0);
    topic_tree_for_each(tree, join, joined);
    assert_int_equal(joined->len, 1 + 1 + 2 * TOPIC_BYTES_MAX + 1);
    uint32_t node = topic_tree_find(tree, text(deep));
    g_autofree char *path = topic_tree_path(tree, node);
    assert_string_equal(path, deep);
    drop(tree, deep);
    drop(tree, filter);
    drop(tree, "#");
    topic_tree_free(tree);
}

/* ---- scanning ---- */

static void a_scan_finds_the_names_that_a_filter_matches(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "a");
    put(tree, "a/b");
    put(tree, "c/b");
    put(tree, "a/b/c");
    put(tree, "$SYS/b");
    put(tree, "a/d");
    expect_scan(tree, "a", "a");
    expect_scan(tree, "a/+", "a/b a/d");
    expect_scan(tree, "a/#", "a a/b a/b/c a/d");
    expect_scan(tree, "+/b", "a/b c/b");
    expect_scan(tree, "+/b/#", "a/b a/b/c c/b");
    expect_scan(tree, "#", "a a/b a/b/c a/d c/b");
    expect_scan(tree, "$SYS/#", "$SYS/b");
    expect_scan(tree, "$SYS/+", "$SYS/b");
    expect_scan(tree, "x/#", "");
    expect_scan(tree, "a/b/c/d", "");
    expect_scan(tree, "+/+/+/+", "");
    topic_tree_free(tree);
}

static bool count_two(void *owner, void *value)
{
    (void)value;
    return ++*(int *)owner < 2;
}

static void a_scan_ends_when_the_caller_says_so(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    int count = 0;
    (void)state;

    put(tree, "a/1");
    put(tree, "a/2");
    put(tree, "a/3");
    topic_tree_scan(tree, text("#"), count_two, &count);
    assert_int_equal(count, 2);
    count = 0;
    topic_tree_scan(tree, text("a/+"), count_two, &count);
    assert_int_equal(count, 2);
    topic_tree_free(tree);
}

/* ---- order ---- */

static void siblings_come_in_the_order_of_their_adding(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "z");
    put(tree, "m");
    put(tree, "a");
    expect_scan(tree, "+", "z m a");
    drop(tree, "z"); /* the first */
    put(tree, "z");
    expect_scan(tree, "+", "m a z");
    drop(tree, "a"); /* one between */
    put(tree, "b");
    drop(tree, "b"); /* the last */
    expect_scan(tree, "+", "m z");
    topic_tree_free(tree);
}

static void for_each_goes_by_the_bytes_of_whole_paths(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "a/b");
    put(tree, "a-b");
    put(tree, "a");
    put(tree, "a.b/c");
    put(tree, "a0");
    put(tree, "long-common-prefix/2");
    put(tree, "long-common-prefix-1");
    put(tree, "long-common-prefix");
    put(tree, "long-common-prefiy");
    expect_sorted(tree,
                  "a a-b a.b/c a/b a0 long-common-prefix long-common-prefix-1 long-common-prefix/2 "
                  "long-common-prefiy");
    topic_tree_free(tree);
}

/* ---- life of nodes ---- */

static void deep_filters_and_empty_ones_are_scanned_for(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    g_autofree char *deep = g_strnfill(60, '/');
    (void)state;

    put(tree, "a");
    put(tree, deep);
    expect_scan(tree, "", "");
    expect_match(tree, "", "");
    expect_scan(tree, deep, deep); /* more levels than stand on the stack */
    topic_tree_free(tree);
}

static void a_node_that_gets_no_value_is_gone_with_the_next_change(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "a");
    topic_tree_add(tree, text("a/b/c"));
    assert_int_equal(topic_tree_count(tree), 1);
    put(tree, "x");
    assert_int_equal(topic_tree_find(tree, text("a/b/c")), 0);
    assert_int_equal(topic_tree_find(tree, text("a/b")), 0);
    topic_tree_add(tree, text("y/z"));
    drop(tree, "x");
    assert_int_equal(topic_tree_find(tree, text("y")), 0);
    expect_sorted(tree, "a");
    topic_tree_free(tree);
}

static void a_node_keeps_its_id_while_it_has_a_value(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    char *path;
    (void)state;

    uint32_t node = topic_tree_add(tree, text("a/b"));
    topic_tree_set_value(tree, node, "1");
    for (int i = 0; i < 5000; i++) {
        g_autofree char *other = g_strdup_printf("a/%d", i);
        set(tree, other, "x");
    }
    assert_int_equal(topic_tree_find(tree, text("a/b")), node);
    assert_int_equal(topic_tree_add(tree, text("a/b")), node);
    assert_string_equal(topic_tree_value(tree, node), "1");
    topic_tree_set_value(tree, node, "2");
    assert_string_equal(topic_tree_value(tree, node), "2");
    assert_int_equal(topic_tree_count(tree), 5001);
    path = topic_tree_path(tree, node);
    assert_string_equal(path, "a/b");
    g_free(path);
    topic_tree_free(tree);
}

static void ancestors_go_as_far_as_nothing_needs_them(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "a/b/c/d");
    put(tree, "a/b");
    drop(tree, "a/b/c/d");
    assert_int_equal(topic_tree_find(tree, text("a/b/c")), 0);
    assert_int_not_equal(topic_tree_find(tree, text("a")), 0);
    put(tree, "a/b/x");
    drop(tree, "a/b");
    expect_match(tree, "a/b", "");
    expect_match(tree, "a/b/x", "a/b/x");
    drop(tree, "a/b/x");
    assert_int_equal(topic_tree_find(tree, text("a")), 0);
    topic_tree_free(tree);
}

static void the_generation_changes_with_every_value(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    uint64_t generation = topic_tree_generation(tree);
    (void)state;

    put(tree, "a");
    assert_int_not_equal(topic_tree_generation(tree), generation);
    generation = topic_tree_generation(tree);
    drop(tree, "a");
    assert_int_not_equal(topic_tree_generation(tree), generation);
    topic_tree_free(tree);
}

static void an_emptied_tree_gives_its_memory_back(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    size_t most;
    (void)state;

    put(tree, "first");
    size_t small = topic_tree_bytes(tree);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            g_autofree char *path = g_strdup_printf("a/%d/a-long-level-of-text", i);
            set(tree, path, "x");
        }
        most = topic_tree_bytes(tree);
        for (int i = 0; i < 20000; i++) {
            g_autofree char *path = g_strdup_printf("a/%d/a-long-level-of-text", i);
            drop(tree, path);
        }
        expect_scan(tree, "#", round == 0 ? "first" : "");
        if (round == 0) {
            drop(tree, "first");
        }
    }
    assert_true(topic_tree_bytes(tree) <= small * 2);
    assert_true(most > 20 * small);
    topic_tree_free(tree);
}

static void a_full_tree_takes_no_more_paths(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    (void)state;

    put(tree, "a");
    uint32_t limit = tree->node_limit;
    tree->node_limit = TOPIC_TREE_NODES_MAX - 1; /* as if there were that many */
    g_autofree struct node *chunk = g_new0(struct node, TREE_CHUNK_NODES);
    struct node **chunks = tree->chunks;
    tree->chunks = g_new0(struct node *, TOPIC_TREE_NODES_MAX / TREE_CHUNK_NODES + 1);
    tree->chunks[0] = chunks[0];
    tree->chunks[TOPIC_TREE_NODES_MAX / TREE_CHUNK_NODES] = chunk;
    assert_int_equal(topic_tree_add(tree, text("b/c")), 0);
    assert_int_equal(topic_tree_find(tree, text("b")), 0);
    expect_sorted(tree, "a");
    put(tree, "d"); /* in the node that was given back */
    expect_sorted(tree, "a d");
    drop(tree, "d");
    g_free(tree->chunks);
    tree->chunks = chunks;
    tree->node_limit = limit;
    tree->free_node = 0;
    topic_tree_free(tree);
}

/* ---- against the model ---- */

struct model {
    char *paths[PATHS];
    bool is_set[PATHS];
};

/* Few letters and few levels, so that everything meets everything. */
static char *random_path(GRand *random, bool is_filter)
{
    static const char *const levels[] = {"a", "b", "", "a-quite-long-level", "$x", "+"};
    GString *path = g_string_new(NULL);
    int count = g_rand_int_range(random, 1, 5);

    for (int i = 0; i < count; i++) {
        g_string_append(path, i > 0 ? "/" : "");
        if (is_filter && i == count - 1 && g_rand_int_range(random, 0, 4) == 0) {
            g_string_append_c(path, '#');
        } else {
            g_string_append(path, levels[g_rand_int_range(random, 0, is_filter ? 6 : 5)]);
        }
    }
    if (path->len == 0) {
        g_string_append_c(path, 'c');
    }
    return g_string_free(path, FALSE);
}

static void model_toggle(struct model *model, struct topic_tree *tree, int i)
{
    if (model->is_set[i]) {
        drop(tree, model->paths[i]);
    } else {
        put(tree, model->paths[i]);
    }
    model->is_set[i] = !model->is_set[i];
}

static void count_value(void *owner, void *value)
{
    GHashTable *found = owner;
    assert_true(g_hash_table_add(found, value)); /* each once */
}

static bool count_value_on(void *owner, void *value)
{
    count_value(owner, value);
    return true;
}

static void model_init(struct model *model, GRand *random, bool is_filter)
{
    g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);

    for (int i = 0; i < PATHS; i++) {
        char *path = random_path(random, is_filter);
        while (g_hash_table_contains(known, path)) {
            char *longer = g_strconcat(g_rand_boolean(random) ? "a/" : "b/", path, NULL);
            g_free(path);
            path = longer;
        }
        g_hash_table_add(known, path);
        model->paths[i] = path;
        model->is_set[i] = false;
    }
}

static void model_deinit(struct model *model)
{
    for (int i = 0; i < PATHS; i++) {
        g_free(model->paths[i]);
    }
}

static void model_check(const struct model *model, const struct topic_tree *tree, const char *other,
                        bool is_filter)
{
    g_autoptr(GHashTable) found = g_hash_table_new(NULL, NULL);

    if (is_filter) {
        topic_tree_match(tree, text(other), count_value, found);
    } else {
        topic_tree_scan(tree, text(other), count_value_on, found);
    }
    for (int i = 0; i < PATHS; i++) {
        struct bytes path = text(model->paths[i]);
        bool matches = is_filter ? topic_filter_matches(path, text(other))
                                 : topic_filter_matches(text(other), path);
        bool is_found = g_hash_table_contains(found, model->paths[i]);
        if (is_found != (matches && model->is_set[i])) {
            fail_msg("'%s' and '%s'", other, model->paths[i]);
        }
    }
}

static void run_model(unsigned seed, bool is_filter)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);
    struct topic_tree *tree = topic_tree_new(), *twin = topic_tree_new();
    struct model model, twin_model;

    model_init(&model, random, is_filter);
    twin_model = model;
    for (int step = 0; step < 4000; step++) {
        int i = g_rand_int_range(random, 0, PATHS);
        model_toggle(&model, tree, i);
        model_toggle(&twin_model, twin, i);
        g_autofree char *other = random_path(random, !is_filter);
        model_check(&model, tree, other, is_filter);
        if (step % 100 == 0) { /* another seed of the hash, the same order */
            g_autoptr(GString) a = g_string_new(NULL), b = g_string_new(NULL);
            topic_tree_scan(tree, text("#"), join_on, a);
            topic_tree_scan(twin, text("#"), join_on, b);
            topic_tree_match(tree, text("a/b/a"), join, a);
            topic_tree_match(twin, text("a/b/a"), join, b);
            assert_string_equal(a->str, b->str);
        }
    }
    topic_tree_free(tree);
    topic_tree_free(twin);
    model_deinit(&model);
}

static void matching_agrees_with_the_model(void **state)
{
    (void)state;
    run_model(1, true);
    run_model(2, true);
}

static void scanning_agrees_with_the_model(void **state)
{
    (void)state;
    run_model(3, false);
    run_model(4, false);
}

static void count_match(void *owner, void *value)
{
    ++*(unsigned *)owner;
}

/* Nothing but time may depend on it: not on names that are there, not on any others. */
static void looking_ahead_in_a_large_tree_changes_nothing(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    const char *const names[] = {
        "home7/device9", "home7/x/device10", "home7/device11/a/b", "", "/", "home7",
        "other",         "home7//",          "beyond the eighth"};
    struct bytes ahead[G_N_ELEMENTS(names)];

    assert_false(topic_tree_is_large(tree));
    for (unsigned i = 0; i < 40000; i++) {
        const char *room = i / 400 % 3 == 1 ? "/+" : "", *rest = i / 400 % 3 == 2 ? "/#" : "";
        g_autofree char *filter =
            g_strdup_printf("home%u%s/device%u%s", i % 400, room, i / 400, rest);
        topic_tree_set_value(tree, topic_tree_add(tree, bytes_from_string(filter)), tree);
    }
    assert_true(topic_tree_is_large(tree));
    size_t bytes = topic_tree_bytes(tree);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        ahead[i] = bytes_from_string(names[i]);
    }
    topic_tree_prefetch(tree, ahead, 0);
    topic_tree_prefetch(tree, ahead, G_N_ELEMENTS(names));
    unsigned matches = 0;
    for (unsigned i = 0; i < 3; i++) {
        topic_tree_match(tree, ahead[i], count_match, &matches);
    }
    assert_int_equal(matches, 3);
    assert_int_equal(topic_tree_bytes(tree), bytes);
    topic_tree_free(tree);
}

static void note_order(void *owner, void *value)
{
    char **last = owner;
    assert_true(!*last || strcmp(*last, value) < 0);
    *last = value;
}

static void for_each_is_sorted_whatever_is_in_the_tree(void **state)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(5);
    struct topic_tree *tree = topic_tree_new();
    struct model model;
    char *last = NULL;
    (void)state;

    model_init(&model, random, true);
    for (int i = 0; i < PATHS; i++) {
        model_toggle(&model, tree, i);
    }
    topic_tree_for_each(tree, note_order, &last);
    assert_int_equal(topic_tree_count(tree), PATHS);
    topic_tree_free(tree);
    model_deinit(&model);
}

static void nothing_is_lost_while_the_table_grows_and_shrinks(void **state)
{
    struct topic_tree *tree = topic_tree_new();
    enum { COUNT = 30000 };
    (void)state;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < COUNT; i++) {
            g_autofree char *path = g_strdup_printf("s/%d/%d", i % 177, i);
            set(tree, path, GINT_TO_POINTER(i + 1));
            g_autofree char *earlier = g_strdup_printf("s/%d/%d", i / 2 % 177, i / 2);
            uint32_t node = topic_tree_find(tree, text(earlier));
            assert_int_equal(GPOINTER_TO_INT(topic_tree_value(tree, node)), i / 2 + 1);
        }
        for (int i = 0; i < COUNT; i++) {
            g_autofree char *path = g_strdup_printf("s/%d/%d", i % 177, i);
            drop(tree, path);
            g_autofree char *later = g_strdup_printf("s/%d/%d", (COUNT - 1) % 177, COUNT - 1);
            assert_int_equal(topic_tree_find(tree, text(later)) != 0, i < COUNT - 1);
        }
        assert_int_equal(topic_tree_count(tree), 0);
    }
    topic_tree_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_tree_is_empty),
        cmocka_unit_test(a_filter_without_wildcards_matches_its_own_name_only),
        cmocka_unit_test(a_multi_level_wildcard_matches_the_parent_and_all_below),
        cmocka_unit_test(a_single_level_wildcard_matches_exactly_one_level),
        cmocka_unit_test(wildcards_never_match_system_topics),
        cmocka_unit_test(every_way_through_both_kinds_of_levels_is_found),
        cmocka_unit_test(empty_levels_are_levels),
        cmocka_unit_test(levels_of_any_length_are_kept_apart),
        cmocka_unit_test(a_name_of_the_greatest_length_is_walked_without_recursion),
        cmocka_unit_test(a_scan_finds_the_names_that_a_filter_matches),
        cmocka_unit_test(a_scan_ends_when_the_caller_says_so),
        cmocka_unit_test(siblings_come_in_the_order_of_their_adding),
        cmocka_unit_test(for_each_goes_by_the_bytes_of_whole_paths),
        cmocka_unit_test(deep_filters_and_empty_ones_are_scanned_for),
        cmocka_unit_test(a_node_that_gets_no_value_is_gone_with_the_next_change),
        cmocka_unit_test(a_node_keeps_its_id_while_it_has_a_value),
        cmocka_unit_test(ancestors_go_as_far_as_nothing_needs_them),
        cmocka_unit_test(the_generation_changes_with_every_value),
        cmocka_unit_test(an_emptied_tree_gives_its_memory_back),
        cmocka_unit_test(a_full_tree_takes_no_more_paths),
        cmocka_unit_test(matching_agrees_with_the_model),
        cmocka_unit_test(scanning_agrees_with_the_model),
        cmocka_unit_test(looking_ahead_in_a_large_tree_changes_nothing),
        cmocka_unit_test(for_each_is_sorted_whatever_is_in_the_tree),
        cmocka_unit_test(nothing_is_lost_while_the_table_grows_and_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

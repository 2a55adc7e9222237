/* See interest.h. A tree of filters, and a direct-mapped cache of topics in front of it. */
#include "mqtt/remote/interest.h"
#include "base/hash.h"
#include "topic/name.h"
#include "topic/tree.h"

/* Of one filter. */
struct interest_entry {
    uint64_t mask;     /* peers with plain subscribers */
    GPtrArray *shares; /* of interest_share, owned; NULL = none */
    uint32_t node;     /* in the tree */
};

void interest_init(struct interest *interest)
{
    *interest = (struct interest){.filters = topic_tree_new(), .generation = 1};
}

static void entry_free(struct interest_entry *entry)
{
    g_clear_pointer(&entry->shares, g_ptr_array_unref);
    g_free(entry);
}

static void on_free(void *owner, void *value)
{
    entry_free(value);
}

void interest_deinit(struct interest *interest)
{
    topic_tree_for_each(interest->filters, on_free, NULL);
    topic_tree_free(interest->filters);
    for (unsigned i = 0; interest->cache && i < INTEREST_CACHE_SLOTS; i++) {
        g_clear_pointer(&interest->cache[i].shares, g_ptr_array_unref);
        g_free((uint8_t *)interest->cache[i].topic.at);
    }
    g_free(interest->cache);
}

/* ---- changes ---- */

static struct interest_share *find_share(const struct interest_entry *entry, struct bytes filter)
{
    for (guint i = 0; entry->shares && i < entry->shares->len; i++) {
        struct interest_share *share = entry->shares->pdata[i];
        if (bytes_equal(bytes_from_string(share->filter), filter)) {
            return share;
        }
    }
    return NULL;
}

static struct interest_share *add_share(struct interest_entry *entry, struct bytes filter)
{
    struct interest_share *share = g_malloc0(sizeof *share + filter.length + 1);

    memcpy(share->filter, filter.at, filter.length);
    entry->shares = entry->shares ? entry->shares : g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(entry->shares, share);
    return share;
}

static void set_share(struct interest *interest, struct interest_entry *entry, unsigned slot,
                      struct bytes filter, uint32_t count)
{
    struct interest_share *share = find_share(entry, filter);

    if (!share && count == 0) {
        return;
    }
    if (!share) {
        share = add_share(entry, filter);
        interest->share_count++;
    }
    share->counts[slot] = count;
    share->mask = count > 0 ? share->mask | INTEREST_BIT(slot) : share->mask & ~INTEREST_BIT(slot);
    if (share->mask == 0) {
        g_ptr_array_remove(entry->shares, share);
        interest->share_count--;
    }
}

static bool is_empty(const struct interest_entry *entry)
{
    return entry->mask == 0 && (!entry->shares || entry->shares->len == 0);
}

static void drop(struct interest *interest, struct interest_entry *entry)
{
    topic_tree_set_value(interest->filters, entry->node, NULL);
    entry_free(entry);
}

void interest_set(struct interest *interest, unsigned slot, struct bytes filter, uint32_t count)
{
    struct bytes name, bare = filter;
    bool is_shared = topic_filter_split_shared(filter, &name, &bare);
    uint32_t node = count > 0 ? topic_tree_add(interest->filters, bare)
                              : topic_tree_find(interest->filters, bare);

    if (node == 0) {
        return;
    }
    struct interest_entry *entry = topic_tree_value(interest->filters, node);
    if (!entry) {
        if (count == 0) {
            return;
        }
        entry = g_new0(struct interest_entry, 1);
        entry->node = node;
        topic_tree_set_value(interest->filters, node, entry);
    }
    if (is_shared) {
        set_share(interest, entry, slot, filter, count);
    } else if (count > 0) {
        entry->mask |= INTEREST_BIT(slot);
    } else {
        entry->mask &= ~INTEREST_BIT(slot);
    }
    interest->mask |= count > 0 ? INTEREST_BIT(slot) : 0;
    interest->generation++;
    if (is_empty(entry)) {
        drop(interest, entry);
    }
}

struct collecting {
    struct interest *interest;
    uint64_t bit;
    GPtrArray *empty; /* those that nobody wants any more */
};

static void collect(void *owner, void *value)
{
    struct collecting *collecting = owner;
    struct interest_entry *entry = value;
    unsigned slot = (unsigned)__builtin_ctzll(collecting->bit);

    entry->mask &= ~collecting->bit;
    for (guint i = entry->shares ? entry->shares->len : 0; i-- > 0;) {
        struct interest_share *share = entry->shares->pdata[i];
        share->counts[slot] = 0;
        share->mask &= ~collecting->bit;
        if (share->mask == 0) {
            g_ptr_array_remove_index(entry->shares, i);
            collecting->interest->share_count--;
        }
    }
    if (is_empty(entry)) {
        g_ptr_array_add(collecting->empty, entry);
    }
}

void interest_clear(struct interest *interest, unsigned slot)
{
    struct collecting collecting = {interest, INTEREST_BIT(slot), NULL};

    if (!(interest->mask & collecting.bit)) {
        return;
    }
    collecting.empty = g_ptr_array_new();
    topic_tree_for_each(interest->filters, collect, &collecting);
    interest->mask &= ~collecting.bit;
    interest->generation++;
    for (guint i = 0; i < collecting.empty->len; i++) {
        drop(interest, collecting.empty->pdata[i]);
    }
    g_ptr_array_unref(collecting.empty);
}

/* ---- finding ---- */

static void on_match(void *owner, void *value)
{
    struct interest_route *route = owner;
    const struct interest_entry *entry = value;

    route->mask |= entry->mask;
    for (guint i = 0; entry->shares && i < entry->shares->len; i++) {
        route->shares = route->shares ? route->shares : g_ptr_array_new();
        g_ptr_array_add(route->shares, entry->shares->pdata[i]);
    }
}

static void resolve(struct interest *interest, struct interest_route *route, struct bytes topic)
{
    if (!bytes_equal(route->topic, topic)) {
        uint8_t *copy = g_memdup2(topic.at, topic.length);
        g_free((uint8_t *)route->topic.at);
        route->topic = (struct bytes){copy, topic.length};
    }
    route->mask = 0;
    if (route->shares) {
        g_ptr_array_set_size(route->shares, 0);
    }
    route->generation = interest->generation;
    topic_tree_match(interest->filters, route->topic, on_match, route);
}

const struct interest_route *interest_find(struct interest *interest, struct bytes topic)
{
    uint32_t hash = hash_for_cache(topic);

    if (!interest->cache) {
        interest->cache = g_new0(struct interest_route, INTEREST_CACHE_SLOTS);
    }
    struct interest_route *route = &interest->cache[hash % INTEREST_CACHE_SLOTS];
    if (route->generation != interest->generation || !bytes_equal(route->topic, topic)) {
        resolve(interest, route, topic);
    }
    return route;
}

/* See route_cache.h. A hit costs one hash and one comparison of the topic; a miss validates the
 * name and walks both trees. */
#include "session/route_cache.h"
#include "base/hash.h"
#include "session/store_private.h"
#include "topic/name.h"
#include <glib.h>

void route_cache_init(struct route_cache *cache, struct session_store *live,
                      struct session_store *persistent)
{
    *cache = (struct route_cache){.live = live, .persistent = persistent};
}

void route_cache_drop(struct route_cache *cache)
{
    if (!cache->slots) {
        return;
    }
    for (unsigned i = 0; i < ROUTE_CACHE_SLOTS; i++) {
        if (cache->slots[i].is_used) {
            route_deinit(&cache->slots[i].live);
            route_deinit(&cache->slots[i].persistent);
        }
    }
    g_clear_pointer(&cache->slots, g_free);
}

void route_cache_deinit(struct route_cache *cache)
{
    route_cache_drop(cache);
}

struct routes *route_cache_find(struct route_cache *cache, struct bytes topic, unsigned levels_max)
{
    if (!cache->slots) {
        cache->slots = g_new0(struct routes, ROUTE_CACHE_SLOTS);
    }
    uint32_t hash = hash_for_cache(topic);
    struct routes *routes = &cache->slots[hash % ROUTE_CACHE_SLOTS];

    if (!routes->is_used) {
        route_init(&routes->live);
        route_init(&routes->persistent);
        routes->is_used = true;
        routes->hash = ~hash;
    }
    bool is_known = routes->hash == hash && bytes_equal(routes->live.topic, topic);
    if (!is_known && !topic_name_is_valid(topic, levels_max)) {
        return NULL;
    }
    if (!is_known || !route_is_current(&routes->live, cache->live)) {
        route_resolve(&routes->live, cache->live, topic);
    }
    if (!is_known || !route_is_current(&routes->persistent, cache->persistent)) {
        route_resolve(&routes->persistent, cache->persistent, topic);
    }
    routes->hash = hash;
    return routes;
}

bool route_cache_is_large(const struct route_cache *cache)
{
    return topic_tree_is_large(cache->live->filters) ||
           topic_tree_is_large(cache->persistent->filters);
}

void route_cache_prefetch(const struct route_cache *cache, const struct bytes *topics,
                          unsigned count)
{
    const struct topic_tree *trees[] = {cache->live->filters, cache->persistent->filters};

    for (unsigned i = 0; i < G_N_ELEMENTS(trees); i++) {
        if (topic_tree_is_large(trees[i])) {
            topic_tree_prefetch(trees[i], topics, count);
        }
    }
}

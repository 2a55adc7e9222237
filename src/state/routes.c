/* Direct mapped by a hash of the topic: a collision only costs finding the route anew. */
#include "state/routes.h"

void state_routes_init(struct state_routes *cache)
{
    for (uint32_t i = 0; i < STATE_ROUTES_PLACES; i++) {
        route_init(&cache->places[i]);
    }
    route_init(&cache->scratch);
}

void state_routes_deinit(struct state_routes *cache)
{
    for (uint32_t i = 0; i < STATE_ROUTES_PLACES; i++) {
        route_deinit(&cache->places[i]);
    }
    route_deinit(&cache->scratch);
}

void state_routes_clear(struct state_routes *cache)
{
    state_routes_deinit(cache);
    state_routes_init(cache);
}

/* FNV-1a, eight bytes at a step. */
static uint32_t hash_topic(struct bytes topic)
{
    uint64_t hash = 0xcbf29ce484222325u;
    size_t at = 0;
    for (; at + 8 <= topic.length; at += 8) {
        uint64_t word;
        memcpy(&word, topic.at + at, sizeof word);
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 29;
    }
    for (; at < topic.length; at++) {
        hash = (hash ^ topic.at[at]) * 0x100000001b3u;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

const struct route *state_routes_get(struct state_routes *cache, const struct session_store *store,
                                     struct bytes topic)
{
    struct route *place = &cache->places[hash_topic(topic) % STATE_ROUTES_PLACES];
    if (bytes_equal(place->topic, topic) && topic.length > 0 && route_is_current(place, store)) {
        return place;
    }
    route_resolve(&cache->scratch, store, topic);
    if (cache->scratch.target_count > STATE_ROUTES_TARGETS_MAX) {
        return &cache->scratch;
    }
    struct route resolved = cache->scratch;
    cache->scratch = *place;
    *place = resolved;
    return place;
}

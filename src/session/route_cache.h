/* Where a topic goes, remembered: one direct-mapped table from topic name to its routes in both
 * stores. An entry is true as long as no filter has changed in its store, so a house that publishes
 * the same topics all day resolves each once. */
#pragma once

#include "session/route.h"

#define ROUTE_CACHE_SLOTS 1024

struct routes {
    struct route live;
    struct route persistent;
    uint32_t hash;
    bool is_used;
};

struct route_cache {
    struct routes *slots; /* allocated with the first topic */
    struct session_store *live, *persistent;
};

void route_cache_init(struct route_cache *cache, struct session_store *live,
                      struct session_store *persistent);
void route_cache_deinit(struct route_cache *cache);
/* Valid until the next call or change of a filter. NULL when the topic is no valid topic name of at
 * most `levels_max` levels. */
struct routes *route_cache_find(struct route_cache *cache, struct bytes topic, unsigned levels_max);
/* Are there so many filters that looking ahead is worth its time? */
bool route_cache_is_large(const struct route_cache *cache);
/* Brings near what finding the first TOPIC_PREFETCH_MAX of these topics will touch. */
void route_cache_prefetch(const struct route_cache *cache, const struct bytes *topics,
                          unsigned count);
/* Forgets everything (a session was freed: routes borrow sessions). */
void route_cache_drop(struct route_cache *cache);

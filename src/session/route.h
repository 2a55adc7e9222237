/* Where a topic name goes in one store: each session once with the highest QoS of its matching
 * subscriptions (MQTT 5, 3.3.4), and each share group once. A route stays true until the store's
 * filters change: the broker caches it. */
#pragma once

#include "session/store.h"

struct route_target {
    struct session *session;
    uint32_t *subscription_ids; /* [0] is the count; NULL for none; owned by the route */
    uint8_t qos;
    bool retain_as_published; /* of any matching subscription */
    bool has_no_local; /* one of the matching subscriptions has no-local: when publisher and session
                          are one, see route_target_for_self */
};

struct route {
    struct route_target *targets;
    uint32_t target_count, target_capacity;
    struct share **shares; /* borrowed from the store */
    uint32_t share_count, share_capacity;
    uint64_t generation; /* of the store's filters when it was made */
    struct bytes topic;  /* own copy */
};

void route_init(struct route *route);
void route_deinit(struct route *route);
/* Finds anew. Targets come in an order that follows from the history of the filters, the same for
 * the same history; nothing that is kept may depend on it, since a store that was restored has
 * another history. */
void route_resolve(struct route *route, const struct session_store *store, struct bytes topic);
bool route_is_current(const struct route *route, const struct session_store *store);
/* What is left of a target when the publisher is its own session: false = nothing (all matching
 * subscriptions are no-local). The caller frees out->subscription_ids (g_free). */
bool route_target_for_self(const struct session_store *store, struct bytes topic,
                           const struct session *self, struct route_target *out);

/* A share group (4.8.2). */
struct bytes share_name(const struct share *share);
struct bytes share_filter(const struct share *share);
uint32_t share_member_count(const struct share *share);
/* The next member in turn for which `is_eligible` (NULL = all) is true; NULL when none. The turn is
 * not part of the state. */
struct subscription *
share_pick(struct share *share,
           bool (*is_eligible)(void *owner, const struct subscription *subscription), void *owner);
/* In the store by its names; NULL when none. */
struct share *session_store_find_share(const struct session_store *store, struct bytes name,
                                       struct bytes filter);

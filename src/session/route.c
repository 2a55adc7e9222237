/* See route.h. The tree hands over each matching filter; a session that comes up again is found by
 * the place that it remembers, so that merging overlapping subscriptions costs the same for ten
 * targets and for ten thousand. */
#include "session/route.h"
#include "session/store_private.h"

void route_init(struct route *route)
{
    *route = (struct route){0};
}

static void clear(struct route *route)
{
    for (uint32_t i = 0; i < route->target_count; i++) {
        g_free(route->targets[i].subscription_ids);
    }
    route->target_count = 0;
    route->share_count = 0;
}

void route_deinit(struct route *route)
{
    clear(route);
    g_free(route->targets);
    g_free(route->shares);
    g_free((uint8_t *)route->topic.at);
    route_init(route);
}

static struct route_target *add_target(struct route *route, struct session *session)
{
    if (route->target_count == route->target_capacity) {
        route->target_capacity = route->target_capacity > 0 ? route->target_capacity * 2 : 1;
        route->targets = g_renew(struct route_target, route->targets, route->target_capacity);
    }
    session->route_at = route->target_count;
    struct route_target *target = &route->targets[route->target_count++];
    *target = (struct route_target){.session = session};
    return target;
}

/* One more matching subscription of the target's session (3.3.4: the highest QoS, and the
 * identifiers of all). */
static void merge(struct route_target *target, const struct subscription_options *options)
{
    target->qos = MAX(target->qos, options->qos);
    target->retain_as_published |= options->retain_as_published;
    target->has_no_local |= options->no_local;
    if (options->subscription_id != 0) {
        uint32_t count = target->subscription_ids ? target->subscription_ids[0] : 0;
        target->subscription_ids = g_renew(uint32_t, target->subscription_ids, count + 2);
        target->subscription_ids[0] = count + 1;
        target->subscription_ids[count + 1] = options->subscription_id;
    }
}

static void add_subscription(struct route *route, const struct subscription *subscription)
{
    struct session *session = subscription->session;
    uint32_t at =
        session->route_at; /* may be of another route: then it does not lead back to the session */
    bool is_known = at < route->target_count && route->targets[at].session == session;

    merge(is_known ? &route->targets[at] : add_target(route, session), &subscription->options);
}

static void add_share(struct route *route, struct share *share)
{
    if (route->share_count == route->share_capacity) {
        route->share_capacity = route->share_capacity > 0 ? route->share_capacity * 2 : 1;
        route->shares = g_renew(struct share *, route->shares, route->share_capacity);
    }
    route->shares[route->share_count++] = share;
}

static void on_match(void *owner, void *value)
{
    struct route *route = owner;
    const struct subscription *single = filter_value_single(value);

    if (single) {
        add_subscription(route, single);
        return;
    }
    const struct filter_entry *entry = value;
    for (uint32_t i = 0; i < entry->members.count; i++) {
        add_subscription(route, entry->members.items[i]);
    }
    list_for_each(link, &entry->shares) {
        add_share(route, list_entry(link, struct share, link));
    }
}

void route_resolve(struct route *route, const struct session_store *store, struct bytes topic)
{
    clear(route);
    if (!bytes_equal(route->topic, topic)) {
        uint8_t *copy = g_memdup2(topic.at, topic.length);
        g_free((uint8_t *)route->topic.at);
        route->topic = (struct bytes){copy, topic.length};
    }
    route->generation = store->generation;
    topic_tree_match(store->filters, route->topic, on_match, route);
}

bool route_is_current(const struct route *route, const struct session_store *store)
{
    return route->generation == store->generation;
}

struct self_match {
    const struct session *self;
    struct route_target target;
    bool is_matched;
};

static void on_match_self(void *owner, void *value)
{
    struct self_match *match = owner;
    const struct subscription *found = filter_value_single(value);

    if (!found) {
        found = members_find(&((struct filter_entry *)value)->members, match->self);
    }
    if (found && found->session == match->self && !found->options.no_local) {
        merge(&match->target, &found->options);
        match->is_matched = true;
    }
}

bool route_target_for_self(const struct session_store *store, struct bytes topic,
                           const struct session *self, struct route_target *out)
{
    struct self_match match = {.self = self, .target = {.session = (struct session *)self}};

    topic_tree_match(store->filters, topic, on_match_self, &match);
    if (match.is_matched) {
        *out = match.target;
    }
    return match.is_matched;
}

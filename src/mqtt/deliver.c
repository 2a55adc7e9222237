/* Routes to deliveries; see deliver.h. Share groups may have members in both stores: a member is
 * drawn among all of them, connected ones first, in proportion to how many each store has. */
#include "mqtt/deliver.h"
#include "base/clock.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/flow.h"
#include "mqtt/remote/interest.h"
#include "mqtt/remote/record.h"
#include "mqtt/remote/remote.h"
#include "mqtt/sender.h"
#include "session/route.h"
#include "session/route_cache.h"
#include "topic/name.h"

/* ---- share groups ---- */

static bool is_ready_here(void *owner, const struct subscription *subscription)
{
    const struct connection *connection = subscription->session->connection;

    return connection && !flow_was_congested(connection);
}

static bool is_here(void *owner, const struct subscription *subscription)
{
    return subscription->session->connection != NULL;
}

static bool is_elsewhere(const struct broker *broker, const struct subscription *subscription)
{
    return broker->remote && !subscription->session->connection &&
           remote_has_connection(broker->remote, subscription->session->connection_number);
}

static bool is_ready(void *owner, const struct subscription *subscription)
{
    return is_ready_here(NULL, subscription) || is_elsewhere(owner, subscription);
}

static bool is_connected(void *owner, const struct subscription *subscription)
{
    return is_here(NULL, subscription) || is_elsewhere(owner, subscription);
}

typedef bool eligible_fn(void *owner, const struct subscription *subscription);

/* The best first. */
static eligible_fn *const connected[] = {is_ready, is_connected};
static eligible_fn *const connected_here[] = {is_ready_here, is_here};
static eligible_fn *const any[] = {NULL};

static struct share *find_same(const struct route *route, const struct share *share)
{
    for (uint32_t i = 0; i < route->share_count; i++) {
        if (bytes_equal(share_name(route->shares[i]), share_name(share)) &&
            bytes_equal(share_filter(route->shares[i]), share_filter(share))) {
            return route->shares[i];
        }
    }
    return NULL;
}

static uint32_t count_of(const struct share *share)
{
    return share ? share_member_count(share) : 0;
}

/* `first` and `second` are one group in the two stores; either may be NULL. */
static struct subscription *choose(struct broker *broker, struct share *first, struct share *second,
                                   eligible_fn *const *preferences, unsigned preference_count)
{
    uint32_t first_count = count_of(first);
    uint32_t all = first_count + count_of(second);
    if (all > 0 && second && broker_random(broker) % all >= first_count) {
        struct share *swap = first;
        first = second;
        second = swap;
    }
    for (unsigned i = 0; i < preference_count; i++) {
        struct subscription *member = first ? share_pick(first, preferences[i], broker) : NULL;
        if (!member && second) {
            member = share_pick(second, preferences[i], broker);
        }
        if (member) {
            return member;
        }
    }
    return NULL;
}

static void add_choice(struct share_choices *choices, struct subscription *member)
{
    if (member) {
        choices->members[choices->count++] = member;
    }
}

/* An offline member is taken only for what is queued (QoS > 0). */
static struct subscription *choose_here(struct broker *broker, struct share *live,
                                        struct share *persistent, uint8_t qos)
{
    struct subscription *member =
        choose(broker, live, persistent, connected, G_N_ELEMENTS(connected));

    return !member && qos > 0 ? choose(broker, live, persistent, any, 1) : member;
}

static char *filter_of(const struct share *share)
{
    struct bytes name = share_name(share), filter = share_filter(share);

    return g_strdup_printf("$share/%.*s/%.*s", (int)name.length, (const char *)name.at,
                           (int)filter.length, (const char *)filter.at);
}

/* Among the members here, in the state, and on other nodes. */
static void choose_anywhere(struct broker *broker, struct bytes topic, struct share *live,
                            struct share *persistent, uint8_t qos, struct share_choices *choices)
{
    g_autofree char *text = filter_of(live ? live : persistent);
    struct bytes filter = bytes_from_string(text);
    uint32_t here = count_of(live) + count_of(persistent);
    uint32_t there = remote_share_weight(broker->remote, topic, filter);

    if (there > 0 && broker_random(broker) % (here + there) >= here) {
        remote_share_choose(broker->remote, topic, filter, choices);
        return;
    }
    struct subscription *member =
        choose(broker, live, persistent, connected, G_N_ELEMENTS(connected));
    if (!member && remote_share_choose(broker->remote, topic, filter, choices)) {
        return;
    }
    member = member || qos == 0 ? member : choose(broker, live, persistent, any, 1);
    if (member && !member->session->connection && MIN(qos, member->options.qos) == 0) {
        remote_share_choose_node(broker->remote, member->session->connection_number, filter,
                                 choices);
    } else {
        add_choice(choices, member);
    }
}

static void choose_for_group(struct broker *broker, const struct routes *routes, struct share *live,
                             struct share *persistent, uint8_t qos, struct share_choices *choices)
{
    if (broker->remote) {
        choose_anywhere(broker, routes->live.topic, live, persistent, qos, choices);
    } else {
        add_choice(choices, choose_here(broker, live, persistent, qos));
    }
}

static bool is_in_route(const struct route *route, struct bytes text)
{
    struct bytes name, filter;

    for (uint32_t i = 0; topic_filter_split_shared(text, &name, &filter) && i < route->share_count;
         i++) {
        if (bytes_equal(share_name(route->shares[i]), name) &&
            bytes_equal(share_filter(route->shares[i]), filter)) {
            return true;
        }
    }
    return false;
}

/* Groups that have members on other nodes only. */
static void choose_elsewhere(struct broker *broker, const struct routes *routes,
                             struct share_choices *choices)
{
    const struct interest_route *route = remote_route(broker->remote, routes->live.topic);

    for (guint i = 0; route->shares && i < route->shares->len; i++) {
        const struct interest_share *share = route->shares->pdata[i];
        struct bytes filter = bytes_from_string(share->filter);
        if (!is_in_route(&routes->live, filter) && !is_in_route(&routes->persistent, filter)) {
            remote_share_choose(broker->remote, routes->live.topic, filter, choices);
        }
    }
}

bool deliver_has_shares(struct broker *broker, const struct routes *routes)
{
    if (routes->live.share_count + routes->persistent.share_count > 0) {
        return true;
    }
    if (!broker->remote || !remote_has_shares(broker->remote)) {
        return false;
    }
    const struct interest_route *route = remote_route(broker->remote, routes->live.topic);
    return route->shares && route->shares->len > 0;
}

void deliver_choose_shares(struct broker *broker, const struct routes *routes, uint8_t qos,
                           struct share_choices *choices)
{
    choices->members =
        g_new(struct subscription *, routes->live.share_count + routes->persistent.share_count);
    for (uint32_t i = 0; i < routes->live.share_count; i++) {
        struct share *share = routes->live.shares[i];
        choose_for_group(broker, routes, share, find_same(&routes->persistent, share), qos,
                         choices);
    }
    for (uint32_t i = 0; i < routes->persistent.share_count; i++) {
        struct share *share = routes->persistent.shares[i];
        if (!find_same(&routes->live, share)) {
            choose_for_group(broker, routes, NULL, share, qos, choices);
        }
    }
    if (broker->remote) {
        choose_elsewhere(broker, routes, choices);
    }
}

/* A persistent member gets here what has QoS 0 only: the rest goes through the log. */
static struct subscription *choose_named(struct broker *broker, struct bytes text, uint8_t qos)
{
    struct bytes name, filter;

    if (!topic_filter_split_shared(text, &name, &filter)) {
        return NULL;
    }
    struct share *live = session_store_find_share(broker->live, name, filter);
    struct share *persistent =
        qos == 0 ? session_store_find_share(broker->persistent, name, filter) : NULL;
    return choose(broker, live, persistent, connected_here, G_N_ELEMENTS(connected_here));
}

void deliver_choose_named(struct broker *broker, struct bytes shares, uint8_t qos,
                          struct share_choices *choices)
{
    struct bytes filter;
    size_t at = 0;
    uint32_t count = 0;

    while (remote_share_next(shares, &at, &filter)) {
        count++;
    }
    choices->members = g_new(struct subscription *, count);
    for (at = 0; remote_share_next(shares, &at, &filter);) {
        add_choice(choices, choose_named(broker, filter, qos));
    }
}

bool deliver_needs_log(struct broker *broker, const struct publication *publication,
                       const struct routes *routes, const struct share_choices *choices)
{
    if (publication->qos == 0) {
        return false;
    }
    for (uint32_t i = 0; i < routes->persistent.target_count; i++) {
        if (routes->persistent.targets[i].qos > 0) {
            return true;
        }
    }
    for (uint32_t i = 0; i < choices->count; i++) {
        const struct subscription *member = choices->members[i];
        if (member->session->store == broker->persistent && member->options.qos > 0) {
            return true;
        }
    }
    return false;
}

static void add_target(struct state_share_target *target, struct bytes client_id,
                       const char *filter, uint64_t node_id)
{
    *target = (struct state_share_target){
        .client_id = {g_memdup2(client_id.at, client_id.length), client_id.length},
        .filter = {(uint8_t *)g_strdup(filter), strlen(filter)},
        .node_id = node_id,
    };
}

struct state_share_target *
deliver_share_targets(struct broker *broker, const struct share_choices *choices, uint32_t *count)
{
    struct state_share_target *targets =
        g_new0(struct state_share_target, choices->count + choices->remote_count);

    *count = 0;
    for (uint32_t i = 0; i < choices->count; i++) {
        const struct subscription *member = choices->members[i];
        bool is_logged = member->session->store == broker->persistent && member->options.qos > 0;
        if (is_logged || broker->remote) {
            g_autofree char *filter = subscription_filter(member);
            add_target(&targets[(*count)++],
                       is_logged ? session_client_id(member->session) : (struct bytes){NULL, 0},
                       filter, is_logged ? 0 : broker->options.node_id);
        }
    }
    for (uint32_t i = 0; i < choices->remote_count; i++) {
        add_target(&targets[(*count)++], (struct bytes){NULL, 0}, choices->remote[i].filter,
                   remote_node_id(broker->remote, choices->remote[i].slot));
    }
    if (*count == 0) {
        g_clear_pointer(&targets, g_free);
    }
    return targets;
}

void deliver_free_targets(struct state_share_target *targets, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        g_free((void *)targets[i].client_id.at);
        g_free((void *)targets[i].filter.at);
    }
    g_free(targets);
}

/* ---- delivering ---- */

static void to_target(struct broker *broker, struct publication *publication,
                      const struct route_target *target)
{
    struct connection *to = target->session->connection;
    uint8_t qos = MIN(publication->qos, target->qos);
    bool is_live = target->session->store == broker->live;

    publication->matched++;
    if (!to) {
        return;
    }
    if (!is_live && qos > 0) { /* it comes by way of the log */
        publication->congested = flow_is_congested(to) ? to : publication->congested;
        return;
    }
    sender_deliver(to, publication, qos, publication->retain && target->retain_as_published,
                   target->subscription_ids);
}

static void to_member(struct broker *broker, struct publication *publication,
                      const struct subscription *member)
{
    uint32_t ids[2] = {1, member->options.subscription_id};
    struct route_target target = {
        .session = member->session,
        .qos = member->options.qos,
        .retain_as_published = member->options.retain_as_published,
        .subscription_ids = member->options.subscription_id != 0 ? ids : NULL,
    };
    to_target(broker, publication, &target);
}

/* The publisher's own session: without those of its subscriptions that are no-local. */
static void to_self(struct broker *broker, struct publication *publication,
                    const struct route *route, const struct route_target *target)
{
    struct route_target own;

    if (route_target_for_self(target->session->store, route->topic, target->session, &own)) {
        to_target(broker, publication, &own);
        g_free(own.subscription_ids);
    }
}

static void to_route(struct broker *broker, struct publication *publication,
                     const struct route *route)
{
    for (uint32_t i = 0; i < route->target_count; i++) {
        const struct route_target *target = &route->targets[i];
        if (target->has_no_local &&
            bytes_equal(session_client_id(target->session), publication->publisher)) {
            to_self(broker, publication, route, target);
        } else {
            to_target(broker, publication, target);
        }
    }
}

void deliver_now(struct broker *broker, struct publication *publication,
                 const struct routes *routes, const struct share_choices *choices)
{
    to_route(broker, publication, &routes->live);
    to_route(broker, publication, &routes->persistent);
    for (uint32_t i = 0; i < choices->count; i++) {
        to_member(broker, publication, choices->members[i]);
    }
}

static const struct state_share_target *
find_target(struct share *share, const struct state_share_target *targets, uint32_t target_count)
{
    struct bytes name = share_name(share);
    struct bytes filter = share_filter(share);

    for (uint32_t i = 0; i < target_count; i++) {
        struct bytes target = targets[i].filter; /* $share/NAME/FILTER */
        if (target.length == 7 + name.length + 1 + filter.length &&
            memcmp(target.at + 7, name.at, name.length) == 0 &&
            memcmp(target.at + 7 + name.length + 1, filter.at, filter.length) == 0) {
            return &targets[i];
        }
    }
    return NULL;
}

/* Does this node choose a live member of the group? Its own that the origin has named; one that
 * nobody has named (a will's, which is published by the state) is the first node's that has any. */
static bool is_mine(struct broker *broker, struct share *share, struct bytes topic,
                    const struct state_share_target *target)
{
    if (target) {
        return target->node_id != 0 && target->node_id == broker->options.node_id;
    }
    if (!broker->remote) {
        return true;
    }
    g_autofree char *filter = filter_of(share);
    return !remote_share_is_of_other(broker->remote, topic, bytes_from_string(filter));
}

void deliver_committed(struct broker *broker, struct publication *publication,
                       const struct state_share_target *targets, uint32_t target_count)
{
    struct routes *routes = route_cache_find(&broker->routes, publication->topic, TOPIC_BYTES_MAX);

    if (!routes) {
        return;
    }
    to_route(broker, publication, &routes->live);
    to_route(broker, publication, &routes->persistent);
    for (uint32_t i = 0; i < routes->live.share_count; i++) {
        struct share *share = routes->live.shares[i];
        if (is_mine(broker, share, publication->topic, find_target(share, targets, target_count))) {
            struct subscription *member = choose_here(broker, share, NULL, publication->qos);
            if (member) {
                to_member(broker, publication, member);
            }
        }
    }
}

/* Routes to deliveries; see deliver.h. Share groups may have members in both stores: a member is
 * drawn among all of them, connected ones first, in proportion to how many each store has. */
#include "mqtt/deliver.h"
#include "base/clock.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/flow.h"
#include "mqtt/sender.h"
#include "session/route.h"
#include "session/route_cache.h"
#include "topic/name.h"

/* ---- share groups ---- */

static bool is_ready(void *owner, const struct subscription *subscription)
{
    const struct connection *connection = subscription->session->connection;

    return connection && !flow_was_congested(connection);
}

static bool is_connected(void *owner, const struct subscription *subscription)
{
    return subscription->session->connection != NULL;
}

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

/* `first` and `second` are one group in the two stores; either may be NULL. An offline member is
 * taken only for what is queued (QoS > 0). */
static struct subscription *choose(struct broker *broker, struct share *first, struct share *second,
                                   uint8_t qos)
{
    uint32_t first_count = first ? share_member_count(first) : 0;
    uint32_t all = first_count + (second ? share_member_count(second) : 0);
    if (all > 0 && second && broker_random(broker) % all >= first_count) {
        struct share *swap = first;
        first = second;
        second = swap;
    }
    bool (*const preferences[])(void *, const struct subscription *) = {is_ready, is_connected,
                                                                        NULL};
    unsigned preference_count = qos > 0 ? 3 : 2;

    for (unsigned i = 0; i < preference_count; i++) {
        struct subscription *member = first ? share_pick(first, preferences[i], NULL) : NULL;
        if (!member && second) {
            member = share_pick(second, preferences[i], NULL);
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

void deliver_choose_shares(struct broker *broker, const struct routes *routes, uint8_t qos,
                           struct share_choices *choices)
{
    choices->members =
        g_new(struct subscription *, routes->live.share_count + routes->persistent.share_count);
    for (uint32_t i = 0; i < routes->live.share_count; i++) {
        struct share *share = routes->live.shares[i];
        add_choice(choices, choose(broker, share, find_same(&routes->persistent, share), qos));
    }
    for (uint32_t i = 0; i < routes->persistent.share_count; i++) {
        struct share *share = routes->persistent.shares[i];
        if (!find_same(&routes->live, share)) {
            add_choice(choices, choose(broker, share, NULL, qos));
        }
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

struct state_share_target *
deliver_share_targets(struct broker *broker, const struct share_choices *choices, uint32_t *count)
{
    struct state_share_target *targets = NULL;

    *count = 0;
    for (uint32_t i = 0; i < choices->count; i++) {
        const struct subscription *member = choices->members[i];
        if (member->session->store != broker->persistent || member->options.qos == 0) {
            continue;
        }
        targets = targets ? targets : g_new0(struct state_share_target, choices->count);
        struct bytes id = session_client_id(member->session);
        char *filter = subscription_filter(member);
        targets[(*count)++] = (struct state_share_target){{g_memdup2(id.at, id.length), id.length},
                                                          {(uint8_t *)filter, strlen(filter)}};
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

static bool is_served(struct share *share, const struct state_share_target *targets,
                      uint32_t target_count)
{
    struct bytes name = share_name(share);
    struct bytes filter = share_filter(share);

    for (uint32_t i = 0; i < target_count; i++) {
        struct bytes target = targets[i].filter; /* $share/NAME/FILTER */
        if (target.length == 7 + name.length + 1 + filter.length &&
            memcmp(target.at + 7, name.at, name.length) == 0 &&
            memcmp(target.at + 7 + name.length + 1, filter.at, filter.length) == 0) {
            return true;
        }
    }
    return false;
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
        if (!is_served(routes->live.shares[i], targets, target_count)) {
            struct subscription *member =
                choose(broker, routes->live.shares[i], NULL, publication->qos);
            if (member) {
                to_member(broker, publication, member);
            }
        }
    }
}

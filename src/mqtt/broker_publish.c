/* Publishing in the name of nobody, for the API; see broker.h. */
#include "base/clock.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/deliver.h"
#include "mqtt/publish.h"
#include "state/propose.h"

struct waiting {
    struct broker *broker;
    void (*fn)(void *owner, uint8_t reason);
    void *owner;
    uint8_t reason;
    struct deferred deferred;
};

static void finish(void *owner)
{
    struct waiting *waiting = owner;

    waiting->fn(waiting->owner, waiting->reason);
    deferred_deinit(&waiting->deferred);
    g_free(waiting);
}

static void on_committed(void *owner, uint64_t token, const struct state_result *result)
{
    struct waiting *waiting = owner;

    waiting->reason = result->error != 0 ? REASON_QUOTA_EXCEEDED : result->reason;
    if (waiting->reason == REASON_SUCCESS && result->matched + waiting->broker->last_commit_matched == 0) {
        waiting->reason = REASON_NO_MATCHING_SUBSCRIBERS;
    }
    deferred_schedule(waiting->broker->loop, &waiting->deferred);
}

static int propose(struct broker *broker, const struct publication *publication, const struct share_choices *choices,
                   struct waiting *waiting)
{
    uint32_t target_count;
    struct state_share_target *targets = deliver_share_targets(broker, choices, &target_count);
    struct state_publish publish = {
        .topic = publication->topic,
        .payload = publication->payload,
        .qos = publication->qos,
        .retain = publication->retain,
        .expires_unix_ms = publication->expires_unix_ms,
        .targets = targets,
        .target_count = target_count,
    };
    struct state_completion completion = {on_committed, waiting, 0};
    int r = state_propose_publish(broker->state, &publish, &completion);

    deliver_free_targets(targets, target_count);
    return r;
}

int broker_publish(struct broker *broker, const struct broker_publication *publication, void (*fn)(void *owner, uint8_t reason),
                   void *owner)
{
    struct routes *routes = route_cache_find(&broker->routes, publication->topic, broker->settings->topic_levels_max);
    struct share_choices choices = {.count = 0};
    struct publication view = {
        .topic = publication->topic,
        .payload = publication->payload,
        .qos = publication->qos,
        .retain = publication->retain,
        .expires_unix_ms = publication->expiry_s != 0 ? clock_unix_ms() + publication->expiry_s * 1000ull : 0,
    };

    if (!routes || publication->topic.at[0] == '$' || publication->qos > 2) {
        return -EINVAL;
    }
    struct waiting *waiting = g_new0(struct waiting, 1);
    *waiting = (struct waiting){.broker = broker, .fn = fn, .owner = owner};
    deferred_init(&waiting->deferred, finish, waiting);
    deliver_choose_shares(broker, routes, publication->qos, &choices);
    if (publication->retain || deliver_needs_log(broker, &view, routes, &choices)) {
        int r = propose(broker, &view, &choices, waiting);
        if (r < 0) {
            g_free(waiting);
        }
        return r;
    }
    publish_deliver(broker, &view);
    waiting->reason = view.matched > 0 ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS;
    publication_deinit(&view);
    deferred_schedule(broker->loop, &waiting->deferred);
    return 0;
}

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
    if (waiting->reason == REASON_NO_MATCHING_SUBSCRIBERS && waiting->broker->last_commit_matched > 0) {
        waiting->reason = REASON_SUCCESS;
    }
    deferred_schedule(waiting->broker->loop, &waiting->deferred);
}

static int propose(struct broker *broker, const struct publication *publication, struct waiting *waiting)
{
    struct state_publish publish = {
        .topic = publication->topic,
        .payload = publication->payload,
        .qos = publication->qos,
        .retain = publication->retain,
        .expires_unix_ms = publication->expires_unix_ms,
    };
    struct state_completion completion = {on_committed, waiting, 0};

    return state_propose_publish(broker->state, &publish, &completion);
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
    /* The log chooses the members of share groups that are in the state itself when none is named. */
    if (publication->retain || deliver_needs_log(broker, &view, routes, &choices) ||
        routes->persistent.share_count > 0) {
        int r = propose(broker, &view, waiting);
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

/* What the API sees of sessions, connected or not, what it does to them, and publishing in the name
 * of nobody; see broker.h. */
#include "base/cleanup.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/address.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/deliver.h"
#include "mqtt/publish.h"
#include "mqtt/remote/remote.h"
#include "net/stream.h"
#include "session/wills.h"
#include "state/propose.h"

static const char *transport_of(const struct connection *connection)
{
    static const char *const names[] = {[STREAM_TCP] = "tcp",
                                        [STREAM_TLS] = "tls",
                                        [STREAM_UNIX] = "unix",
                                        [STREAM_WEBSOCKET] = "websocket"};
    struct stream_peer peer;

    stream_peer(connection->stream, &peer);
    return names[peer.kind];
}

static void view_connection(const struct connection *connection, struct broker_client *client)
{
    client->connection_number = connection->number;
    client->username = connection->identity.username;
    client->role = role_to_string(connection->identity.role);
    client->address = connection->address->text;
    client->transport = connection->stream ? transport_of(connection) : NULL;
    client->version = connection->version;
    client->keep_alive_s = connection->keep_alive_s;
    client->receive_maximum = connection->receive_maximum;
    client->expiry_s = connection->expiry_s;
    client->in_flight = connection->in_flight;
    client->connected_unix_ms = connection->connected_unix_ms;
    client->received = connection->received;
    client->sent = connection->sent;
    client->pending_output_bytes =
        connection->stream ? stream_pending_bytes(connection->stream) : 0;
}

static void view(struct broker *broker, struct session *session, struct broker_client *client)
{
    *client = (struct broker_client){
        .client_id = session->client_id,
        .username = session->username,
        .is_persistent = session->store == broker->persistent,
        .has_will = wills_find(state_wills(broker->state), session_client_id(session)) != NULL,
        .connection_number = session->connection_number,
        .version = session->version,
        .receive_maximum = session->receive_maximum,
        .expiry_s = session->expiry_s,
        .subscriptions = session->subscription_count,
        .queued = session->deliveries.waiting,
        .queued_bytes = session->deliveries.bytes,
        .disconnected_expires_unix_ms = session->expires_unix_ms,
        .dropped = session->dropped_messages,
    };
    if (session->connection) {
        view_connection(session->connection, client);
    }
}

struct viewing {
    struct broker *broker;
    void (*fn)(void *owner, const struct broker_client *client);
    void *owner;
};

static void show(void *owner, struct session *session)
{
    struct viewing *viewing = owner;
    struct broker_client client;

    view(viewing->broker, session, &client);
    viewing->fn(viewing->owner, &client);
}

void broker_for_each_client(struct broker *broker,
                            void (*fn)(void *owner, const struct broker_client *client),
                            void *owner)
{
    struct viewing viewing = {broker, fn, owner};

    session_store_for_each(broker->live, show, &viewing);
    session_store_for_each(broker->persistent, show, &viewing);
}

static struct session *find(struct broker *broker, struct bytes client_id)
{
    struct session *session = session_store_find(broker->live, client_id);

    return session ? session : session_store_find(broker->persistent, client_id);
}

bool broker_find_client(struct broker *broker, struct bytes client_id,
                        void (*fn)(void *owner, const struct broker_client *client), void *owner)
{
    struct viewing viewing = {broker, fn, owner};
    struct session *session = find(broker, client_id);

    if (session) {
        show(&viewing, session);
    }
    return session != NULL;
}

void broker_for_each_subscription(struct broker *broker, struct bytes client_id,
                                  void (*fn)(void *owner, const char *filter, uint8_t qos,
                                             bool no_local, bool retain_as_published,
                                             uint32_t subscription_id),
                                  void *owner)
{
    struct session *session = find(broker, client_id);

    if (!session) {
        return;
    }
    list_for_each(link, &session->subscriptions) {
        const struct subscription *subscription =
            list_entry(link, struct subscription, session_link);
        g_autofree char *filter = subscription_filter(subscription);
        fn(owner, filter, subscription->options.qos, subscription->options.no_local,
           subscription->options.retain_as_published, subscription->options.subscription_id);
    }
}

int broker_kick(struct broker *broker, struct bytes client_id,
                const struct state_completion *purged)
{
    struct session *session = find(broker, client_id);
    bool is_here = session && session->connection;
    bool is_told = !is_here && broker->remote && remote_kick(broker->remote, client_id);

    if (!session) {
        return is_told ? -EINPROGRESS : -ENOENT;
    }
    bool is_persistent = session->store == broker->persistent;
    log_info("client disconnected by an administrator", "client=%s purge=%d", session->client_id,
             purged != NULL);
    if (session->connection) {
        connection_end(session->connection, REASON_ADMINISTRATIVE_ACTION,
                       "disconnected by an administrator");
    }
    if (!purged || !is_persistent) {
        return 0;
    }
    int r = state_propose_session_remove(broker->state, client_id, purged);
    return r < 0 ? r : 1;
}

/* ---- publishing ---- */

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
    if (waiting->reason == REASON_SUCCESS &&
        result->matched + waiting->broker->last_commit_matched == 0) {
        waiting->reason = REASON_NO_MATCHING_SUBSCRIBERS;
    }
    deferred_schedule(waiting->broker->loop, &waiting->deferred);
}

static int propose(struct broker *broker, const struct publication *publication,
                   const struct share_choices *choices, struct waiting *waiting)
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

int broker_publish(struct broker *broker, const struct broker_publication *publication,
                   void (*fn)(void *owner, uint8_t reason), void *owner)
{
    struct routes *routes =
        route_cache_find(&broker->routes, publication->topic, broker->settings->topic_levels_max);
    _cleanup_(share_choices_clear) struct share_choices choices = {0};
    struct publication view = {
        .topic = publication->topic,
        .payload = publication->payload,
        .qos = publication->qos,
        .retain = publication->retain,
        .expires_unix_ms = publication->expiry_s != 0
                               ? loop_unix_ms(broker->loop) + publication->expiry_s * 1000ull
                               : 0,
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

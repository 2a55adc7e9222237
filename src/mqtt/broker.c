/* The broker's life, what it watches in the state, and the end of each turn; see broker.h and
 * README.md. */
#include "mqtt/broker.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/deliver.h"
#include "mqtt/durable.h"
#include "mqtt/flow.h"
#include "mqtt/ingest.h"
#include "mqtt/outbox.h"
#include "mqtt/publish.h"
#include "mqtt/remote/remote.h"
#include "mqtt/sender.h"
#include "mqtt/sys_topics.h"
#include "net/stream.h"
#include "session/retained.h"
#include "session/wills.h"
#include "state/propose.h"
#include "topic/name.h"

uint32_t broker_random(struct broker *broker)
{
    broker->random ^= broker->random << 13;
    broker->random ^= broker->random >> 17;
    broker->random ^= broker->random << 5;
    return broker->random;
}

void broker_touch(struct broker *broker)
{
    deferred_schedule(broker->loop, &broker->end_of_turn);
}

/* ---- the end of a turn ---- */

static void end_lost(struct connection *connection)
{
    switch (connection->lost_reason) {
    case REASON_SESSION_TAKEN_OVER:
        connection->broker->counters.takeovers++;
        connection_end(connection, REASON_SESSION_TAKEN_OVER,
                       "another connection came with this client id");
        break;
    case REASON_SERVER_BUSY:
        connection_end(connection, REASON_SERVER_BUSY,
                       "this node was cut off: the session was closed");
        break;
    default:
        connection_end(connection, connection->lost_reason, "the session was removed");
    }
}

static void pump_all(struct broker *broker)
{
    struct list round;

    list_init(&round);
    while (!list_is_empty(&broker->pumping)) {
        struct list *link = broker->pumping.next;
        list_remove(link);
        list_append(&round, link);
    }
    while (!list_is_empty(&round)) {
        struct connection *connection = list_entry(round.next, struct connection, pump_link);
        list_remove(&connection->pump_link);
        if (connection->state == CONNECTION_ACTIVE && connection->lost_reason != 0) {
            end_lost(connection);
            continue;
        }
        sender_pump(connection);
        flow_update(connection);
    }
}

static void free_ended(struct broker *broker)
{
    while (!list_is_empty(&broker->ended)) {
        connection_free(list_entry(broker->ended.next, struct connection, link));
    }
}

static void stop_when_empty(struct broker *broker)
{
    if (broker->is_stopping && broker->on_stopped && list_is_empty(&broker->connections)) {
        void (*on_stopped)(void *) = TAKE(broker->on_stopped);
        timer_stop(broker->stop_timer);
        on_stopped(broker->stop_owner);
    }
}

static void on_end_of_turn(void *owner)
{
    struct broker *broker = owner;

    if (broker->remote) {
        remote_end_of_turn(broker->remote);
    }
    pump_all(broker);
    list_for_each_safe(link, &broker->acknowledging) {
        if (!outbox_propose_acknowledgements(
                list_entry(link, struct outbox, acknowledge_link)->connection)) {
            timer_start(broker->retry_timer, 5);
            break;
        }
    }
    free_ended(broker);
    stop_when_empty(broker);
}

struct connection *broker_find(const struct broker *broker, const char *client_id)
{
    struct connection *entering = g_hash_table_lookup(broker->entering, client_id);
    const struct session *session = NULL;

    if (!entering) {
        struct bytes id = bytes_from_string(client_id);
        session = session_store_find(broker->live, id);
        session = session ? session : session_store_find(broker->persistent, id);
    }
    return session ? session->connection : entering;
}

/* ---- what the state tells ---- */

static void on_publish(void *owner, struct message *message, struct bytes publisher,
                       const struct state_share_target *targets, uint32_t target_count)
{
    struct broker *broker = owner;
    struct publication publication;

    publication_from_message(&publication, message, publisher);
    deliver_committed(broker, &publication, targets, target_count);
    broker->last_commit_matched = publication.matched;
    if (publication.congested && publisher.length > 0) {
        g_autofree char *id = g_strndup((const char *)publisher.at, publisher.length);
        struct connection *connection = broker_find(broker, id);
        if (connection && connection_is_active(connection)) {
            flow_hold(connection, publication.congested);
        } else if (broker->remote) {
            remote_hold(broker->remote, publisher, publication.congested, REMOTE_EVERY_SLOT);
        }
    }
    publication_deinit(&publication);
}

static void on_delivery(void *owner, struct session *session)
{
    struct connection *connection = session->connection;

    if (connection && connection_is_active(connection)) {
        sender_schedule(connection);
        flow_is_congested(connection);
    }
}

/* A connection goes at the end of the turn, without a word to the state. */
static void lose(struct connection *connection, uint8_t reason)
{
    connection->lost_reason = reason;
    if (connection->stream) {
        stream_pause(connection->stream);
        connection->is_paused = true;
    }
    sender_schedule(connection);
}

/* Takes the session from it before. */
static void detach(struct connection *connection, struct session *session, uint8_t reason)
{
    session->connection = NULL;
    connection->session = NULL;
    connection->is_persistent = connection->has_will = false;
    lose(connection, reason);
}

/* It goes while a client is on it (purged): the client goes too. */
static void on_session_end(void *owner, struct session *session)
{
    if (session->connection) {
        detach(session->connection, session, REASON_ADMINISTRATIVE_ACTION);
    }
}

/* The session has another connection now (of another node), or none (this node was held for dead):
 * the one here goes. One that is still opening will have it back. */
static void on_connection(void *owner, struct bytes client_id, uint64_t connection_number)
{
    struct broker *broker = owner;
    struct session *session =
        broker->remote ? session_store_find(broker->persistent, client_id) : NULL;
    struct connection *connection = session ? session->connection : NULL;
    uint8_t reason = connection_number != 0 ? REASON_SESSION_TAKEN_OVER : REASON_SERVER_BUSY;

    if (connection && connection->number != connection_number) {
        detach(connection, session, reason);
        return;
    }
    session = broker->remote ? session_store_find(broker->live, client_id) : NULL;
    connection = session ? session->connection : NULL;
    if (connection && connection->number != connection_number &&
        (connection_number == 0 ? connection->has_will
                                : !remote_has_connection(broker->remote, connection_number))) {
        connection->has_will = false; /* with a link, a claim says who is the later */
        lose(connection, reason);
    }
}

static void on_applied(void *owner)
{
    struct broker *broker = owner;

    if (broker->remote) { /* publishes of other nodes may have waited for it */
        broker_touch(broker);
    }
}

struct rebinding {
    struct broker *broker;
    GHashTable *connections; /* by number */
};

static void rebind(void *owner, struct session *session)
{
    struct rebinding *rebinding = owner;
    struct connection *connection =
        g_hash_table_lookup(rebinding->connections, &session->connection_number);
    const struct will *will =
        wills_find(state_wills(rebinding->broker->state), session_client_id(session));

    if (!connection) {
        return;
    }
    connection->session = session;
    connection->is_persistent = true;
    connection->has_will = will && will->connection_number == connection->number;
    connection->lost_reason = 0;
    connection->next_sequence = MIN(MAX(connection->next_sequence, session->deliveries.first),
                                    delivery_ring_end(&session->deliveries));
    session->connection = connection;
    session->sent_end = session->begun_end = connection->next_sequence;
    connection_update_reading(connection);
}

/* Everything in the state is new: who had a session there has it again, if it is still its own. */
static void on_restored(void *owner)
{
    struct broker *broker = owner;
    struct rebinding rebinding = {broker, g_hash_table_new(g_int64_hash, g_int64_equal)};

    broker->persistent = state_sessions(broker->state);
    route_cache_deinit(&broker->routes);
    route_cache_init(&broker->routes, broker->live, broker->persistent);
    list_for_each(link, &broker->connections) {
        struct connection *connection = list_entry(link, struct connection, link);
        if (connection->state == CONNECTION_ACTIVE && !connection->session) {
            g_hash_table_insert(rebinding.connections, &connection->number, connection);
        }
    }
    session_store_for_each(broker->persistent, rebind, &rebinding);
    g_hash_table_unref(rebinding.connections);
    on_applied(broker);
}

static void on_settings(void *owner)
{
    struct broker *broker = owner;
    const struct settings *settings = broker->settings;
    struct session_limits limits = {
        .queue_messages_max = DELIVERY_RING_MAX,
        .queue_bytes_max = UINT64_MAX,
        .queue_refuse = true,
        .subscriptions_per_session_max = settings->subscriptions_per_session_max,
        .received_max = settings->receive_maximum,
    };

    session_store_set_limits(broker->live, &limits);
    flow_look_again(broker);
}

/* Users and rules hold for those who are connected too: a user that is gone goes, another role
 * counts from now on. */
static void on_access(void *owner)
{
    struct broker *broker = owner;

    list_for_each_safe(link, &broker->connections) {
        struct connection *connection = list_entry(link, struct connection, link);
        struct identity identity;
        if (connection->is_user) {
            if (!access_identity_of(broker->access, connection->identity.username, &identity)) {
                connection_end(connection, REASON_NOT_AUTHORIZED, "the user was removed");
                continue;
            }
            connection->identity.role = identity.role;
            identity_clear(&identity);
        }
        connection->needs_access_checks =
            access_needs_checks(broker->access, &connection->identity);
    }
}

/* ---- keep alive ---- */

static uint64_t on_due(struct list *member, uint64_t now_ms)
{
    struct connection *connection = list_entry(member, struct connection, deadline_link);

    if (connection->state == CONNECTION_WAITING ||
        (connection->state == CONNECTION_AUTHENTICATING && connection->scram)) {
        connection_end(connection, 0, NULL); /* no CONNECT in time */
        return 0;
    }
    if (connection->state != CONNECTION_ACTIVE || connection->is_paused) {
        return now_ms + 1000; /* we do not listen: it cannot be blamed */
    }
    uint64_t deadline_ms = connection->last_packet_ms + connection->keep_alive_s * 1500ull;
    if (deadline_ms > now_ms) {
        return deadline_ms;
    }
    connection_end(connection, REASON_KEEP_ALIVE_TIMEOUT,
                   "nothing heard for one and a half keep alive");
    return 0;
}

/* ---- life ---- */

static void init_lists(struct broker *broker)
{
    struct list *const lists[] = {&broker->connections, &broker->ended,     &broker->acknowledging,
                                  &broker->pumping,     &broker->congested, &broker->stalled,
                                  &broker->closings,    &broker->traces,    &broker->refused,
                                  &broker->forwarding};

    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        list_init(lists[i]);
    }
}

struct broker *broker_new(const struct broker_options *options)
{
    struct broker *broker = g_new0(struct broker, 1);

    broker->options = *options;
    broker->loop = options->loop;
    broker->state = options->state;
    broker->access = options->access;
    broker->settings = state_settings(options->state);
    broker->persistent = state_sessions(options->state);
    broker->live = session_store_new();
    broker->random = (uint32_t)(options->epoch * 2654435761u) | 1;
    init_lists(broker);
    deferred_init(&broker->end_of_turn, on_end_of_turn, broker);
    broker->slow_timer = timer_new(broker->loop, flow_on_timer, broker);
    broker->retry_timer = timer_new(broker->loop, durable_on_retry, broker);
    broker->entering = g_hash_table_new(g_str_hash, g_str_equal);
    broker->opening = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    broker->per_address = g_hash_table_new(g_str_hash, g_str_equal);
    wheel_init(&broker->deadlines, broker->loop, on_due);
    route_cache_init(&broker->routes, broker->live, broker->persistent);
    broker->counters.started_ms = clock_now_ms();
    broker->scratch = g_byte_array_new();
    broker->forwarded = g_byte_array_new();
    broker->sys = sys_topics_new(broker);
    broker->watch = (struct state_watch){
        .owner = broker,
        .on_publish = on_publish,
        .on_delivery = on_delivery,
        .on_session_end = on_session_end,
        .on_settings = on_settings,
        .on_access = on_access,
        .on_connection = on_connection,
        .on_applied = on_applied,
        .on_restored = on_restored,
    };
    broker->remote = options->links ? remote_new(broker) : NULL;
    state_add_watch(broker->state, &broker->watch);
    on_settings(broker);
    return broker;
}

uint32_t broker_connections_max(const struct broker *broker)
{
    uint32_t most = broker->options.connections_max;

    return most > 0 ? MIN(most, broker->settings->connections_max)
                    : broker->settings->connections_max;
}

void broker_accept(struct broker *broker, struct stream *stream, const char *trusted_name)
{
    if (broker->is_stopping || broker->connection_count >= broker_connections_max(broker) + 64) {
        broker->counters.connections_refused++;
        stream_reset(stream); /* a few more are let in, to be told why not */
        return;
    }
    connection_new(broker, stream, trusted_name);
}

static void on_stop_timeout(void *owner)
{
    stop_when_empty(owner);
}

void broker_stop(struct broker *broker, uint64_t linger_ms, void (*fn)(void *owner), void *owner)
{
    broker->is_stopping = true;
    broker->on_stopped = fn;
    broker->stop_owner = owner;
    list_for_each_safe(link, &broker->connections) {
        connection_end(list_entry(link, struct connection, link), REASON_SERVER_SHUTTING_DOWN,
                       "the node is stopping");
    }
    broker->stop_timer =
        broker->stop_timer ? broker->stop_timer : timer_new(broker->loop, on_stop_timeout, broker);
    timer_start(broker->stop_timer, linger_ms);
    broker_touch(broker);
}

void broker_free(struct broker *broker)
{
    broker->is_stopping = true;
    list_for_each_safe(link, &broker->connections) {
        connection_end(list_entry(link, struct connection, link), 0, NULL);
    }
    free_ended(broker);
    durable_drop(broker);
    ingest_drop_all(broker);
    remote_free(TAKE(broker->remote));
    state_remove_watch(broker->state, &broker->watch);
    deferred_deinit(&broker->end_of_turn);
    timer_free(broker->slow_timer);
    timer_free(broker->retry_timer);
    timer_free(broker->stop_timer);
    sys_topics_free(broker->sys);
    route_cache_deinit(&broker->routes);
    wheel_deinit(&broker->deadlines);
    session_store_free(broker->live);
    g_hash_table_unref(broker->entering);
    g_hash_table_unref(broker->opening);
    g_hash_table_unref(broker->per_address);
    g_byte_array_unref(broker->scratch);
    g_byte_array_unref(broker->forwarded);
    g_free(broker->encoded);
    g_free(broker);
}

void broker_counters(const struct broker *broker, struct broker_counters *counters)
{
    *counters = broker->counters;
    counters->connections = broker->connection_count;
    counters->clients_total =
        session_store_count(broker->live) + session_store_count(broker->persistent);
    counters->subscriptions = session_store_subscription_count(broker->live) +
                              session_store_subscription_count(broker->persistent);
    counters->shared_subscriptions =
        session_store_shared_count(broker->live) + session_store_shared_count(broker->persistent);
    counters->retained_messages = retained_count(state_retained(broker->state));
    counters->retained_bytes = retained_bytes(state_retained(broker->state));
    counters->queued_messages =
        session_store_queued(broker->live) + session_store_queued(broker->persistent);
}

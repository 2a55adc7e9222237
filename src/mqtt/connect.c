/* How a client gets in.
 *
 *   CONNECT -> checks that need nobody (version, client id, limits) -> who is it (at once for
 * anonymous and trusted ones, else by the worker pool or SCRAM) -> may it have its will -> a client
 * of the same id goes (takeover) -> the session opens -> CONNACK.
 *
 * A session opens in the replicated state when it outlives the connection, when there is a will to
 * keep, or when the state already holds something under this client id; CONNACK then waits for the
 * commit. Any other opens in the live store at once.
 *
 * The commit may be late (no quorum), and the client elsewhere by then: what another node has
 * opened since the CONNECT came stays, and the one that waits here is refused (opens_again: unless
 * it is the log that was late). */
#include "mqtt/connect.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/address.h"
#include "mqtt/auth.h"
#include "mqtt/broker_private.h"
#include "mqtt/connect_request.h"
#include "mqtt/durable.h"
#include "mqtt/remote/remote.h"
#include "mqtt/sender.h"
#include "mqtt/trace.h"
#include "net/stream.h"
#include "packet/property.h"
#include "session/wills.h"
#include "state/propose.h"
#include "topic/name.h"

/* ---- refusing ---- */

void connect_refuse(struct connection *connection, uint8_t reason, const char *text)
{
    struct broker *broker = connection->broker;

    broker->counters.connections_refused++;
    if (connection->version != 0) {
        connack_send_refusal(connection, reason, text);
    }
    connection_end(connection, 0, NULL);
}

/* ---- checks ---- */

/* MQTT 5, 3.1.3.1; 3.1.1, 3.1.3-7 and -8. */
static uint8_t check_client_id(struct connection *connection, const struct packet_connect *connect)
{
    if (connect->client_id.length > connection->broker->settings->client_id_bytes_max) {
        return REASON_CLIENT_ID_NOT_VALID;
    }
    if (connect->client_id.length == 0 && connect->version != PACKET_MQTT_5 &&
        (!connect->clean_start || connect->version == PACKET_MQTT_3_1)) {
        return REASON_CLIENT_ID_NOT_VALID;
    }
    return 0;
}

static uint8_t check_will(struct connection *connection, const struct packet_will *will)
{
    const struct settings *settings = connection->broker->settings;

    if (!topic_name_is_valid(will->topic, settings->topic_levels_max)) {
        return REASON_TOPIC_NAME_INVALID;
    }
    if (will->topic.length + will->payload.length + will->properties.raw.length >
        settings->will_bytes_max) {
        return REASON_QUOTA_EXCEEDED;
    }
    if (will->properties.payload_format == 1 && !utf8_is_valid(will->payload)) {
        return REASON_PAYLOAD_FORMAT_INVALID;
    }
    return 0;
}

static uint8_t check(struct connection *connection, const struct packet_connect *connect,
                     const char **text)
{
    struct broker *broker = connection->broker;
    uint8_t reason = check_client_id(connection, connect);

    if (reason != 0) {
        *text = "client id is empty without clean session, or longer than mqtt.client_id_bytes_max";
        return reason;
    }
    if (broker->connection_count > broker_connections_max(broker)) {
        *text = "mqtt.connections_max is reached";
        return REASON_SERVER_BUSY;
    }
    if (connect->has_will && (reason = check_will(connection, &connect->will)) != 0) {
        *text = "the will is not acceptable";
        return reason;
    }
    struct stream_peer peer;
    stream_peer(connection->stream, &peer);
    connection->address = address_enter(broker, &peer);
    if (!connection->address) {
        *text = "mqtt.connections_per_address_max is reached";
        return REASON_QUOTA_EXCEEDED;
    }
    return 0;
}

/* ---- who is it ---- */

static void on_login(void *owner, enum access_outcome outcome, struct identity *identity)
{
    struct connection *connection = owner;

    connection->request->ticket = NULL;
    if (outcome != ACCESS_GRANTED) {
        connection->broker->counters.logins_failed++;
        connect_refuse(
            connection,
            outcome == ACCESS_DENIED ? REASON_NOT_AUTHORIZED : REASON_BAD_USERNAME_OR_PASSWORD,
            "user name or password is wrong, or anonymous clients are not let in from there");
        return;
    }
    identity_clear(&connection->identity);
    connection->identity = *identity;
    *identity = (struct identity){0};
    connect_granted(connection, (struct bytes){NULL, 0});
}

static void log_in(struct connection *connection)
{
    struct connect_request *request = connection->request;
    struct stream_peer peer;
    stream_peer(connection->stream, &peer);

    struct access_attempt attempt = {
        .username = bytes_from_string(connection->identity.username),
        .is_trusted = connection->is_trusted,
        .is_loopback = peer.is_loopback,
        .address = peer.address,
        .certificate_cn = peer.certificate_cn,
    };
    if (!attempt.is_trusted) {
        attempt.username = bytes_from_string(request->username);
        attempt.has_username = request->username != NULL;
        attempt.password = request->password;
        attempt.has_password = request->password.at != NULL;
    }
    connection->state = CONNECTION_AUTHENTICATING;
    struct identity identity = {0};
    int r = access_check_quick(connection->broker->access, &attempt, &identity);
    if (r == -EAGAIN) {
        request->ticket =
            access_check_login(connection->broker->access, &attempt, on_login, connection);
        connection_update_reading(connection);
    } else {
        on_login(connection, r == 1 ? ACCESS_GRANTED : ACCESS_DENIED, &identity);
    }
}

void connect_receive(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_connect connect;
    const char *text = NULL;
    int reason = packet_connect_decode(frame, &connect);

    if (reason != 0) {
        /* 3.1.2-1, -2: an unknown version is told; what is not CONNECT at all is not. */
        connection->version =
            reason == REASON_UNSUPPORTED_VERSION && connect.version < PACKET_MQTT_5
                ? PACKET_MQTT_3_1_1
            : connect.version >= PACKET_MQTT_5 ? PACKET_MQTT_5
                                               : 0;
        connect_refuse(connection, (uint8_t)reason, "malformed CONNECT");
        return;
    }
    connection->version = connect.version;
    connection->wants_problem_information =
        !properties_has(&connect.properties, PROPERTY_REQUEST_PROBLEM) ||
        connect.properties.request_problem;
    if (properties_has(&connect.properties, PROPERTY_MAXIMUM_PACKET)) {
        connection->packet_bytes_max = connect.properties.maximum_packet_bytes;
    }
    reason = check(connection, &connect, &text);
    if (reason != 0) {
        connect_refuse(connection, (uint8_t)reason, text);
        return;
    }
    connection->request = connect_request_new(&connect);
    trace_attach(connection);
    trace_received(connection, frame);
    if (properties_has(&connect.properties, PROPERTY_AUTH_METHOD)) {
        connection->state = CONNECTION_AUTHENTICATING;
        auth_begin(connection, connect.properties.auth_method, connect.properties.auth_data);
    } else {
        log_in(connection);
    }
}

/* ---- opening ---- */

static void take_over(struct broker *broker, struct connection *connection)
{
    struct connection *other = broker_find(broker, connection->request->client_id);

    if (other && other != connection) {
        log_info("client id taken over", "client=%s", connection->request->client_id);
        broker->counters.takeovers++;
        connection_end(other, REASON_SESSION_TAKEN_OVER,
                       "another connection came with this client id");
    }
}

void connect_forget(struct connection *connection)
{
    struct broker *broker = connection->broker;

    if (connection->request &&
        g_hash_table_lookup(broker->entering, connection->request->client_id) == connection) {
        g_hash_table_remove(broker->entering, connection->request->client_id);
    }
}

static void enter(struct connection *connection, bool session_present, struct bytes auth_data)
{
    struct broker *broker = connection->broker;
    struct session *session = connection->session;

    connection->state = CONNECTION_ACTIVE;
    connection->connected_unix_ms = clock_unix_ms();
    session->connection = connection;
    session->version = connection->version;
    connect_forget(connection);
    connection->is_user =
        !connection->is_trusted && access_is_user(broker->access, connection->identity.username);
    connection->needs_access_checks = access_needs_checks(broker->access, &connection->identity);
    connection->was_counted = true;
    broker->counters.clients_connected++;
    broker->counters.clients_maximum =
        MAX(broker->counters.clients_maximum, broker->counters.clients_connected);
    trace_attach(connection);
    connack_send(connection, session_present, auth_data);
    log_debug("client entered", "client=%s address=%s version=%u", session->client_id,
              connection->address->text, connection->version);
    connect_request_free(TAKE(connection->request));
    sender_attach(connection);
    connection_update_reading(connection);
}

static void open_live(struct connection *connection, struct bytes auth_data)
{
    struct broker *broker = connection->broker;
    struct connect_request *request = connection->request;
    struct session *session =
        session_store_add(broker->live, bytes_from_string(request->client_id));

    session->username = g_strdup(connection->identity.username);
    session->created_unix_ms = clock_unix_ms();
    session->connection_number = connection->number;
    session->receive_maximum = connection->receive_maximum;
    connection->session = session;
    enter(connection, false, auth_data);
}

/* One open of a client id that is under way in the log; outlives the connection that asked. */
struct opening {
    struct broker *broker;
    uint64_t connection_number;
    GBytes *auth_data;
    char client_id[];
};

static struct opening *opening_new(struct connection *connection, struct bytes auth_data)
{
    struct bytes client_id = connection_client_id(connection);
    struct opening *opening = g_malloc0(sizeof *opening + client_id.length + 1);

    opening->broker = connection->broker;
    opening->connection_number = connection->number;
    opening->auth_data = g_bytes_new(auth_data.at, auth_data.length);
    memcpy(opening->client_id, client_id.at, client_id.length);
    return opening;
}

static void opening_free(struct opening *opening)
{
    g_bytes_unref(opening->auth_data);
    g_free(opening);
}

static void opening_count(struct broker *broker, const char *client_id, int change)
{
    int count = GPOINTER_TO_INT(g_hash_table_lookup(broker->opening, client_id)) + change;

    if (count == 0) {
        g_hash_table_remove(broker->opening, client_id);
    } else {
        g_hash_table_replace(broker->opening, g_strdup(client_id), GINT_TO_POINTER(count));
    }
}

static void open_in_state(struct connection *connection, struct bytes auth_data);

/* What the node knows when the CONNECT comes: what the client does elsewhere from now on is newer.
 */
static void note_what_is_known(struct connection *connection)
{
    const struct broker *broker = connection->broker;
    struct connect_request *request = connection->request;

    request->known_opening =
        state_last_opening(broker->state, bytes_from_string(request->client_id));
    request->claims_heard = broker->remote ? remote_claims_heard(broker->remote) : 0;
}

/* Another node let the client in before this one's open was applied. When that node's claim had
 * been heard before the CONNECT came, the client was there first, and is here now. */
static bool opens_again(struct connection *connection, struct bytes auth_data)
{
    const struct broker *broker = connection->broker;
    struct connect_request *request = connection->request;
    uint64_t last = state_last_opening(broker->state, bytes_from_string(request->client_id));

    if (!broker->remote || !remote_has_heard(broker->remote, last, request->claims_heard)) {
        return false;
    }
    request->known_opening = last;
    open_in_state(connection, auth_data);
    return true;
}

/* The open was applied, or has failed. */
static void open_result(struct connection *connection, const struct state_result *result,
                        struct bytes auth_data)
{
    struct broker *broker = connection->broker;
    const char *id = connection->request->client_id;

    if (result->error == 0 && result->reason == 0 && !result->is_stale) {
        connection->session = session_store_find(broker->persistent, bytes_from_string(id));
        connection->is_persistent = connection->session != NULL;
        if (connection->is_persistent) {
            enter(connection, result->session_present, auth_data);
        } else {
            open_live(connection, auth_data);
        }
        return;
    }
    connection->has_will = false;
    /* It may still be applied: then it must be closed again, without its will. */
    connection->is_persistent = connection->is_clean_end =
        result->error == -ETIMEDOUT || result->error == -ECANCELED;
    connect_refuse(connection, result->reason != 0 ? result->reason : REASON_SERVER_UNAVAILABLE,
                   result->is_stale           ? "the client came to another node meanwhile"
                   : result->error == -ENOSPC ? "no space to keep the session"
                                              : "the session could not be opened");
}

static void on_opened(void *owner, uint64_t token, const struct state_result *result)
{
    struct opening *opening = owner;
    struct broker *broker = opening->broker;
    struct connection *connection = broker_find(broker, opening->client_id);

    opening_count(broker, opening->client_id, -1);
    if (connection && connection->number == opening->connection_number &&
        connection->state == CONNECTION_OPENING) {
        struct bytes auth_data = {g_bytes_get_data(opening->auth_data, NULL),
                                  g_bytes_get_size(opening->auth_data)};
        if (!result->is_stale || !opens_again(connection, auth_data)) {
            open_result(connection, result, auth_data);
        }
    }
    opening_free(opening);
}

static void open_in_state(struct connection *connection, struct bytes auth_data)
{
    struct broker *broker = connection->broker;
    struct connect_request *request = connection->request;
    struct bytes client_id = bytes_from_string(request->client_id);
    struct state_open open = {
        .client_id = client_id,
        .username = bytes_from_string(connection->identity.username),
        .clean_start = request->clean_start,
        .is_persistent = connection->expiry_s > 0,
        .expiry_s = connection->expiry_s,
        .receive_maximum = connection->receive_maximum,
        .version = connection->version,
        .connection_number = connection->number,
        .known_opening = request->known_opening,
        .will = request->has_will ? &request->will : NULL,
    };
    struct opening *opening = opening_new(connection, auth_data);
    struct state_completion completion = {on_opened, opening, 0};
    connection->state = CONNECTION_OPENING;
    connection->is_persistent =
        true; /* until the result tells: should it end before, the state must know */
    connection_update_reading(connection);
    if (!durable_has_closed(broker) || state_propose_open(broker->state, &open, &completion) < 0) {
        opening_free(opening);
        connection->is_persistent = connection->has_will = false;
        connect_refuse(connection, REASON_SERVER_BUSY, "the log is overloaded");
        return;
    }
    opening_count(broker, request->client_id, 1);
}

/* What CONNECT asked for, within our own limits. */
static void negotiate(struct connection *connection)
{
    const struct settings *settings = connection->broker->settings;
    const struct connect_request *request = connection->request;

    connection->expiry_s = MIN(request->expiry_s, settings->session_expiry_s_max);
    connection->receive_maximum = MIN(request->receive_maximum, settings->in_flight_max);
    connection->alias_maximum = MIN(request->alias_maximum, settings->topic_alias_max);
    connection->keep_alive_s = request->keep_alive_s;
    if (settings->keep_alive_s_max != 0 &&
        (request->keep_alive_s == 0 || request->keep_alive_s > settings->keep_alive_s_max) &&
        connection->version == PACKET_MQTT_5 && settings->keep_alive_s_max < UINT16_MAX) {
        connection->keep_alive_s = (uint16_t)settings->keep_alive_s_max;
    }
    connection->has_will = request->has_will;
}

/* A will that access does not allow, or on a topic of the broker's own, is refused in MQTT 5; older
 * clients would try again for ever, so it is dropped. */
static bool will_is_allowed(struct connection *connection)
{
    struct connect_request *request = connection->request;

    bool is_system = request->has_will && request->will.topic.at[0] == '$';
    if (!request->has_will || connection->is_trusted ||
        (!is_system &&
         access_may_publish(connection->broker->access, &connection->identity,
                            bytes_from_string(request->client_id), request->will.topic))) {
        return true;
    }
    log_warning("will refused", "client=%s", request->client_id);
    request->has_will = connection->has_will = false;
    return connection->version != PACKET_MQTT_5;
}

static void open_session(struct connection *connection, struct bytes auth_data)
{
    struct broker *broker = connection->broker;
    const char *id = connection->request->client_id;
    struct bytes client_id = bytes_from_string(id);

    if (connection->expiry_s > 0 || connection->has_will ||
        session_store_find(broker->persistent, client_id) ||
        g_hash_table_contains(broker->opening, id) ||
        wills_find(state_wills(broker->state), client_id)) {
        open_in_state(connection, auth_data);
    } else {
        open_live(connection, auth_data);
    }
}

static void on_others_ready(void *owner)
{
    struct opening *opening = owner;
    struct connection *connection = broker_find(opening->broker, opening->client_id);

    if (connection && connection->number == opening->connection_number &&
        connection->state == CONNECTION_OPENING) {
        open_session(connection, (struct bytes){g_bytes_get_data(opening->auth_data, NULL),
                                                g_bytes_get_size(opening->auth_data)});
    }
    opening_free(opening);
}

/* The client may come from another node: what it asked for there, its goodbye above all, is done
 * first. */
static void open_after_others(struct connection *connection, struct bytes auth_data)
{
    struct remote *remote = connection->broker->remote;
    struct opening *opening = opening_new(connection, auth_data);

    connection->state = CONNECTION_OPENING;
    connection_update_reading(connection);
    remote_claim(remote, connection, bytes_from_string(opening->client_id));
    if (!remote_sync(remote, false, on_others_ready, opening)) {
        on_others_ready(opening);
    }
}

void connect_granted(struct connection *connection, struct bytes auth_data)
{
    struct broker *broker = connection->broker;
    struct connect_request *request = connection->request;

    if (request->client_id[0] == '\0') {
        connect_request_assign_id(request);
    }
    note_what_is_known(connection);
    negotiate(connection);
    if (!will_is_allowed(connection)) {
        connect_refuse(connection, REASON_NOT_AUTHORIZED, "the will's topic is not allowed");
        return;
    }
    take_over(broker, connection);
    g_hash_table_replace(broker->entering, request->client_id, connection);

    wheel_remove(&broker->deadlines, &connection->deadline_link);
    if (connection->keep_alive_s != 0) {
        wheel_set(&broker->deadlines, &connection->deadline_link,
                  loop_now_ms(broker->loop) + connection->keep_alive_s * 1500ull);
    }
    if (broker->remote) {
        open_after_others(connection, auth_data);
    } else {
        open_session(connection, auth_data);
    }
}

/* What a client publishes.
 *
 * PUBLISH -> topic (alias) -> may it -> where does it go -> no subscriber needs the log: delivered
 * and acknowledged at once;
 *                                                       -> else into the client's line (ingest.c),
 * acknowledged after commit.
 *
 * QoS 2 is delivered on PUBLISH and its packet id remembered until PUBREL (MQTT 5, 4.3.3, method
 * B): in the live session, or in the state together with the message when the publisher's session
 * is persistent. */
#include "mqtt/publish.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/aliases.h"
#include "mqtt/broker_private.h"
#include "mqtt/deliver.h"
#include "mqtt/flow.h"
#include "mqtt/ingest.h"
#include "mqtt/remote/remote.h"
#include "mqtt/sys_topics.h"
#include "state/propose.h"
#include "topic/name.h"

void publish_acknowledge(struct connection *connection, uint8_t qos, uint16_t packet_id,
                         uint8_t reason)
{
    /* Of QoS 2 too: PUBREL must be read. How many are not released is limited by itself. */
    connection->waiting_publishes--;
    connection_update_reading(connection);
    if (qos == 2 && reason >= REASON_UNSPECIFIED && connection->session &&
        !connection->is_persistent) {
        packet_id_set_remove(&connection->session->received, packet_id);
    }
    connection_send_ack(connection, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, packet_id, reason);
}

static bool has_shares(struct broker *broker, const struct routes *routes)
{
    return routes->live.share_count + routes->persistent.share_count > 0 ||
           (broker->remote && deliver_has_shares(broker, routes));
}

uint64_t publish_deliver(struct broker *broker, struct publication *publication)
{
    struct routes *routes =
        route_cache_find(&broker->routes, publication->topic, broker->settings->topic_levels_max);
    _cleanup_(share_choices_clear) struct share_choices choices = {0};
    uint64_t number = 0;

    if (!routes) {
        return 0;
    }
    if (has_shares(broker, routes)) {
        deliver_choose_shares(broker, routes, publication->qos, &choices);
    }
    if (broker->remote) {
        number = remote_forward(broker->remote, publication, routes, &choices);
    }
    deliver_now(broker, publication, routes, &choices);
    return number;
}

void publish_deliver_here(struct broker *broker, struct publication *publication)
{
    struct routes *routes = route_cache_find(&broker->routes, publication->topic, TOPIC_BYTES_MAX);
    _cleanup_(share_choices_clear) struct share_choices choices = {0};

    if (!routes) {
        return;
    }
    if (routes->live.share_count + routes->persistent.share_count > 0) {
        deliver_choose_shares(broker, routes, publication->qos, &choices);
    }
    deliver_now(broker, publication, routes, &choices);
}

/* ---- checks ---- */

/* True when the topic is there: given, or known by its alias (MQTT 5, 3.3.2.3.4). */
static bool resolve_alias(struct connection *connection, struct packet_publish *publish)
{
    const struct settings *settings = connection->broker->settings;
    if (properties_has(&publish->properties, PROPERTY_SUBSCRIPTION_ID)) { /* 3.3.4-6 */
        connection_fail(connection, REASON_PROTOCOL_ERROR,
                        "subscription identifier in a PUBLISH from a client");
        return false;
    }
    uint16_t alias = properties_has(&publish->properties, PROPERTY_TOPIC_ALIAS)
                         ? publish->properties.topic_alias
                         : 0;

    if (alias == 0) {
        return true; /* with a topic then: the decoder asks for one of both */
    }
    if (alias > settings->topic_alias_max) {
        connection_fail(connection, REASON_TOPIC_ALIAS_INVALID,
                        "topic alias above mqtt.topic_alias_max");
        return false;
    }
    if (!aliases_resolve_incoming(connection, alias, &publish->topic)) {
        connection_fail(connection, REASON_PROTOCOL_ERROR, "topic alias was never set");
        return false;
    }
    return true;
}

static unsigned count_user_properties(const struct properties *properties)
{
    struct bytes name, value;
    unsigned count = 0;

    for (size_t at = 0; properties_next_user(properties, &at, &name, &value);) {
        count++;
    }
    return count;
}

static uint8_t check_content(struct connection *connection, const struct packet_publish *publish)
{
    const struct settings *settings = connection->broker->settings;

    if (publish->properties.has != 0 &&
        properties_has(&publish->properties, PROPERTY_PAYLOAD_FORMAT) &&
        publish->properties.payload_format == 1 && !utf8_is_valid(publish->payload)) {
        return REASON_PAYLOAD_FORMAT_INVALID;
    }
    if (properties_has(&publish->properties, PROPERTY_USER) &&
        count_user_properties(&publish->properties) > settings->user_properties_max) {
        return REASON_QUOTA_EXCEEDED;
    }
    if (publish->retain && publish->payload.length > settings->retained_payload_bytes_max) {
        return REASON_QUOTA_EXCEEDED;
    }
    if (publish->topic.at[0] == '$' && !connection->is_trusted) {
        return REASON_NOT_AUTHORIZED;
    }
    if (connection->needs_access_checks &&
        !access_may_publish(connection->broker->access, &connection->identity,
                            session_client_id(connection->session), publish->topic)) {
        return REASON_NOT_AUTHORIZED;
    }
    return 0;
}

/* Not taken: MQTT 5 is told why; 3.1.1 cannot be, so it is acknowledged and dropped: closing would
 * make devices loop. */
static void refuse(struct connection *connection, const struct packet_publish *publish,
                   uint8_t reason)
{
    struct broker *broker = connection->broker;

    broker->counters.denied_publishes++;
    log_debug("publish refused", "client=%s reason=0x%02x", connection->session->client_id, reason);
    if (publish->qos > 0) {
        connection_send_ack(connection, publish->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC,
                            publish->packet_id,
                            connection->version == PACKET_MQTT_5 ? reason : REASON_SUCCESS);
    }
}

/* A name that is right but has more levels than we take is no fault of the protocol (PUBACK 0x90).
 */
static void refuse_name(struct connection *connection, const struct packet_publish *publish)
{
    if (topic_name_is_valid(publish->topic, TOPIC_BYTES_MAX)) {
        refuse(connection, publish, REASON_TOPIC_NAME_INVALID);
    } else {
        connection_fail(connection, REASON_TOPIC_NAME_INVALID,
                        "topic name is empty or has wildcards");
    }
}

/* QoS 2: true when this packet id is on its way already, so that the message must not be delivered
 * again. A repetition behind publishes that wait for the log waits with them, so that PUBRECs keep
 * their order (MQTT-4.6.0-3): the state knows it too. */
static bool is_repeated(struct connection *connection, const struct packet_publish *publish)
{
    struct session *session = connection->session;

    if (publish->qos != 2 || !packet_id_set_has(&session->received, publish->packet_id)) {
        return false;
    }
    if (connection->ingest) {
        return !connection
                    ->is_persistent; /* of this connection then, and its PUBREC is still to come */
    }
    connection_send_ack(connection, PACKET_PUBREC, publish->packet_id, REASON_SUCCESS);
    return true;
}

/* Those received and not released; a repetition is none more. */
static bool has_too_many_received(struct connection *connection,
                                  const struct packet_publish *publish)
{
    const struct packet_id_set *received = &connection->session->received;

    return publish->qos == 2 && received->count >= connection->broker->settings->receive_maximum &&
           !packet_id_set_has(received, publish->packet_id);
}

/* ---- the way ---- */

static void take_properties(struct connection *connection, const struct packet_publish *publish,
                            struct publication *publication)
{
    const struct properties *properties = &publish->properties;

    if (properties->raw.length == 0) {
        return;
    }
    if (properties_are_forwarded_only(properties)) {
        publication->properties = properties->raw;
    } else {
        GByteArray *forwarded = connection->broker->forwarded;
        g_byte_array_set_size(forwarded, 0);
        properties_append_forwarded(properties, forwarded);
        publication->properties = (struct bytes){forwarded->data, forwarded->len};
    }
    if (properties_has(properties, PROPERTY_MESSAGE_EXPIRY)) {
        publication->expires_unix_ms =
            loop_unix_ms(connection->broker->loop) + properties->message_expiry_s * 1000ull;
    }
}

/* A QoS 0 packet without retain flag, alias and expiry goes out as it came in to everybody of the
 * same version. */
static void reuse_packet(const struct connection *connection, const struct packet_frame *frame,
                         const struct packet_publish *publish, struct publication *publication)
{
    bool is_5 = connection->version == PACKET_MQTT_5;

    if (publish->qos == 0 && !publish->retain &&
        publication->properties.length == publish->properties.raw.length) {
        publication->encoded[is_5] = (struct bytes){
            frame->body.at + frame->body.length - frame->total_bytes, frame->total_bytes};
    }
}

static void acknowledge_delivered(struct connection *connection,
                                  const struct packet_publish *publish, uint32_t matched)
{
    if (publish->qos == 2 && !connection->is_persistent) {
        packet_id_set_add(&connection->session->received, publish->packet_id);
    }
    if (publish->qos > 0) {
        publish_acknowledge(connection, publish->qos, publish->packet_id,
                            matched > 0 ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS);
    }
}

/* Other nodes got it too: a publisher is told when they have delivered it, so that its node may die
 * then, and so that it goes no faster than they do. */
static void acknowledge_forwarded(struct connection *connection,
                                  const struct packet_publish *publish,
                                  struct publication *publication, uint64_t number)
{
    connection->forwarded = number;
    if (publish->qos == 2) {
        packet_id_set_add(&connection->session->received, publish->packet_id);
    }
    if (publish->qos > 0) {
        ingest_add_forwarded(connection, publication, publish->packet_id, number);
        connection_update_reading(connection);
    }
}

static void deliver_at_once(struct connection *connection, const struct packet_publish *publish,
                            struct publication *publication, const struct routes *routes,
                            const struct share_choices *choices)
{
    struct broker *broker = connection->broker;
    uint64_t number =
        broker->remote ? remote_forward(broker->remote, publication, routes, choices) : 0;

    deliver_now(broker, publication, routes, choices);
    if (number != 0) {
        acknowledge_forwarded(connection, publish, publication, number);
    } else {
        acknowledge_delivered(connection, publish, publication->matched);
    }
}

static void hold_back(struct connection *connection, const struct publication *publication)
{
    if (publication->congested) {
        flow_hold(connection, publication->congested);
    }
    if (publication->full_links != 0) {
        remote_hold_here(connection->broker->remote, connection, publication->full_links);
    }
}

static void route(struct connection *connection, const struct packet_publish *publish,
                  struct publication *publication, struct routes *routes)
{
    struct broker *broker = connection->broker;
    _cleanup_(share_choices_clear) struct share_choices choices = {0};

    if (has_shares(broker, routes)) {
        deliver_choose_shares(broker, routes, publish->qos, &choices);
    }
    bool needs_log = (publish->qos > 0 && publish->retain) ||
                     (publish->qos == 2 && connection->is_persistent) ||
                     deliver_needs_log(broker, publication, routes, &choices);
    if (publish->qos > 0) {
        connection->waiting_publishes++;
    }
    if (needs_log || connection->ingest) {
        if (publish->qos == 2 && !connection->is_persistent) {
            packet_id_set_add(&connection->session->received, publish->packet_id);
        }
        bool is_retained_only = publish->retain && publish->qos == 0;
        ingest_add(connection, publication, publish->packet_id, needs_log || is_retained_only,
                   &choices);
        connection_update_reading(connection);
        return;
    }
    deliver_at_once(connection, publish, publication, routes, &choices);
    if (publish->retain) {
        ingest_add_retained(connection, publication);
    }
    hold_back(connection, publication);
}

void publish_receive(struct connection *connection, const struct packet_frame *frame)
{
    struct broker *broker = connection->broker;
    struct packet_publish publish;
    int reason = packet_publish_decode(frame, connection->version, &publish);

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed PUBLISH");
        return;
    }
    if (connection->version == PACKET_MQTT_5 && !resolve_alias(connection, &publish)) {
        return;
    }
    struct routes *routes =
        route_cache_find(&broker->routes, publish.topic, broker->settings->topic_levels_max);
    if (!routes) {
        refuse_name(connection, &publish);
        return;
    }
    broker->counters.publish_received++;
    broker->counters.publish_bytes_received += publish.payload.length;
    if (is_repeated(connection, &publish)) {
        return;
    }
    if (has_too_many_received(connection, &publish)) {
        connection_fail(connection, REASON_RECEIVE_MAXIMUM_EXCEEDED,
                        "more QoS 2 publishes than the receive maximum");
        return;
    }
    uint8_t refusal = check_content(connection, &publish);
    if (refusal != 0) {
        refuse(connection, &publish, refusal);
        return;
    }
    struct publication publication = {
        .topic = publish.topic,
        .payload = publish.payload,
        .publisher = session_client_id(connection->session),
        .qos = publish.qos,
        .retain = publish.retain,
    };
    take_properties(connection, &publish, &publication);
    reuse_packet(connection, frame, &publish, &publication);
    route(connection, &publish, &publication, routes);
    publication_deinit(&publication);
}

/* ---- PUBREL ---- */

struct release {
    struct broker *broker;
    uint64_t connection_number;
    uint16_t packet_id;
    char client_id[];
};

static void complete(struct connection *connection, uint16_t packet_id, bool was_there)
{
    connection_send_ack(connection, PACKET_PUBCOMP, packet_id,
                        was_there || connection->version != PACKET_MQTT_5
                            ? REASON_SUCCESS
                            : REASON_PACKET_ID_NOT_FOUND);
}

/* There is no answer that says no: it will say PUBREL again when it is back. */
static void refuse_release(struct connection *connection)
{
    connection_end(connection, REASON_SERVER_BUSY, "the log does not take it");
}

static void on_released(void *owner, uint64_t token, const struct state_result *result)
{
    struct release *release = owner;
    struct connection *connection = broker_find(release->broker, release->client_id);

    if (connection && connection->number == release->connection_number &&
        connection_is_active(connection) && !result->is_stale) {
        if (result->error == 0) {
            complete(connection, release->packet_id, result->reason == REASON_SUCCESS);
        } else {
            refuse_release(connection);
        }
    }
    g_free(release);
}

void publish_on_pubrel(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_ack pubrel;
    int reason = packet_ack_decode(frame, connection->version, &pubrel);

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed PUBREL");
        return;
    }
    if (!connection->is_persistent) {
        complete(connection, pubrel.packet_id,
                 packet_id_set_remove(&connection->session->received, pubrel.packet_id));
        return;
    }
    struct bytes id = session_client_id(connection->session);
    struct release *release = g_malloc0(sizeof *release + id.length + 1);
    release->broker = connection->broker;
    release->connection_number = connection->number;
    release->packet_id = pubrel.packet_id;
    memcpy(release->client_id, id.at, id.length);
    struct state_completion completion = {on_released, release, 0, connection->number};
    if (state_propose_release(connection->broker->state, id, pubrel.packet_id, &completion) < 0) {
        g_free(release);
        refuse_release(connection);
    }
}

/* SUBSCRIBE: each filter is checked and granted by itself; SUBACK goes out when all are decided: at
 * once for live sessions, after the commit for those in the replicated state. Retained messages
 * follow the SUBACK (MQTT 5, 3.3.1.3, 3.8.3.1). */
#include "mqtt/subscribe.h"
#include "base/log.h"
#include "mqtt/broker_private.h"
#include "mqtt/remote/remote.h"
#include "mqtt/retained_sender.h"
#include "mqtt/sys_topics.h"
#include "state/propose.h"
#include "topic/name.h"

/* One SUBSCRIBE or UNSUBSCRIBE until its answer. */
struct request {
    struct broker *broker;
    uint64_t connection_number;
    char *client_id;
    uint8_t answer_type; /* PACKET_SUBACK or PACKET_UNSUBACK */
    uint16_t packet_id;
    unsigned count, open; /* filters; those not decided yet, and one for the loop that reads them */
    bool is_of_log;
    struct request_filter {
        struct request *request;
        char *filter; /* owned */
        struct subscription_options options;
        bool is_new, is_granted;
        uint8_t reason;
    } filters[];
};

static struct request *request_new(struct connection *connection, uint8_t answer_type,
                                   uint16_t packet_id, unsigned count)
{
    struct request *request = g_malloc0(sizeof *request + count * sizeof request->filters[0]);

    request->broker = connection->broker;
    request->connection_number = connection->number;
    request->client_id = g_strdup(connection->session->client_id);
    request->answer_type = answer_type;
    request->packet_id = packet_id;
    request->open = 1;
    request->is_of_log = connection->is_persistent;
    return request;
}

static void request_free(struct request *request)
{
    for (unsigned i = 0; i < request->count; i++) {
        g_free(request->filters[i].filter);
    }
    g_free(request->client_id);
    g_free(request);
}

/* ---- the answer ---- */

static void send_retained(struct connection *connection, const struct request_filter *filter)
{
    struct bytes text = bytes_from_string(filter->filter);
    struct bytes share, rest;
    uint8_t handling = filter->options.retain_handling;

    if (!filter->is_granted || handling == 2 || (handling == 1 && !filter->is_new) ||
        topic_filter_split_shared(text, &share, &rest)) { /* never for shared ones (4.8.2) */
        return;
    }
    const struct subscription *now = session_find_subscription(connection->session, text);
    if (now) { /* it may have been ended or replaced since */
        retained_sender_add(connection, text, now->options.qos, now->options.subscription_id);
    }
}

static void answer(struct connection *connection, struct request *request)
{
    uint8_t *reasons = g_malloc(request->count);
    GByteArray *packet = connection->broker->scratch;

    for (unsigned i = 0; i < request->count; i++) {
        uint8_t reason = request->filters[i].reason;
        bool is_refused = reason >= REASON_UNSPECIFIED;
        reasons[i] = is_refused && connection->version != PACKET_MQTT_5 ? REASON_UNSPECIFIED
                                                                        : reason; /* 3.1.1, 3.9.3 */
    }
    struct packet_suback suback = {.packet_id = request->packet_id,
                                   .reasons = {reasons, request->count}};
    g_byte_array_set_size(packet, 0);
    packet_suback_encode(request->answer_type, &suback, connection->version, NULL, packet);
    connection_send(connection, packet->data, packet->len);
    g_free(reasons);
    for (unsigned i = 0; request->answer_type == PACKET_SUBACK && i < request->count; i++) {
        send_retained(connection, &request->filters[i]);
    }
}

static void finish(void *owner)
{
    struct request *request = owner;
    struct connection *connection = broker_find(request->broker, request->client_id);
    if (connection && connection->number == request->connection_number &&
        connection_is_active(connection)) {
        answer(connection, request);
    }
    request_free(request);
}

/* With other nodes a subscription is one when they know of it too. UNSUBACK stands in the same
 * line.
 */
static void settle(struct request *request)
{
    struct remote *remote = request->broker->remote;

    if (--request->open == 0 &&
        !(remote && remote_sync(remote, request->is_of_log, finish, request))) {
        finish(request);
    }
}

static void on_subscribed(void *owner, uint64_t token, const struct state_result *result)
{
    struct request_filter *filter = owner;

    filter->reason = result->error != 0    ? REASON_QUOTA_EXCEEDED
                     : result->reason != 0 ? result->reason
                                           : filter->options.qos;
    filter->is_granted = filter->reason < REASON_UNSPECIFIED;
    filter->is_new = !result->subscription_existed;
    settle(filter->request);
}

static void on_unsubscribed(void *owner, uint64_t token, const struct state_result *result)
{
    struct request_filter *filter = owner;

    filter->reason = result->error != 0 ? REASON_UNSPECIFIED : result->reason;
    settle(filter->request);
}

/* ---- one filter ---- */

static uint8_t check_filter(struct connection *connection,
                            const struct packet_subscription *subscription)
{
    struct broker *broker = connection->broker;
    struct bytes share, rest = subscription->filter;
    bool is_shared = false;

    if (!topic_filter_is_valid(subscription->filter, broker->settings->topic_levels_max)) {
        return REASON_TOPIC_FILTER_INVALID;
    }
    is_shared = topic_filter_split_shared(subscription->filter, &share, &rest);
    if (is_shared && subscription->no_local) {
        return REASON_PROTOCOL_ERROR; /* 3.8.3-4 */
    }
    if (connection->needs_access_checks &&
        !access_may_subscribe(broker->access, &connection->identity,
                              session_client_id(connection->session), rest)) {
        return REASON_NOT_AUTHORIZED;
    }
    return 0;
}

static void subscribe_live(struct connection *connection, struct request_filter *filter)
{
    enum subscribe_result result =
        session_subscribe(connection->session, bytes_from_string(filter->filter), &filter->options);

    filter->is_granted = result != SUBSCRIBE_QUOTA;
    filter->reason = filter->is_granted ? filter->options.qos : REASON_QUOTA_EXCEEDED;
    filter->is_new = result == SUBSCRIBE_NEW;
}

static void subscribe_in_state(struct connection *connection, struct request_filter *filter)
{
    struct request *request = filter->request;
    struct state_completion completion = {on_subscribed, filter, 0, request->connection_number};
    struct bytes text = bytes_from_string(filter->filter);

    if (state_propose_subscribe(request->broker->state, session_client_id(connection->session),
                                text, &filter->options, &completion) < 0) {
        filter->reason = REASON_QUOTA_EXCEEDED;
        return;
    }
    request->open++;
}

/* False when the packet as a whole is an error. */
static bool add_filter(struct connection *connection, struct request *request,
                       const struct packet_subscription *subscription, uint32_t subscription_id)
{
    struct request_filter *filter = &request->filters[request->count++];

    filter->request = request;
    filter->filter = g_strndup((const char *)subscription->filter.at, subscription->filter.length);
    filter->options = (struct subscription_options){
        .subscription_id = subscription_id,
        .qos = subscription->qos,
        .no_local = subscription->no_local,
        .retain_as_published = subscription->retain_as_published,
        .retain_handling = subscription->retain_handling,
    };
    filter->reason = check_filter(connection, subscription);
    if (filter->reason == REASON_PROTOCOL_ERROR) {
        connection_fail(connection, REASON_PROTOCOL_ERROR, "no-local on a shared subscription");
        return false;
    }
    if (filter->reason != 0) {
        log_info("subscription refused", "client=%s reason=0x%02x", connection->session->client_id,
                 filter->reason);
    } else if (connection->is_persistent) {
        subscribe_in_state(connection, filter);
    } else {
        subscribe_live(connection, filter);
    }
    sys_topics_on_subscribe(connection->broker, subscription->filter);
    return true;
}

void subscribe_receive(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_subscribe packet;
    struct packet_subscription subscription;
    int reason = packet_subscribe_decode(frame, connection->version, &packet);

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed SUBSCRIBE");
        return;
    }
    uint32_t id = properties_has(&packet.properties, PROPERTY_SUBSCRIPTION_ID)
                      ? packet.properties.subscription_id
                      : 0;
    struct request *request =
        request_new(connection, PACKET_SUBACK, packet.packet_id, packet.count);
    while (packet_subscribe_next(&packet, connection->version, &subscription)) {
        if (!add_filter(connection, request, &subscription, id)) {
            break;
        }
    }
    settle(request);
}

/* ---- UNSUBSCRIBE ---- */

static void remove_filter(struct connection *connection, struct request *request, struct bytes text)
{
    struct request_filter *filter = &request->filters[request->count++];
    struct state_completion completion = {on_unsubscribed, filter, 0, request->connection_number};

    filter->request = request;
    if (!connection->is_persistent) {
        filter->reason = session_unsubscribe(connection->session, text)
                             ? REASON_SUCCESS
                             : REASON_NO_SUBSCRIPTION_EXISTED;
    } else if (state_propose_unsubscribe(request->broker->state,
                                         session_client_id(connection->session), text,
                                         &completion) < 0) {
        filter->reason = REASON_UNSPECIFIED;
    } else {
        request->open++;
    }
}

void unsubscribe_receive(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_subscribe packet;
    struct bytes filter;
    int reason = packet_unsubscribe_decode(frame, connection->version, &packet);

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed UNSUBSCRIBE");
        return;
    }
    struct request *request =
        request_new(connection, PACKET_UNSUBACK, packet.packet_id, packet.count);
    while (packet_unsubscribe_next(&packet, &filter)) {
        remove_filter(connection, request, filter);
    }
    settle(request);
}

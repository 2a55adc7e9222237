/* One bridge; see bridge.h.
 *
 *   WAITING --timer--> REACHING --stream--> REMOTE --CONNACK 0--> LOCAL --CONNACK 0, both
 * subscribed--> RUNNING ^                  |                   |                      | |
 *      +------------------+-------- any error: both clients go, the delay doubles up to a minute
 * ------------+
 *
 * The remote side comes first: while it is away the local client is too, and its session's queue
 * keeps what is to go out. */
#include "base/cleanup.h"
#include "base/log.h"
#include "bridge/bridge_private.h"
#include "bridge/waiting.h"
#include "loop/loop.h"
#include "net/connector.h"
#include "net/stream.h"
#include "net/tls.h"
#include "packet/reason.h"
#include "topic/name.h"
#include <errno.h>

#define RETRY_MS_LEAST     1000
#define RETRY_MS_MOST      60000
#define CONNECT_TIMEOUT_MS 10000
#define RECEIVE_MAXIMUM    100
#define PACKET_BYTES_MAX   (16u * 1024 * 1024) /* of the foreign broker's packets */

/* ---- ending and trying again ---- */

static void stop_side(struct bridge_side *side, uint8_t reason)
{
    if (side->client) {
        side->last_packet_id = client_last_packet_id(side->client);
        client_free(TAKE(side->client), reason);
    }
    waiting_clear(&side->waiting); /* not acknowledged: it comes again */
}

static void stop(struct bridge *bridge)
{
    g_clear_pointer(&bridge->connector, connector_free);
    stop_side(&bridge->local, REASON_DISCONNECT_WITH_WILL);
    stop_side(&bridge->remote, REASON_SUCCESS);
    bridge->is_connected = false;
}

static void fail(struct bridge *bridge, const char *side, const char *text)
{
    if (g_strcmp0(bridge->error, text) != 0) {
        log_warning("bridge interrupted", "bridge=%s side=%s error=\"%s\"", bridge->config->name,
                    side, text);
    }
    g_free(bridge->error);
    bridge->error = g_strdup_printf("%s: %s", side, text);
    stop(bridge);
    timer_start(bridge->timer, bridge->retry_ms);
    bridge->retry_ms = MIN(bridge->retry_ms * 2, RETRY_MS_MOST);
}

static void on_local_end(void *owner, uint8_t reason, const char *text)
{
    fail(owner, "local", text);
}

static void on_remote_end(void *owner, uint8_t reason, const char *text)
{
    fail(owner, "remote", text);
}

/* ---- messages ---- */

/* A publish that is to be acknowledged where it came from: packed into the token of the publish
 * there. */
static uint64_t token_of(const struct packet_publish *publish)
{
    return (uint64_t)publish->qos << 16 | publish->packet_id;
}

static const struct bridge_topic *find_topic(const struct bridge *bridge, struct bytes name,
                                             bool is_out)
{
    for (unsigned i = 0; i < bridge->config->topics->len; i++) {
        const struct bridge_topic *topic = bridge->config->topics->pdata[i];
        const char *filter = is_out ? topic->local_filter : topic->remote_filter;
        if ((topic->direction & (is_out ? BRIDGE_OUT : BRIDGE_IN)) &&
            topic_filter_matches(bytes_from_string(filter), name)) {
            return topic;
        }
    }
    return NULL;
}

static void acknowledge(struct bridge_side *side, uint64_t token)
{
    uint8_t qos = (uint8_t)(token >> 16);

    if (side->client && qos > 0) {
        client_acknowledge(side->client, qos, (uint16_t)token, REASON_SUCCESS);
    }
}

/* What the other side can never take is dropped, else it would come again for ever. */
static void drop(struct bridge *bridge, struct bridge_side *from, uint64_t token, const char *why)
{
    log_warning("bridge message dropped", "bridge=%s error=\"%s\"", bridge->config->name, why);
    acknowledge(from, token);
}

static void send_on(struct bridge *bridge, const struct client_message *message, uint64_t token,
                    bool is_out)
{
    struct bridge_side *from = is_out ? &bridge->local : &bridge->remote;
    struct bridge_side *to = is_out ? &bridge->remote : &bridge->local;
    bool must_wait = message->qos > 0 && (!to->client || !g_queue_is_empty(&to->waiting));
    int r = must_wait || !to->client ? -EAGAIN : client_publish(to->client, message, token);

    if (r == 0) {
        *(is_out ? &bridge->sent : &bridge->received) += 1;
    } else if (r == -EAGAIN && message->qos > 0) {
        waiting_push(&to->waiting, message, token);
    } else if (r != -EAGAIN) {
        drop(bridge, from, token, "larger than the other broker takes");
    }
}

/* There is room again on this side. */
static void send_waiting(struct bridge *bridge, bool is_out)
{
    struct bridge_side *from = is_out ? &bridge->local : &bridge->remote;
    struct bridge_side *to = is_out ? &bridge->remote : &bridge->local;
    const struct waiting *first;

    while (to->client && (first = waiting_first(&to->waiting)) != NULL) {
        int r = client_publish(to->client, &first->message, first->token);
        if (r == -EAGAIN) {
            return;
        }
        if (r == 0) {
            *(is_out ? &bridge->sent : &bridge->received) += 1;
        } else {
            drop(bridge, from, first->token, "larger than the other broker takes");
        }
        waiting_pop(&to->waiting);
    }
}

static void forward(struct bridge *bridge, const struct packet_publish *publish, bool is_out)
{
    const struct bridge_topic *topic = find_topic(bridge, publish->topic, is_out);

    if (!topic) { /* of a subscription that the session had before */
        acknowledge(is_out ? &bridge->local : &bridge->remote, token_of(publish));
        return;
    }
    size_t strip = strlen(is_out ? topic->local_prefix : topic->remote_prefix);
    g_autoptr(GString) name = g_string_new(is_out ? topic->remote_prefix : topic->local_prefix);
    g_string_append_len(name, (const char *)publish->topic.at + strip,
                        (gssize)(publish->topic.length - strip));
    g_autoptr(GByteArray) properties = g_byte_array_new();
    properties_append_forwarded(&publish->properties, properties);
    struct client_message message = {
        .topic = {(const uint8_t *)name->str, name->len},
        .payload = publish->payload,
        .properties = {properties->data, properties->len},
        .qos = publish->qos,
        .retain = publish->retain,
        .has_expiry = properties_has(&publish->properties, PROPERTY_MESSAGE_EXPIRY),
        .expiry_s = publish->properties.message_expiry_s,
    };
    send_on(bridge, &message, token_of(publish), is_out);
}

static void on_local_message(void *owner, const struct packet_publish *publish)
{
    forward(owner, publish, true);
}

static void on_remote_message(void *owner, const struct packet_publish *publish)
{
    forward(owner, publish, false);
}

static void published(struct bridge *bridge, uint64_t token, uint8_t reason, bool is_out)
{
    struct bridge_side *from = is_out ? &bridge->local : &bridge->remote;

    if (reason >= REASON_UNSPECIFIED) {
        drop(bridge, from, token, reason_to_string(reason));
    } else {
        acknowledge(from, token);
    }
    send_waiting(bridge, is_out);
}

static void on_local_published(void *owner, uint64_t token, uint8_t reason)
{
    published(owner, token, reason, false);
}

static void on_remote_published(void *owner, uint64_t token, uint8_t reason)
{
    published(owner, token, reason, true);
}

/* ---- connecting ---- */

/* Tokens of subscriptions: the topic's index, and which side. */
#define TOKEN_REMOTE      0x10000u
#define TOKEN_UNSUBSCRIBE UINT64_MAX

static void notify(struct bridge *bridge, struct client *client)
{
    g_autofree char *topic =
        g_strdup_printf("$SYS/broker/connection/%s/state", bridge->config->client_id);
    struct client_message message = {.topic = bytes_from_string(topic),
                                     .payload = bytes_from_string("1"),
                                     .qos = 1,
                                     .retain = true};

    if (bridge->config->notifications) {
        client_publish(client, &message, 0);
    }
}

static void subscribe(struct bridge *bridge, struct client *client, bool is_local)
{
    for (unsigned i = 0; i < bridge->config->topics->len; i++) {
        const struct bridge_topic *topic = bridge->config->topics->pdata[i];
        struct packet_subscription subscription = {
            .filter = bytes_from_string(is_local ? topic->local_filter : topic->remote_filter),
            .qos = topic->qos,
            .no_local = is_local || bridge->config->version == PACKET_MQTT_5,
            .retain_as_published = is_local || bridge->config->version == PACKET_MQTT_5,
            .retain_handling = is_local || bridge->config->version == PACKET_MQTT_5,
        };
        if (topic->direction & (is_local ? BRIDGE_OUT : BRIDGE_IN)) {
            client_subscribe(client, &subscription, 1, 0, is_local ? i : i | TOKEN_REMOTE);
            bridge->unanswered++;
        }
    }
}

/* The session is that of the earlier configuration. */
static void unsubscribe_obsolete(struct bridge *bridge)
{
    for (unsigned i = 0; bridge->obsolete && i < bridge->obsolete->len; i++) {
        struct bytes filter = bytes_from_string(bridge->obsolete->pdata[i]);
        client_unsubscribe(bridge->local.client, &filter, 1, TOKEN_UNSUBSCRIBE);
    }
    g_clear_pointer(&bridge->obsolete, g_ptr_array_unref);
}

static void running(struct bridge *bridge)
{
    bridge->is_connected = true;
    bridge->retry_ms = RETRY_MS_LEAST;
    notify(bridge, bridge->local.client);
    log_info("bridge running", "bridge=%s address=%s:%u", bridge->config->name,
             bridge->config->host, bridge->config->port);
}

static void topic_refused(struct bridge *bridge, uint64_t token, uint8_t reason)
{
    const struct bridge_topic *topic = bridge->config->topics->pdata[token & ~TOKEN_REMOTE];
    bool is_remote = token & TOKEN_REMOTE;
    const char *filter = is_remote ? topic->remote_filter : topic->local_filter;

    log_warning("bridge topic refused", "bridge=%s side=%s filter=%s error=\"%s\"",
                bridge->config->name, is_remote ? "remote" : "local", filter,
                reason_to_string(reason));
    g_free(bridge->error);
    bridge->error =
        g_strdup_printf("%s: subscription '%s' refused: %s", is_remote ? "remote" : "local", filter,
                        reason_to_string(reason));
}

static void on_subscribed(void *owner, uint64_t token, struct bytes reasons)
{
    struct bridge *bridge = owner;

    if (token == TOKEN_UNSUBSCRIBE) {
        return;
    }
    if (reasons.length > 0 && reasons.at[0] >= REASON_UNSPECIFIED) {
        topic_refused(bridge, token, reasons.at[0]);
    }
    if (--bridge->unanswered == 0) {
        running(bridge);
    }
}

static void on_local_connected(void *owner, const struct packet_connack *connack)
{
    struct bridge *bridge = owner;

    if (connack->reason != 0) {
        return;
    }
    g_clear_pointer(&bridge->error, g_free);
    bridge->unanswered = 0;
    unsubscribe_obsolete(bridge);
    subscribe(bridge, bridge->local.client, true);
    subscribe(bridge, bridge->remote.client, false);
    send_waiting(bridge, false);
}

static const struct client_events local_events = {
    on_local_connected, on_local_message, on_local_published, on_subscribed, on_local_end, NULL};

/* Its will says on the own broker that the bridge is down. */
static void connect_local(struct bridge *bridge)
{
    const struct bridges_options *options = bridge->options;
    g_autofree char *id = bridge_local_id(bridge->config->name);
    g_autofree char *topic =
        g_strdup_printf("$SYS/broker/connection/%s/state", bridge->config->client_id);
    struct stream *stream = options->open_local(options->owner, id);
    struct properties_builder properties;

    if (!stream) {
        fail(bridge, "local", "no connection to the own broker");
        return;
    }
    properties_builder_init(&properties);
    properties_add_u32(&properties, PROPERTY_SESSION_EXPIRY, UINT32_MAX);
    properties_add_u16(&properties, PROPERTY_RECEIVE_MAXIMUM, RECEIVE_MAXIMUM);
    struct client_options client = {
        .connect = {.version = PACKET_MQTT_5,
                    .clean_start = bridge->config->clean_start,
                    .client_id = bytes_from_string(id),
                    .has_will = bridge->config->notifications,
                    .will = {.topic = bytes_from_string(topic),
                             .payload = bytes_from_string("0"),
                             .qos = 1,
                             .retain = true}},
        .connect_properties = &properties,
        .last_packet_id = bridge->local.last_packet_id,
        .manual_ack = true,
    };
    bridge->local.client = client_new(options->loop, stream, &client, &local_events, bridge);
    properties_builder_deinit(&properties);
}

static void on_remote_connected(void *owner, const struct packet_connack *connack)
{
    if (connack->reason == 0) {
        connect_local(owner);
    }
}

static const struct client_events remote_events = {on_remote_connected, on_remote_message,
                                                   on_remote_published, on_subscribed,
                                                   on_remote_end,       NULL};

static void on_reached(void *owner, struct stream *stream, const char *error)
{
    struct bridge *bridge = owner;
    const struct bridge_config *config = bridge->config;
    struct properties_builder properties;

    g_clear_pointer(&bridge->connector, connector_free);
    if (!stream) {
        fail(bridge, "remote", error);
        return;
    }
    properties_builder_init(&properties);
    properties_add_u32(&properties, PROPERTY_SESSION_EXPIRY, config->clean_start ? 0 : UINT32_MAX);
    properties_add_u16(&properties, PROPERTY_RECEIVE_MAXIMUM, RECEIVE_MAXIMUM);
    struct client_options client = {
        .connect = {.version = config->version,
                    .clean_start = config->clean_start,
                    .keep_alive_s = config->keep_alive_s,
                    .client_id = bytes_from_string(config->client_id),
                    .has_username = config->username != NULL,
                    .username = bytes_from_string(config->username),
                    .has_password = config->password != NULL,
                    .password = bytes_from_string(config->password)},
        .connect_properties = config->version == PACKET_MQTT_5 ? &properties : NULL,
        .packet_bytes_max = PACKET_BYTES_MAX,
        .last_packet_id = bridge->remote.last_packet_id,
        .manual_ack = true,
    };
    bridge->remote.client =
        client_new(bridge->options->loop, stream, &client, &remote_events, bridge);
    properties_builder_deinit(&properties);
}

static void on_timer(void *owner)
{
    struct bridge *bridge = owner;

    bridge->connector =
        connector_new(bridge->options->loop, bridge->config->host, bridge->config->port,
                      bridge->tls, CONNECT_TIMEOUT_MS, on_reached, bridge);
}

/* ---- life ---- */

char *bridge_local_id(const char *name)
{
    return g_strconcat("bridge-", name, NULL);
}

void bridge_free(struct bridge *bridge)
{
    stop(bridge);
    timer_free(bridge->timer);
    if (bridge->tls) {
        tls_context_free(bridge->tls);
    }
    if (bridge->obsolete) {
        g_ptr_array_unref(bridge->obsolete);
    }
    bridge_config_free(bridge->config);
    g_free(bridge->error);
    g_free(bridge);
}

int bridge_make_tls(const struct bridge_config *config, struct tls_context **tls, GError **error)
{
    struct tls_options options = {.is_client = true,
                                  .certificate_file = config->certificate_file,
                                  .key_file = config->key_file,
                                  .ca_file = config->ca_file,
                                  .insecure = config->insecure};

    if (!config->has_tls) {
        *tls = NULL;
        return 0;
    }
    *tls = tls_context_new(&options, error);
    if (!*tls) {
        g_prefix_error(error, "bridge '%s': ", config->name);
        return -EINVAL;
    }
    return 0;
}

struct bridge *bridge_new(const struct bridges_options *options, struct bridge_config *config,
                          GError **error)
{
    struct tls_context *tls;

    if (bridge_make_tls(config, &tls, error) < 0) {
        return NULL;
    }
    struct bridge *bridge = g_new0(struct bridge, 1);
    bridge->options = options;
    bridge->config = config;
    bridge->tls = tls;
    bridge->retry_ms = RETRY_MS_LEAST;
    /* The sessions may hold ids of an earlier life of this process. */
    bridge->remote.last_packet_id = (uint16_t)g_random_int();
    bridge->local.last_packet_id = (uint16_t)g_random_int();
    bridge->timer = timer_new(options->loop, on_timer, bridge);
    timer_start(bridge->timer, 0);
    return bridge;
}

/* ---- what a changed bridge leaves behind ---- */

static bool has_local_filter(const struct bridge_config *config, const char *filter)
{
    for (unsigned i = 0; i < config->topics->len; i++) {
        const struct bridge_topic *topic = config->topics->pdata[i];
        if ((topic->direction & BRIDGE_OUT) && strcmp(topic->local_filter, filter) == 0) {
            return true;
        }
    }
    return false;
}

static void add_obsolete(struct bridge *bridge, const char *filter)
{
    if (!has_local_filter(bridge->config, filter)) {
        bridge->obsolete =
            bridge->obsolete ? bridge->obsolete : g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(bridge->obsolete, g_strdup(filter));
    }
}

void bridge_inherit(struct bridge *bridge, const struct bridge *old)
{
    for (unsigned i = 0; old->obsolete && i < old->obsolete->len; i++) {
        add_obsolete(bridge, old->obsolete->pdata[i]);
    }
    for (unsigned i = 0; i < old->config->topics->len; i++) {
        const struct bridge_topic *topic = old->config->topics->pdata[i];
        if (topic->direction & BRIDGE_OUT) {
            add_obsolete(bridge, topic->local_filter);
        }
    }
    bridge->sent = old->sent;
    bridge->received = old->received;
}

/* One bridge, and the set of them; see bridge.h.
 *
 *   WAITING --timer--> REACHING --stream--> REMOTE --CONNACK 0--> LOCAL --CONNACK 0, both
 * subscribed--> RUNNING ^                  |                   |                      | |
 *      +------------------+-------- any error: both clients go, the delay doubles up to a minute
 * ------------+
 *
 * The remote side comes first: while it is away the local client is too, and its session's queue
 * keeps what is to go out. */
#include "bridge/bridge.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "bridge/bridge_config.h"
#include "client/client.h"
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

struct bridge {
    struct bridges *bridges; /* borrowed */
    struct bridge_config *config;
    struct tls_context *tls;
    struct timer *timer;
    struct connector *connector;
    struct client *remote, *local;
    char *error;
    uint64_t retry_ms, sent, received;
    bool is_connected;
};

struct bridges {
    struct bridges_options options;
    GPtrArray *list; /* of struct bridge, owned */
};

/* ---- ending and trying again ---- */

static void stop(struct bridge *bridge)
{
    g_clear_pointer(&bridge->connector, connector_free);
    if (bridge->local) {
        client_free(TAKE(bridge->local), REASON_SUCCESS);
    }
    if (bridge->remote) {
        client_free(TAKE(bridge->remote), REASON_SUCCESS);
    }
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

static void forward(struct bridge *bridge, const struct packet_publish *publish, bool is_out)
{
    struct client *from = is_out ? bridge->local : bridge->remote;
    struct client *to = is_out ? bridge->remote : bridge->local;
    const struct bridge_topic *topic = find_topic(bridge, publish->topic, is_out);
    int r = -ENOENT;

    if (topic && to) {
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
        r = client_publish(to, &message, token_of(publish));
        *(is_out ? &bridge->sent : &bridge->received) += r == 0;
    }
    if (publish->qos > 0 && r < 0) { /* nowhere to go, or larger than the other side takes */
        client_acknowledge(from, publish->qos, publish->packet_id, REASON_SUCCESS);
    }
}

static void on_local_message(void *owner, const struct packet_publish *publish)
{
    forward(owner, publish, true);
}

static void on_remote_message(void *owner, const struct packet_publish *publish)
{
    forward(owner, publish, false);
}

static void acknowledge(struct client *client, uint64_t token)
{
    uint8_t qos = (uint8_t)(token >> 16);

    if (client && qos > 0) {
        client_acknowledge(client, qos, (uint16_t)token, REASON_SUCCESS);
    }
}

static void on_local_published(void *owner, uint64_t token, uint8_t reason)
{
    acknowledge(((struct bridge *)owner)->remote, token);
}

static void on_remote_published(void *owner, uint64_t token, uint8_t reason)
{
    acknowledge(((struct bridge *)owner)->local, token);
}

/* ---- connecting ---- */

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
        };
        if (topic->direction & (is_local ? BRIDGE_OUT : BRIDGE_IN)) {
            client_subscribe(client, &subscription, 1, 0, i);
        }
    }
}

static void on_subscribed(void *owner, uint64_t token, struct bytes reasons)
{
    struct bridge *bridge = owner;

    if (reasons.length > 0 && reasons.at[0] >= REASON_UNSPECIFIED) {
        const struct bridge_topic *topic = bridge->config->topics->pdata[token];
        log_warning("bridge topic refused", "bridge=%s filter=%s error=\"%s\"",
                    bridge->config->name, topic->local_filter, reason_to_string(reasons.at[0]));
    }
}

static void on_local_connected(void *owner, const struct packet_connack *connack)
{
    struct bridge *bridge = owner;

    if (connack->reason != 0) {
        return;
    }
    subscribe(bridge, bridge->local, true);
    subscribe(bridge, bridge->remote, false);
    notify(bridge, bridge->local);
    bridge->is_connected = true;
    bridge->retry_ms = RETRY_MS_LEAST;
    g_clear_pointer(&bridge->error, g_free);
    log_info("bridge running", "bridge=%s address=%s:%u", bridge->config->name,
             bridge->config->host, bridge->config->port);
}

static const struct client_events local_events = {
    on_local_connected, on_local_message, on_local_published, on_subscribed, on_local_end, NULL};

/* Its will says on the own broker that the bridge is down. */
static void connect_local(struct bridge *bridge)
{
    struct bridges_options *options = &bridge->bridges->options;
    g_autofree char *id = g_strconcat("bridge-", bridge->config->name, NULL);
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
        .manual_ack = true,
    };
    bridge->local = client_new(options->loop, stream, &client, &local_events, bridge);
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
        .manual_ack = true,
    };
    bridge->remote =
        client_new(bridge->bridges->options.loop, stream, &client, &remote_events, bridge);
    properties_builder_deinit(&properties);
}

static void on_timer(void *owner)
{
    struct bridge *bridge = owner;

    bridge->connector =
        connector_new(bridge->bridges->options.loop, bridge->config->host, bridge->config->port,
                      bridge->tls, CONNECT_TIMEOUT_MS, on_reached, bridge);
}

/* ---- the set ---- */

static void bridge_free(void *pointer)
{
    struct bridge *bridge = pointer;

    stop(bridge);
    timer_free(bridge->timer);
    if (bridge->tls) {
        tls_context_free(bridge->tls);
    }
    bridge_config_free(bridge->config);
    g_free(bridge->error);
    g_free(bridge);
}

static struct bridge *bridge_new(struct bridges *bridges, struct bridge_config *config,
                                 GError **error)
{
    struct tls_context *tls = NULL;

    if (config->has_tls) {
        struct tls_options options = {.is_client = true,
                                      .certificate_file = config->certificate_file,
                                      .key_file = config->key_file,
                                      .ca_file = config->ca_file,
                                      .insecure = config->insecure};
        tls = tls_context_new(&options, error);
        if (!tls) {
            g_prefix_error(error, "bridge '%s': ", config->name);
            return NULL;
        }
    }
    struct bridge *bridge = g_new0(struct bridge, 1);
    bridge->bridges = bridges;
    bridge->config = config;
    bridge->tls = tls;
    bridge->retry_ms = RETRY_MS_LEAST;
    bridge->timer = timer_new(bridges->options.loop, on_timer, bridge);
    return bridge;
}

struct bridges *bridges_new(const struct bridges_options *options)
{
    struct bridges *bridges = g_new0(struct bridges, 1);

    bridges->options = *options;
    bridges->list = g_ptr_array_new_with_free_func(bridge_free);
    return bridges;
}

void bridges_free(struct bridges *bridges)
{
    g_ptr_array_unref(bridges->list);
    g_free(bridges);
}

int bridges_check(const char *text, GError **error)
{
    GPtrArray *configs = bridge_config_parse(text, error);

    if (!configs) {
        return -EINVAL;
    }
    g_ptr_array_unref(configs);
    return 0;
}

/* Takes an unchanged bridge out of the old list, so that it goes on without a break. */
static struct bridge *keep(GPtrArray *old, const struct bridge_config *config)
{
    for (unsigned i = 0; i < old->len; i++) {
        struct bridge *bridge = old->pdata[i];
        if (bridge_config_equal(bridge->config, config)) {
            g_ptr_array_steal_index_fast(old, i);
            return bridge;
        }
    }
    return NULL;
}

int bridges_configure(struct bridges *bridges, const char *text, GError **error)
{
    GPtrArray *configs = bridge_config_parse(text, error);
    GPtrArray *fresh = g_ptr_array_new_with_free_func(bridge_free);

    if (!configs) {
        g_ptr_array_unref(fresh);
        return -EINVAL;
    }
    for (unsigned i = 0; i < configs->len; i++) {
        struct bridge *bridge = keep(bridges->list, configs->pdata[i]);
        if (!bridge) {
            bridge = bridge_new(bridges, configs->pdata[i], error);
            if (!bridge) {
                g_ptr_array_extend_and_steal(bridges->list, fresh);
                g_ptr_array_unref(configs);
                return -EINVAL;
            }
            configs->pdata[i] = NULL; /* it is the bridge's now */
            timer_start(bridge->timer, 0);
        }
        g_ptr_array_add(fresh, bridge);
    }
    g_ptr_array_unref(configs);
    g_ptr_array_unref(bridges->list);
    bridges->list = fresh;
    return 0;
}

void bridges_for_each(struct bridges *bridges,
                      void (*fn)(void *owner, const struct bridge_status *status), void *owner)
{
    for (unsigned i = 0; i < bridges->list->len; i++) {
        const struct bridge *bridge = bridges->list->pdata[i];
        g_autofree char *address =
            g_strdup_printf("%s:%u", bridge->config->host, bridge->config->port);
        struct bridge_status status = {bridge->config->name, address,      bridge->error,
                                       bridge->is_connected, bridge->sent, bridge->received};
        fn(owner, &status);
    }
}

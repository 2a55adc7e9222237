/* Happy path: resolve and connect (net/connector), log in (client/), on_up; the owner works and
 * calls mqtt_link_stop; what is pending is written, DISCONNECT sent, everything freed, and the loop
 * ends by itself because nothing is left in it.
 *
 * The first connection must succeed, else the run fails: a wrong host name is told at once. Later
 * ones are tried again after 1, 2, 4 ... 30 s, unless the broker said that this client is not
 * wanted (taken over, not authorized). */
#include "cli/mqtt/link.h"

#include "base/cleanup.h"
#include "cli/error.h"
#include "loop/loop.h"
#include "loop/signals.h"
#include "net/connector.h"
#include "packet/packet.h"
#include "packet/reason.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_MS       20000
#define FLUSH_MS         30000 /* the longest wait for output that the broker does not take */
#define RETRY_MS_MAX     30000
#define PACKET_BYTES_MAX (256u * 1024 * 1024)

struct mqtt_link {
    const struct mqtt_link_options *options;
    const struct mqtt_link_events *events;
    void *owner;
    struct loop *loop;
    struct connector *connector;
    struct client *client;
    struct timer *timer; /* the next try, or the end */
    struct signal_watch *signals[2];
    GError *error;
    uint64_t retry_ms, stop_ms;
    int status;
    bool was_up, is_up, is_stopping;
};

static void link_connect(struct mqtt_link *link);

struct loop *mqtt_link_loop(struct mqtt_link *link)
{
    return link->loop;
}

struct client *mqtt_link_client(struct mqtt_link *link)
{
    return link->is_up ? link->client : NULL;
}

void mqtt_link_stop(struct mqtt_link *link, int status)
{
    if (!link->is_stopping) {
        link->is_stopping = true;
        link->status = status;
        link->stop_ms = loop_now_ms(link->loop);
        timer_start(link->timer, 0); /* never from inside the callback that asked */
    }
}

void mqtt_link_fail(struct mqtt_link *link, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    g_autofree char *why = g_strdup_vprintf(format, list);
    va_end(list);
    if (!link->error) {
        cli_fail(&link->error, "%s", why);
        mqtt_link_stop(link, 1);
        link->status = 1; /* though it was to end well */
    }
}

static void link_drop_client(struct mqtt_link *link, uint8_t reason)
{
    link->is_up = false;
    if (link->client) {
        client_free(TAKE(link->client), reason);
    }
}

/* Frees all that keeps the loop alive. */
static void link_finish(struct mqtt_link *link)
{
    if (link->events->on_finish) {
        link->events->on_finish(link->owner, link);
    }
    if (link->connector) {
        connector_free(TAKE(link->connector));
    }
    link_drop_client(link, REASON_SUCCESS);
    timer_free(TAKE(link->timer));
    signal_watch_free(TAKE(link->signals[0]));
    signal_watch_free(TAKE(link->signals[1]));
}

static void on_timer(void *owner)
{
    struct mqtt_link *link = owner;
    if (!link->is_stopping) {
        link_drop_client(link, REASON_SUCCESS);
        link_connect(link);
        return;
    }
    bool is_pending = link->is_up && client_pending_bytes(link->client) > 0;
    if (is_pending && loop_now_ms(link->loop) - link->stop_ms < FLUSH_MS) {
        timer_start(link->timer, 2);
    } else {
        link_finish(link);
    }
}

static void on_connected(void *owner, const struct packet_connack *connack)
{
    struct mqtt_link *link = owner;
    if (connack->reason == REASON_SUCCESS) {
        link->was_up = link->is_up = true;
        link->retry_ms = 1000;
        link->events->on_up(link->owner, link);
    }
}

static void on_message(void *owner, const struct packet_publish *publish)
{
    struct mqtt_link *link = owner;
    if (link->events->on_message && !link->is_stopping) {
        link->events->on_message(link->owner, link, publish);
    }
}

static void on_published(void *owner, uint64_t token, uint8_t reason)
{
    struct mqtt_link *link = owner;
    if (link->events->on_published && !link->is_stopping) {
        link->events->on_published(link->owner, link, token, reason);
    }
}

static void on_subscribed(void *owner, uint64_t token, struct bytes reasons)
{
    struct mqtt_link *link = owner;
    if (link->events->on_subscribed && !link->is_stopping) {
        link->events->on_subscribed(link->owner, link, token, reasons);
    }
}

static bool link_is_unwanted(uint8_t reason)
{
    return reason == REASON_SESSION_TAKEN_OVER || reason == REASON_NOT_AUTHORIZED ||
           reason == REASON_BAD_USERNAME_OR_PASSWORD || reason == REASON_BANNED ||
           reason == REASON_ADMINISTRATIVE_ACTION;
}

static void link_retry_or_fail(struct mqtt_link *link, uint8_t reason, const char *text)
{
    link->is_up = false;
    if (link->is_stopping) {
        return;
    }
    const struct mqtt_target *target = link->options->target;
    if (!link->options->reconnect || !link->was_up || link_is_unwanted(reason)) {
        bool is_named = g_str_has_prefix(text, target->host); /* by the connector */
        mqtt_link_fail(link, "%s port %u: %s", target->host, target->port,
                       is_named ? text + strlen(target->host) + 2 : text);
        return;
    }
    if (!link->options->values->quiet) {
        fprintf(stderr, "microcloud: %s port %u: %s; trying again\n", target->host, target->port,
                text);
    }
    timer_start(link->timer, link->retry_ms);
    link->retry_ms = MIN(link->retry_ms * 2, RETRY_MS_MAX);
}

static void on_end(void *owner, uint8_t reason, const char *text)
{
    link_retry_or_fail(owner, reason, text);
}

static void on_packet(void *owner, bool is_sent, const struct packet_frame *frame)
{
    struct mqtt_link *link = owner;
    g_autofree char *line = packet_frame_describe(frame, link->options->target->version);
    fprintf(stderr, "%s %s %s\n", link->options->target->client_id, is_sent ? "->" : "<-", line);
}

static void link_log_in(struct mqtt_link *link, struct stream *stream)
{
    static const struct client_events quiet = {on_connected,  on_message, on_published,
                                               on_subscribed, on_end,     NULL};
    static const struct client_events noisy = {on_connected,  on_message, on_published,
                                               on_subscribed, on_end,     on_packet};
    const struct mqtt_target *target = link->options->target;
    const struct mqtt_values *values = link->options->values;
    bool is_5 = target->version == PACKET_MQTT_5;
    struct client_options options = {
        .connect = {.version = target->version,
                    .clean_start = !values->persistent,
                    .has_will = values->will_topic != NULL,
                    .has_username = target->username != NULL,
                    .has_password = target->password != NULL,
                    .keep_alive_s = (uint16_t)values->keep_alive_s,
                    .client_id = bytes_from_string(target->client_id),
                    .username = bytes_from_string(target->username),
                    .password = bytes_from_string(target->password),
                    .will = {.topic = bytes_from_string(values->will_topic),
                             .payload = bytes_from_string(values->will_payload),
                             .qos = (uint8_t)values->will_qos,
                             .retain = values->will_retain}},
        .connect_properties = is_5 ? &target->connect : NULL,
        .will_properties = is_5 ? &target->will : NULL,
        .subscribe_properties = is_5 ? &target->subscribe : NULL,
        .disconnect_properties = is_5 ? &target->disconnect : NULL,
        .packet_bytes_max = PACKET_BYTES_MAX,
    };
    link->client = client_new(link->loop, stream, &options, values->debug ? &noisy : &quiet, link);
}

static void on_stream(void *owner, struct stream *stream, const char *error)
{
    struct mqtt_link *link = owner;
    connector_free(TAKE(link->connector));
    if (stream) {
        link_log_in(link, stream);
    } else {
        link_retry_or_fail(link, 0, error);
    }
}

static void link_connect(struct mqtt_link *link)
{
    const struct mqtt_target *target = link->options->target;
    link->connector = connector_new(link->loop, target->host, target->port, target->tls, CONNECT_MS,
                                    on_stream, link);
    if (link->options->values->bind_address) {
        connector_bind(link->connector, link->options->values->bind_address);
    }
}

static void on_signal(void *owner, int number)
{
    mqtt_link_stop(owner, 0);
}

int mqtt_link_run(const struct mqtt_link_options *options, const struct mqtt_link_events *events,
                  void *owner, GError **error)
{
    struct mqtt_link link = {
        .options = options, .events = events, .owner = owner, .retry_ms = 1000};
    link.loop = loop_new();
    if (!link.loop) {
        cli_fail(error, "the event loop cannot be made: too many open files?");
        return 1;
    }
    link.timer = timer_new(link.loop, on_timer, &link);
    link.signals[0] = signal_watch_new(link.loop, SIGINT, on_signal, &link);
    link.signals[1] = signal_watch_new(link.loop, SIGTERM, on_signal, &link);
    link_connect(&link);
    loop_run(link.loop);
    loop_free(link.loop);
    if (link.error) {
        g_propagate_error(error, link.error);
    }
    return link.status;
}

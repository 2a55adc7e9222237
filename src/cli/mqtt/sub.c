/* `microcloud sub`: mosquitto_sub's flags. Subscribes, prints what comes, reconnects when the
 * broker goes away.
 *
 * Ends: after -C messages, after -W seconds (status 27, as mosquitto_sub's), with -E once
 * subscribed, with --retained-only at the first message that is not, on SIGINT and SIGTERM, or when
 * standard output is gone. Output is gathered and written once a turn of the loop. */
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/mqtt/format.h"
#include "cli/mqtt/link.h"
#include "cli/mqtt/options.h"
#include "loop/deferred.h"
#include "loop/loop.h"
#include "packet/reason.h"
#include "topic/name.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EXIT_TIMEOUT 27
#define FILTERS_MAX  1000

struct sub_values {
    struct mqtt_values mqtt;
    const char *format;
    GPtrArray *filtered_out, *unsubscribes;
    gint64 count;
    double timeout_s, random_filter;
    bool verbose, no_newline, pretty, no_retained, retained_only, remove_retained,
        retain_as_published, exit_after_subscribe;
};

#define AT(member) offsetof(struct sub_values, member)

static const struct cli_option sub_options[] = {
    {"verbose", 'v', CLI_FLAG, AT(verbose), NULL, "print the topic before the payload", 0, 0, NULL},
    {"format", 'F', CLI_TEXT, AT(format), "FORMAT",
     "print this: %t topic, %p payload, %j JSON ... (see mosquitto_sub(1))", 0, 0, NULL},
    {"pretty", 0, CLI_FLAG, AT(pretty), NULL, "%j and %J over several lines", 0, 0, NULL},
    {"no-newline", 'N', CLI_FLAG, AT(no_newline), NULL, "no end of line after a message", 0, 0,
     NULL},
    {"count", 'C', CLI_NUMBER, AT(count), "N", "end after so many messages", 1, 1e15, NULL},
    {"timeout", 'W', CLI_REAL, AT(timeout_s), "S", "end after so many seconds, with status 27",
     0.001, 1e9, NULL},
    {"exit-after-subscribe", 'E', CLI_FLAG, AT(exit_after_subscribe), NULL, "end once subscribed",
     0, 0, NULL},
    {"no-retained", 'R', CLI_FLAG, AT(no_retained), NULL, "do not print retained messages", 0, 0,
     NULL},
    {"retained-only", 0, CLI_FLAG, AT(retained_only), NULL,
     "only retained ones; end at the first that is not", 0, 0, NULL},
    {"remove-retained", 0, CLI_FLAG, AT(remove_retained), NULL,
     "remove the retained messages that come", 0, 0, NULL},
    {"retain-as-published", 0, CLI_FLAG, AT(retain_as_published), NULL,
     "the retain flag is that of the publisher; MQTT 5", 0, 0, NULL},
    {"filter-out", 'T', CLI_LIST, AT(filtered_out), "FILTER",
     "do not print what matches this (several)", 0, 0, NULL},
    {"unsubscribe", 'U', CLI_LIST, AT(unsubscribes), "FILTER", "unsubscribe from this (several)", 0,
     0, NULL},
    {"random-filter", 0, CLI_REAL, AT(random_filter), "PERCENT",
     "print only so many of all messages, at random", 0.1, 100, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

enum { TOKEN_SUBSCRIBE = 1, TOKEN_UNSUBSCRIBE };

struct sub {
    const struct sub_values *values;
    const struct mqtt_target *target;
    struct mqtt_link *link;
    struct sub_format how;
    GPtrArray *filters; /* borrowed strings */
    GString *out;
    struct deferred flush;
    struct timer *timer;
    uint64_t printed;
    bool is_started;
};

static void on_timeout(void *owner)
{
    struct sub *sub = owner;
    mqtt_link_stop(sub->link, EXIT_TIMEOUT);
}

static void sub_flush(void *owner)
{
    struct sub *sub = owner;
    errno = 0;
    bool is_gone =
        sub->out->len > 0 && fwrite(sub->out->str, 1, sub->out->len, stdout) < sub->out->len;
    g_string_truncate(sub->out, 0);
    if (fflush(stdout) == 0 && !is_gone) {
        return;
    }
    if (errno == EPIPE) { /* whoever read it has seen enough */
        mqtt_link_stop(sub->link, CLI_EXIT_ERROR);
    } else {
        mqtt_link_fail(sub->link, "standard output: %s", g_strerror(errno));
    }
}

static bool sub_is_filtered_out(const struct sub *sub, struct bytes topic)
{
    GPtrArray *list = sub->values->filtered_out;
    for (guint i = 0; list && i < list->len; i++) {
        if (topic_filter_matches(bytes_from_string(g_ptr_array_index(list, i)), topic)) {
            return true;
        }
    }
    return false;
}

static void sub_remove_retained(struct sub *sub, const struct packet_publish *publish)
{
    struct client *client = mqtt_link_client(sub->link);
    struct client_message message = {.topic = publish->topic, .qos = 1, .retain = true};
    if (client && client_publish(client, &message, 0) < 0) {
        message.qos =
            0; /* too many of them unacknowledged: the order on the connection keeps it safe */
        client_publish(client, &message, 0);
    }
}

static void sub_print(struct sub *sub, const struct packet_publish *publish)
{
    double part = sub->values->random_filter;
    if (part < 100 && g_random_double() * 100 >= part) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    sub_format_message(&sub->how, publish, &now, sub->out);
    deferred_schedule(mqtt_link_loop(sub->link), &sub->flush);
    sub->printed++;
    if (sub->values->count > 0 && sub->printed == (uint64_t)sub->values->count) {
        mqtt_link_stop(sub->link, 0);
    }
}

static void on_message(void *owner, struct mqtt_link *link, const struct packet_publish *publish)
{
    struct sub *sub = owner;
    if (sub->values->retained_only && !publish->retain) {
        mqtt_link_stop(link, 0);
        return;
    }
    if (sub_is_filtered_out(sub, publish->topic)) {
        return;
    }
    if (sub->values->remove_retained && publish->retain && publish->payload.length > 0) {
        sub_remove_retained(sub, publish);
    }
    if (!(sub->values->no_retained && publish->retain)) {
        sub_print(sub, publish);
    }
}

static void sub_subscribe(struct sub *sub, struct client *client)
{
    g_autofree struct packet_subscription *list =
        g_new0(struct packet_subscription, sub->filters->len);
    for (guint i = 0; i < sub->filters->len; i++) {
        list[i] = (struct packet_subscription){
            .filter = bytes_from_string(g_ptr_array_index(sub->filters, i)),
            .qos = (uint8_t)sub->values->mqtt.qos,
            .retain_as_published = sub->values->retain_as_published};
    }
    client_subscribe(client, list, sub->filters->len, sub->target->subscription_id,
                     TOKEN_SUBSCRIBE);
}

static void sub_unsubscribe(struct sub *sub, struct client *client)
{
    GPtrArray *names = sub->values->unsubscribes;
    g_autofree struct bytes *list = g_new0(struct bytes, names->len);
    for (guint i = 0; i < names->len; i++) {
        list[i] = bytes_from_string(g_ptr_array_index(names, i));
    }
    client_unsubscribe(client, list, names->len, TOKEN_UNSUBSCRIBE);
}

static void on_up(void *owner, struct mqtt_link *link)
{
    struct sub *sub = owner;
    if (!sub->is_started) {
        sub->is_started = true;
        sub->link = link;
        deferred_init(&sub->flush, sub_flush, sub);
        sub->timer = timer_new(mqtt_link_loop(link), on_timeout, sub);
        if (sub->values->timeout_s > 0) {
            timer_start(sub->timer, (uint64_t)(sub->values->timeout_s * 1000));
        }
    }
    struct client *client = mqtt_link_client(link);
    if (sub->filters->len > 0) {
        sub_subscribe(sub, client);
    }
    if (sub->values->unsubscribes) {
        sub_unsubscribe(sub, client);
    }
}

static void on_subscribed(void *owner, struct mqtt_link *link, uint64_t token, struct bytes reasons)
{
    struct sub *sub = owner;
    unsigned refused = 0;
    for (size_t i = 0; i < reasons.length && token == TOKEN_SUBSCRIBE; i++) {
        if (i < sub->filters->len && reasons.at[i] >= REASON_UNSPECIFIED) {
            refused++;
            if (!sub->values->mqtt.quiet) {
                fprintf(stderr, "microcloud: sub: %s: refused: %s\n",
                        (const char *)g_ptr_array_index(sub->filters, i),
                        reason_to_string(reasons.at[i]));
            }
        }
    }
    if (token == TOKEN_SUBSCRIBE && refused == reasons.length) {
        mqtt_link_fail(link, "all subscriptions were refused");
    } else if (sub->values->exit_after_subscribe &&
               (token == TOKEN_UNSUBSCRIBE || !sub->values->unsubscribes)) {
        mqtt_link_stop(link, 0);
    }
}

static void on_finish(void *owner, struct mqtt_link *link)
{
    struct sub *sub = owner;
    if (sub->is_started) {
        sub_flush(sub);
        deferred_deinit(&sub->flush);
        timer_free(sub->timer);
    }
}

static int sub_filters(struct sub *sub, GError **error)
{
    const GPtrArray *topics = sub->values->mqtt.topics;
    for (guint i = 0; topics && i < topics->len; i++) {
        g_ptr_array_add(sub->filters, g_ptr_array_index(topics, i));
    }
    if (sub->target->url_topic) {
        g_ptr_array_add(sub->filters, sub->target->url_topic);
    }
    if ((sub->filters->len == 0 && !sub->values->unsubscribes) || sub->filters->len > FILTERS_MAX) {
        cli_fail_usage(error, "-t: must be given 1 to %d times", FILTERS_MAX);
        return -1;
    }
    for (guint i = 0; i < sub->filters->len; i++) {
        const char *filter = g_ptr_array_index(sub->filters, i);
        if (!topic_filter_is_valid(bytes_from_string(filter), TOPIC_BYTES_MAX)) {
            cli_fail_usage(
                error,
                "-t: '%s' is no topic filter: + stands for a whole level, # for all that follow",
                filter);
            return -1;
        }
    }
    return sub->values->format ? sub_format_check(sub->values->format, error) : 0;
}

static int sub_run(const struct cli_call *call, GError **error)
{
    static const struct mqtt_link_events events = {.on_up = on_up,
                                                   .on_message = on_message,
                                                   .on_subscribed = on_subscribed,
                                                   .on_finish = on_finish};
    struct mqtt_target target;
    const struct sub_values *values = call->values;
    struct sub sub = {.values = values,
                      .target = &target,
                      .filters = g_ptr_array_new(),
                      .out = g_string_new(NULL)};
    sub.how =
        (struct sub_format){values->format, values->verbose, values->no_newline, values->pretty};
    int status = CLI_EXIT_ERROR;
    if (mqtt_target_init(&target, &values->mqtt, "sub", error) == 0 &&
        sub_filters(&sub, error) == 0) {
        struct mqtt_link_options options = {&target, &values->mqtt, true};
        status = mqtt_link_run(&options, &events, &sub, error);
    }
    g_ptr_array_unref(sub.filters);
    g_string_free(sub.out, TRUE);
    mqtt_target_deinit(&target);
    return status;
}

static const struct sub_values sub_defaults = {.mqtt = {MQTT_VALUES_DEFAULTS},
                                               .random_filter = 100};

const struct cli_command cli_sub = {
    .name = "sub",
    .words = "",
    .summary = "subscribe and print messages",
    .details = "The options are those of mosquitto_sub. It connects again by itself when the "
               "broker was away.",
    .example = "microcloud sub -t 'home/#' -v\n"
               "microcloud sub -t 'home/+/temperature' -F '%I %t %p' -C 10",
    .options = sub_options,
    .values_bytes = sizeof(struct sub_values),
    .defaults = &sub_defaults,
    .speaks_mqtt = true,
    .run = sub_run,
};

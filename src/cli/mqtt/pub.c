/* `microcloud pub`: mosquitto_pub's flags. One message from -m, -f, -n or -s, perhaps repeated, or
 * one a line from standard input (-l).
 *
 * Input is read on a pool thread, a piece at a time, and the next piece only when most of the last
 * has gone out: a huge file piped in never lies in memory. With QoS 1 and 2 the end waits for all
 * acknowledgements; a refused message is an error. */
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/mqtt/link.h"
#include "cli/mqtt/options.h"
#include "loop/loop.h"
#include "loop/work.h"
#include "packet/reason.h"
#include "topic/name.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES       ((size_t)64 * 1024)
#define PENDING_BYTES_MAX ((size_t)1024 * 1024)
#define READ_WAIT_MS      200
#define MESSAGE_BYTES_MAX ((size_t)268435455) /* MQTT 5, 1.5.5 */

struct pub_values {
    struct mqtt_values mqtt;
    const char *message, *file;
    bool lines, null_message, whole_stdin, retain;
    gint64 repeat, in_flight;
    double repeat_delay_s;
};

#define AT(member) offsetof(struct pub_values, member)

static const struct cli_option pub_options[] = {
    {"message", 'm', CLI_TEXT, AT(message), "TEXT", "the payload", 0, 0, NULL},
    {"file", 'f', CLI_TEXT, AT(file), "FILE", "the payload is in this file", 0, 0, NULL},
    {"stdin-line", 'l', CLI_FLAG, AT(lines), NULL, "a message for each line of standard input", 0,
     0, NULL},
    {"stdin-file", 's', CLI_FLAG, AT(whole_stdin), NULL, "standard input is the payload", 0, 0,
     NULL},
    {"null-message", 'n', CLI_FLAG, AT(null_message), NULL, "an empty payload", 0, 0, NULL},
    {"retain", 'r', CLI_FLAG, AT(retain), NULL, "the message is retained", 0, 0, NULL},
    {"repeat", 0, CLI_NUMBER, AT(repeat), "N", "send it so often (1)", 1, 1e9, NULL},
    {"repeat-delay", 0, CLI_REAL, AT(repeat_delay_s), "S", "with this pause between (0)", 0, 86400,
     NULL},
    {"max-inflight", 'M', CLI_NUMBER, AT(in_flight), "N", "unacknowledged messages at most (20)", 1,
     65535, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

struct pub {
    const struct pub_values *values;
    const struct mqtt_target *target;
    struct mqtt_link *link;
    const char *topic;
    GByteArray *payload; /* of all but -l; with -l what has been read and not been sent */
    size_t taken;        /* with -l: bytes of payload already sent */
    uint64_t left;       /* messages to be sent; UINT64_MAX while lines come */
    struct timer *timer;
    uint8_t piece[PIECE_BYTES];
    ssize_t piece_bytes;
    int read_error;
    bool is_reading, got_nothing, at_end, is_over;
};

static void pub_pump(struct pub *pub);

static void on_pub_timer(void *owner)
{
    pub_pump(owner);
}

static void pub_stop_if_done(struct pub *pub)
{
    struct client *client = mqtt_link_client(pub->link);
    if (pub->left == 0 && client && client_in_flight(client) == 0 && !pub->is_reading) {
        timer_stop(pub->timer);
        mqtt_link_stop(pub->link, 0);
    }
}

/* Returns false when it must wait. */
static bool pub_send(struct pub *pub, struct bytes payload)
{
    struct client *client = mqtt_link_client(pub->link);
    uint8_t qos = (uint8_t)pub->values->mqtt.qos;
    if (qos > 0 && client_in_flight(client) >= (uint64_t)pub->values->in_flight) {
        return false;
    }
    struct client_message message = {.topic = bytes_from_string(pub->topic),
                                     .payload = payload,
                                     .qos = qos,
                                     .retain = pub->values->retain,
                                     .has_expiry = pub->target->has_message_expiry,
                                     .expiry_s = pub->target->message_expiry_s};
    if (pub->target->version == PACKET_MQTT_5) {
        message.properties =
            (struct bytes){pub->target->publish.bytes->data, pub->target->publish.bytes->len};
    }
    int r = client_publish(client, &message, 0);
    if (r == -EMSGSIZE) {
        mqtt_link_fail(pub->link, "a message of %zu bytes is more than the broker takes",
                       payload.length);
    } else if (r < 0 && r != -EAGAIN) {
        mqtt_link_fail(pub->link, "%s", g_strerror(-r));
    }
    return r == 0;
}

/* On a pool thread. Comes back now and then without anything, so that the end need not wait for a
 * terminal. */
static void read_piece(void *owner)
{
    struct pub *pub = owner;
    struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
    pub->piece_bytes = 0;
    pub->read_error = 0;
    pub->got_nothing = poll(&ready, 1, READ_WAIT_MS) == 0;
    if (!pub->got_nothing) {
        pub->piece_bytes = read(STDIN_FILENO, pub->piece, PIECE_BYTES);
        pub->read_error = pub->piece_bytes < 0 ? errno : 0;
    }
}

static void on_piece(void *owner)
{
    struct pub *pub = owner;
    pub->is_reading = false;
    if (pub->is_over) {
        return;
    }
    if (pub->read_error == EINTR || pub->got_nothing) {
        pub_pump(pub);
        return;
    }
    if (pub->read_error) {
        mqtt_link_fail(pub->link, "standard input: %s", g_strerror(pub->read_error));
        return;
    }
    pub->at_end = pub->piece_bytes == 0;
    g_byte_array_append(pub->payload, pub->piece, (guint)pub->piece_bytes);
    if (pub->payload->len > MESSAGE_BYTES_MAX) {
        mqtt_link_fail(pub->link, "standard input: a line is longer than a message may be");
        return;
    }
    pub_pump(pub);
}

/* Sends the lines that are there. False when it must wait for the broker. */
static bool pub_send_lines(struct pub *pub)
{
    GByteArray *payload = pub->payload;
    bool may_send = true;
    while (may_send && pub->taken < payload->len) {
        const uint8_t *line = payload->data + pub->taken;
        size_t there = payload->len - pub->taken;
        const uint8_t *end = memchr(line, '\n', there);
        if (!end && !pub->at_end) {
            break;
        }
        size_t length = end ? (size_t)(end - line) : there;
        may_send = client_pending_bytes(mqtt_link_client(pub->link)) < PENDING_BYTES_MAX &&
                   pub_send(pub, (struct bytes){line, length});
        pub->taken += may_send ? length + (end ? 1 : 0) : 0;
    }
    g_byte_array_remove_range(payload, 0, (guint)pub->taken);
    pub->taken = 0;
    return may_send;
}

static void pub_pump_lines(struct pub *pub)
{
    if (!pub_send_lines(pub)) {
        timer_start(pub->timer, 2); /* QoS 0 has no acknowledgement that would wake us */
    } else if (pub->at_end) {
        pub->left = 0;
    } else if (!pub->is_reading) {
        pub->is_reading = true;
        work_submit(mqtt_link_loop(pub->link), read_piece, on_piece, pub);
    }
}

static void pub_pump_repeated(struct pub *pub)
{
    struct client *client = mqtt_link_client(pub->link);
    bool is_paced = pub->values->repeat_delay_s > 0;
    while (pub->left > 0) {
        if (client_pending_bytes(client) > PENDING_BYTES_MAX) {
            timer_start(pub->timer, 2);
            break;
        }
        if (!pub_send(pub, (struct bytes){pub->payload->data, pub->payload->len})) {
            break;
        }
        pub->left--;
        if (is_paced && pub->left > 0) {
            timer_start(pub->timer, (uint64_t)(pub->values->repeat_delay_s * 1000));
            break;
        }
    }
}

static void pub_pump(struct pub *pub)
{
    if (!mqtt_link_client(pub->link)) {
        return;
    }
    if (pub->values->lines) {
        pub_pump_lines(pub);
    } else if (!timer_is_active(pub->timer)) {
        pub_pump_repeated(pub);
    }
    pub_stop_if_done(pub);
}

static void on_up(void *owner, struct mqtt_link *link)
{
    struct pub *pub = owner;
    pub->link = link;
    pub->timer = timer_new(mqtt_link_loop(link), on_pub_timer, pub);
    pub_pump(pub);
}

static void on_finish(void *owner, struct mqtt_link *link)
{
    struct pub *pub = owner;
    pub->is_over = true;
    timer_free(pub->timer);
}

static void on_published(void *owner, struct mqtt_link *link, uint64_t token, uint8_t reason)
{
    struct pub *pub = owner;
    if (reason >= REASON_UNSPECIFIED) {
        mqtt_link_fail(link, "%s: refused: %s", pub->topic, reason_to_string(reason));
        return;
    }
    pub_pump(pub);
}

static int pub_read_whole(struct pub *pub, int fd, const char *name, GError **error)
{
    uint8_t bytes[8192];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        if (pub->payload->len + (size_t)got > MESSAGE_BYTES_MAX) {
            cli_fail(error, "%s: is longer than a message may be", name);
            return -1;
        }
        g_byte_array_append(pub->payload, bytes, (guint)got);
    }
    if (got < 0) {
        cli_fail(error, "%s: %s", name, g_strerror(errno));
        return -1;
    }
    return 0;
}

static int pub_read_payload(struct pub *pub, GError **error)
{
    const struct pub_values *values = pub->values;
    int ways = (values->message != NULL) + (values->file != NULL) + values->lines +
               values->whole_stdin + values->null_message;
    if (ways != 1) {
        cli_fail_usage(error, "needs exactly one of -m, -f, -l, -n and -s");
        return -1;
    }
    if (values->message) {
        g_byte_array_append(pub->payload, (const guint8 *)values->message,
                            (guint)strlen(values->message));
    }
    if (values->whole_stdin) {
        return pub_read_whole(pub, STDIN_FILENO, "standard input", error);
    }
    if (values->file) {
        FILE *file = fopen(values->file, "re");
        if (!file) {
            cli_fail(error, "%s: %s", values->file, g_strerror(errno));
            return -1;
        }
        int r = pub_read_whole(pub, fileno(file), values->file, error);
        fclose(file);
        return r;
    }
    return 0;
}

static int pub_topic(struct pub *pub, GError **error)
{
    GPtrArray *topics = pub->values->mqtt.topics;
    unsigned count = (topics ? topics->len : 0) + (pub->target->url_topic ? 1 : 0);
    if (count != 1) {
        cli_fail_usage(error, count == 0 ? "-t: a topic is missing" : "-t: one topic only");
        return -1;
    }
    pub->topic = topics ? g_ptr_array_index(topics, 0) : pub->target->url_topic;
    if (!topic_name_is_valid(bytes_from_string(pub->topic), TOPIC_BYTES_MAX)) {
        cli_fail_usage(error, "-t: '%s' is no topic name: it must not be empty or hold + or #",
                       pub->topic);
        return -1;
    }
    return 0;
}

static int pub_run(const struct cli_call *call, GError **error)
{
    static const struct mqtt_link_events events = {
        .on_up = on_up, .on_published = on_published, .on_finish = on_finish};
    struct mqtt_target target;
    g_autofree struct pub *pub = g_new0(struct pub, 1);
    pub->values = call->values;
    pub->target = &target;
    pub->payload = g_byte_array_new();
    int status = CLI_EXIT_ERROR;
    if (mqtt_target_init(&target, &pub->values->mqtt, "pub", error) == 0 &&
        pub_topic(pub, error) == 0 && pub_read_payload(pub, error) == 0) {
        struct mqtt_link_options options = {&target, &pub->values->mqtt, false};
        pub->left = pub->values->lines ? UINT64_MAX : (uint64_t)pub->values->repeat;
        status = mqtt_link_run(&options, &events, pub, error);
    }
    g_byte_array_unref(pub->payload);
    mqtt_target_deinit(&target);
    return status;
}

static const struct pub_values pub_defaults = {
    .mqtt = {MQTT_VALUES_DEFAULTS}, .repeat = 1, .in_flight = 20};

const struct cli_command cli_pub = {
    .name = "pub",
    .words = "",
    .summary = "publish messages",
    .details = "The options are those of mosquitto_pub.",
    .example =
        "microcloud pub -t home/lamp/set -m ON -q 1\n"
        "echo 21.5 | microcloud pub -L mqtt://sensor:secret@cloud.local/home/temperature -s -r",
    .options = pub_options,
    .values_bytes = sizeof(struct pub_values),
    .defaults = &pub_defaults,
    .speaks_mqtt = true,
    .run = pub_run,
};

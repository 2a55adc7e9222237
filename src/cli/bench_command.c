/* `microcloud bench mqtt`: options for the load generator in bench/, and its result as text or
 * JSON. */
#include "cli/bench/load.h"
#include "cli/cli.h"
#include "cli/error.h"
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

struct bench_values {
    const char *host, *subscribe_host, *username, *password, *shape;
    gint64 port, publishers, subscribers, qos, size, rate, in_flight, window, topics, connections,
        filters, messages, version, pid;
    double seconds, warmup, drain;
    bool persistent, keep, json;
};

#define AT(member) offsetof(struct bench_values, member)

static const struct cli_option bench_options[] = {
    {"host", 'h', CLI_TEXT, AT(host), "HOST", "the broker (localhost)", 0, 0, NULL},
    {"port", 'p', CLI_NUMBER, AT(port), "PORT", "its port (1883)", 1, 65535, NULL},
    {"username", 'u', CLI_TEXT, AT(username), "NAME", "user name", 0, 0, NULL},
    {"pw", 'P', CLI_TEXT, AT(password), "PASSWORD", "password", 0, 0, NULL},
    {"subscribe-host", 0, CLI_TEXT, AT(subscribe_host), "HOST",
     "flow: where the subscribers connect, another node (the same)", 0, 0, NULL},
    {"shape", 0, CLI_TEXT, AT(shape), "SHAPE",
     "flow (default), idle, subscriptions, retained or sessions", 0, 0, NULL},
    {"pubs", 0, CLI_NUMBER, AT(publishers), "N", "flow: publishers (1)", 1, 10000, NULL},
    {"subs", 0, CLI_NUMBER, AT(subscribers), "N", "flow: subscribers (1)", 0, 10000, NULL},
    {"topics", 0, CLI_NUMBER, AT(topics), "N", "flow: topics (the smaller of --pubs and --subs)", 1,
     10000, NULL},
    {"qos", 'q', CLI_NUMBER, AT(qos), "N", "quality of service (0)", 0, 2, NULL},
    {"size", 's', CLI_NUMBER, AT(size), "BYTES", "payload (64)", LOAD_PAYLOAD_BYTES_MIN,
     LOAD_PAYLOAD_BYTES_MAX, NULL},
    {"seconds", 0, CLI_REAL, AT(seconds), "S", "how long to measure (5)", 0.01, 86400, NULL},
    {"warmup", 0, CLI_REAL, AT(warmup), "S", "how long to run before (0.5)", 0, 3600, NULL},
    {"drain", 0, CLI_REAL, AT(drain), "S", "how long without any progress means lost (2)", 0.01,
     3600, NULL},
    {"rate", 0, CLI_NUMBER, AT(rate), "N", "messages a second in all (as many as go)", 1, 1e9,
     NULL},
    {"in-flight", 0, CLI_NUMBER, AT(in_flight), "N",
     "unacknowledged messages a publisher, QoS 1 and 2 (20)", 1, 65535, NULL},
    {"window", 0, CLI_NUMBER, AT(window), "N",
     "messages under way in all, publish to delivery (not held)", 1, 1e9, NULL},
    {"persistent", 0, CLI_FLAG, AT(persistent), NULL, "flow: subscribers with persistent sessions",
     0, 0, NULL},
    {"connections", 'n', CLI_NUMBER, AT(connections), "N",
     "idle, sessions, subscriptions: clients (1000)", 1, LOAD_CONNECTIONS_MAX, NULL},
    {"filters", 0, CLI_NUMBER, AT(filters), "N", "subscriptions: filters a client (1000)", 1,
     100000, NULL},
    {"messages", 0, CLI_NUMBER, AT(messages), "N", "retained: messages (100000)", 1, 10000000,
     NULL},
    {"keep", 0, CLI_FLAG, AT(keep), NULL, "leave sessions and retained messages behind", 0, 0,
     NULL},
    {"protocol-version", 'V', CLI_NUMBER, AT(version), "4|5", "MQTT version: 4 is 3.1.1 (4)", 4, 5,
     NULL},
    {"pid", 0, CLI_NUMBER, AT(pid), "PID", "the broker's process: tells its CPU time and memory", 1,
     1e9, NULL},
    {"json", 0, CLI_FLAG, AT(json), NULL, "print one JSON object", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int bench_shape(const char *text, enum load_shape *shape, GError **error)
{
    static const char *const names[] = {"flow", "idle", "subscriptions", "retained", "sessions"};
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!text || strcmp(text, names[i]) == 0) {
            *shape = (enum load_shape)i;
            return 0;
        }
    }
    g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE,
                "--shape: must be flow, idle, subscriptions, retained or sessions, got '%s'", text);
    return -1;
}

static void bench_load_options(const struct bench_values *values, struct load_options *options)
{
    *options = (struct load_options){
        .host = values->host,
        .subscribe_host = values->subscribe_host,
        .port = (uint16_t)values->port,
        .username = values->username,
        .password = values->password,
        .publishers = (unsigned)values->publishers,
        .subscribers = (unsigned)values->subscribers,
        .topics = (unsigned)values->topics,
        .qos = (unsigned)values->qos,
        .payload_bytes = (unsigned)values->size,
        .in_flight = (unsigned)values->in_flight,
        .window = (uint64_t)values->window,
        .rate_per_s = (uint64_t)values->rate,
        .seconds = values->seconds,
        .warmup_s = values->warmup,
        .drain_s = values->drain,
        .connections = (unsigned)values->connections,
        .filters = (unsigned)values->filters,
        .messages = (unsigned)values->messages,
        .version = (uint8_t)values->version,
        .persistent = values->persistent,
        .keep = values->keep,
        .pid = (pid_t)values->pid,
    };
}

/* One descriptor a connection. */
static int bench_raise_descriptors(const struct load_options *options, GError **error)
{
    unsigned wanted = 64 + (options->shape == LOAD_FLOW ? options->publishers + options->subscribers
                                                        : options->connections);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < wanted) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                    "%u open files are needed and %lu allowed: raise it with ulimit -n", wanted,
                    (unsigned long)limit.rlim_max);
        return -1;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return 0;
}

static int bench_run(const struct cli_call *call, GError **error)
{
    const struct bench_values *values = call->values;
    struct load_options options;
    bench_load_options(values, &options);
    if (bench_shape(values->shape, &options.shape, error) < 0) {
        return CLI_EXIT_USAGE;
    }
    g_autofree struct load_result *result = g_new0(struct load_result, 1);
    if (bench_raise_descriptors(&options, error) < 0 || load_run(&options, result, error) < 0) {
        return CLI_EXIT_ERROR;
    }
    g_autofree char *text = values->json ? load_result_to_json(&options, result)
                                         : load_result_to_text(&options, result);
    printf(values->json ? "%s\n" : "%s", text);
    return 0;
}

static const struct bench_values bench_defaults = {
    .host = "localhost",
    .port = 1883,
    .publishers = 1,
    .subscribers = 1,
    .size = 64,
    .in_flight = 20,
    .seconds = 5,
    .warmup = 0.5,
    .drain = 2,
    .connections = 1000,
    .filters = 1000,
    .messages = 100000,
    .version = 4,
};

const struct cli_command cli_bench_mqtt = {
    .name = "bench",
    .verb = "mqtt",
    .words = "",
    .summary = "measure an MQTT broker, this one or another",
    .details = "Works against any broker. Everything runs in one thread, and the result says how "
               "much CPU the generator took itself.",
    .example = "microcloud bench mqtt --pubs 50 --subs 10 --qos 1 --seconds 10\n"
               "microcloud bench mqtt --shape idle --connections 10000 --pid $(pidof mosquitto)",
    .options = bench_options,
    .values_bytes = sizeof(struct bench_values),
    .defaults = &bench_defaults,
    .takes_host_letter = true,
    .run = bench_run,
};

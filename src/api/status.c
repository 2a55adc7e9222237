/* How the node is: status, health, metrics, bridges. */
#include "api/cluster_view.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "bridge/bridge.h"
#include "consensus/consensus.h"
#include "mqtt/broker.h"
#include "session/store.h"
#include "state/state.h"
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- what others are made from ---- */

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file) {
        if (fscanf(file, "%llu %llu", &size, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct text_value *describe_mqtt(const struct api *api)
{
    struct text_value *value = text_new_object();
    struct broker_counters counters;

    broker_counters(api->options.broker, &counters);
    text_set_integer(value, "port", api->options.mqtt_port);
    text_set_integer(value, "tls_port", api->options.mqtts_port);
    text_set_integer(value, "clients_connected", counters.clients_connected);
    text_set_integer(value, "clients_total", counters.clients_total);
    text_set_integer(value, "clients_maximum", counters.clients_maximum);
    text_set_integer(value, "subscriptions", counters.subscriptions);
    text_set_integer(value, "retained_messages", counters.retained_messages);
    text_set_integer(value, "retained_bytes", (int64_t)counters.retained_bytes);
    text_set_integer(value, "queued_messages", (int64_t)counters.queued_messages);
    text_set_integer(value, "publish_received", (int64_t)counters.publish_received);
    text_set_integer(value, "publish_sent", (int64_t)counters.publish_sent);
    text_set_integer(value, "publish_dropped", (int64_t)counters.publish_dropped);
    text_set_integer(value, "slow_disconnects", (int64_t)counters.slow_disconnects);
    text_set_integer(value, "logins_failed", (int64_t)counters.logins_failed);
    text_set_integer(value, "uptime_s", (int64_t)((clock_now_ms() - counters.started_ms) / 1000));
    return value;
}

static struct text_value *describe_log(const struct consensus_status *status)
{
    struct text_value *value = text_new_object();

    text_set_string(value, "state", consensus_state_to_string(status->state));
    text_set_integer(value, "term", (int64_t)status->term);
    text_set_integer(value, "applied_index", (int64_t)status->applied_index);
    text_set_integer(value, "snapshot_index", (int64_t)status->snapshot_index);
    text_set_integer(value, "log_bytes", (int64_t)status->log_bytes);
    text_set_integer(value, "snapshot_bytes", (int64_t)status->snapshot_bytes);
    text_set_string(value, "engine", status->engine);
    return value;
}

void status_get(struct api_request *request)
{
    const struct api *api = request->api;
    struct consensus_status log;
    bool serves = api_takes_writes(api, &log);
    struct text_value *value = text_new_object();
    g_autofree char *upgrade = api_upgrade(api), *safety = api_safety(api);
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    text_set_string(value, "cluster", api->options.cluster);
    text_set_string(value, "node", api->options.node_name);
    text_set_string(value, "version", api->options.version);
    text_set_string(value, "leader", api_leader_name(api));
    text_set_boolean(value, "quorum", serves);
    text_set_string(value, "safety", safety);
    text_set_string(value, "upgrade", upgrade);
    text_set(value, "nodes", api_describe_nodes(api));
    text_set(value, "vips", api_describe_vips(api));
    text_set(value, "mqtt", describe_mqtt(api));
    text_set(value, "services", text_new_list());
    text_set(value, "log", describe_log(&log));
    text_set_integer(value, "state_bytes", (int64_t)state_bytes(api->options.state));
    text_set_integer(value, "memory_bytes", (int64_t)resident_bytes());
    text_set_integer(value, "pid", getpid());
    api_answer(request, 200, value);
}

void health_get(struct api_request *request)
{
    struct consensus_status log;
    struct text_value *value = text_new_object();
    bool is_well = api_takes_writes(request->api, &log);

    text_set_string(value, "status", is_well ? "ok" : consensus_state_to_string(log.state));
    api_answer(request, is_well ? 200 : 503, value);
}

static void add_bridge(void *owner, const struct bridge_status *status)
{
    struct text_value *value = text_new_object();

    text_set_string(value, "name", status->name);
    text_set_string(value, "address", status->address);
    text_set_boolean(value, "connected", status->is_connected);
    text_set_string(value, "error", status->error);
    text_set_integer(value, "sent", (int64_t)status->sent);
    text_set_integer(value, "received", (int64_t)status->received);
    text_append(owner, value);
}

void bridges_list(struct api_request *request)
{
    struct text_value *list = text_new_list();

    bridges_for_each(request->api->options.bridges, add_bridge, list);
    api_answer(request, 200, list);
}

/* ---- Prometheus ---- */

#define METRIC(name, kind, help, member)                                                           \
    {                                                                                              \
        name, kind, help, offsetof(struct broker_counters, member),                                \
            sizeof(((struct broker_counters *)0)->member)                                          \
    }

static const struct metric {
    const char *name, *kind, *help;
    size_t offset, size;
} metrics[] = {
    METRIC("mqtt_packets_received_total", "counter", "MQTT packets from clients",
           messages_received),
    METRIC("mqtt_packets_sent_total", "counter", "MQTT packets to clients", messages_sent),
    METRIC("mqtt_publish_received_total", "counter", "PUBLISH packets from clients",
           publish_received),
    METRIC("mqtt_publish_sent_total", "counter", "PUBLISH packets to clients", publish_sent),
    METRIC("mqtt_publish_dropped_total", "counter",
           "Messages not delivered: slow QoS 0 subscribers, too large for a client",
           publish_dropped),
    METRIC("mqtt_publish_expired_total", "counter", "Messages whose expiry passed before delivery",
           expired_messages),
    METRIC("mqtt_publish_refused_total", "counter", "PUBLISH packets refused", denied_publishes),
    METRIC("mqtt_bytes_received_total", "counter", "Bytes from clients", bytes_received),
    METRIC("mqtt_bytes_sent_total", "counter", "Bytes to clients", bytes_sent),
    METRIC("mqtt_connections_total", "counter", "Connections accepted", connections_total),
    METRIC("mqtt_connections_refused_total", "counter", "Connections refused", connections_refused),
    METRIC("mqtt_logins_failed_total", "counter", "Failed logins", logins_failed),
    METRIC("mqtt_takeovers_total", "counter", "Sessions taken over by a new connection", takeovers),
    METRIC("mqtt_slow_disconnects_total", "counter", "Subscribers disconnected because too slow",
           slow_disconnects),
    METRIC("mqtt_publishers_held_total", "counter",
           "Times a publisher was held back by a subscriber", publishers_held),
    METRIC("mqtt_clients_connected", "gauge", "Clients connected", clients_connected),
    METRIC("mqtt_sessions", "gauge", "Sessions, connected or not", clients_total),
    METRIC("mqtt_subscriptions", "gauge", "Subscriptions", subscriptions),
    METRIC("mqtt_retained_messages", "gauge", "Retained messages", retained_messages),
    METRIC("mqtt_retained_bytes", "gauge", "Bytes of retained messages", retained_bytes),
    METRIC("mqtt_queued_messages", "gauge", "Messages queued for sessions", queued_messages),
};

static void append_metric(GString *text, const char *name, const char *kind, const char *help,
                          double value)
{
    g_string_append_printf(
        text, "# HELP microcloud_%s %s\n# TYPE microcloud_%s %s\nmicrocloud_%s %.17g\n", name, help,
        name, kind, name, value);
}

void metrics_get(struct api_request *request)
{
    g_autoptr(GString) text = g_string_new(NULL);
    struct broker_counters counters;
    struct consensus_status log;
    struct rusage usage;

    broker_counters(request->api->options.broker, &counters);
    for (unsigned i = 0; i < G_N_ELEMENTS(metrics); i++) {
        const char *at = (const char *)&counters + metrics[i].offset;
        uint64_t value = metrics[i].size == sizeof(uint32_t) ? *(const uint32_t *)(const void *)at
                                                             : *(const uint64_t *)(const void *)at;
        append_metric(text, metrics[i].name, metrics[i].kind, metrics[i].help, (double)value);
    }
    api_takes_writes(request->api, &log);
    getrusage(RUSAGE_SELF, &usage);
    append_metric(text, "leader", "gauge", "1 when this node leads",
                  log.state == CONSENSUS_LEADING);
    append_metric(text, "log_applied_index", "counter", "Log entries applied",
                  (double)log.applied_index);
    append_metric(text, "log_bytes", "gauge", "Bytes of log since the last snapshot",
                  (double)log.log_bytes);
    append_metric(text, "state_bytes", "gauge", "Bytes of the replicated state",
                  (double)state_bytes(request->api->options.state));
    append_metric(text, "memory_bytes", "gauge", "Resident memory of the process",
                  (double)resident_bytes());
    append_metric(text, "cpu_seconds_total", "counter", "CPU time of the process",
                  (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    api_answer_text(request, "text/plain; version=0.0.4; charset=utf-8",
                    (struct bytes){(const uint8_t *)text->str, text->len});
}

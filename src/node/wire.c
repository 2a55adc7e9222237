/* Joins what never includes each other: listeners and broker, bridges and broker, settings and
 * bridges, the state's due times and the clock.
 *
 *   wire: access, broker, bridges -> the connections of earlier lives are closed
 * (state_propose_recover) -> the first user -> listeners, API unwire: listeners and bridges go,
 * clients are told, then the log may stop */
#include "node/wire.h"
#include "access/access.h"
#include "api/api.h"
#include "base/cleanup.h"
#include "base/footprint.h"
#include "base/log.h"
#include "bridge/bridge.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "net/listener.h"
#include "net/stream.h"
#include "net/stream_pair.h"
#include "net/tls.h"
#include "node/cluster.h"
#include "node/cluster_vip.h"
#include "node/first_user.h"
#include "node/node.h"
#include "state/log.h"
#include "state/propose.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define STOP_LINGER_MS 500
/* What else needs descriptors: HTTP (512), connections that are told that they are too many (64),
 * bridges, files of the log. */
#define DESCRIPTORS_OF_OTHERS 704
#define CONNECTIONS_LEAST     64
#define TICK_MS_MOST          60000 /* the clock may be set meanwhile */
#define SETTLED_MS            10000

/* ---- time: the leader looks when something is due ---- */

static void schedule_tick(struct node *node)
{
    uint64_t due = state_next_due_unix_ms(node->state);
    uint64_t now = loop_unix_ms(node->loop);

    if (due == 0 || !node->is_leading) {
        timer_stop(node->tick);
    } else {
        timer_start(node->tick, due > now ? MIN(due - now + 1, TICK_MS_MOST) : 1);
    }
}

static void on_settled(void *owner)
{
    footprint_trim();
}

void node_unsettled(struct node *node)
{
    if (node->is_serving) {
        timer_start(node->settled, SETTLED_MS);
    }
}

void node_leadership_changed(struct node *node)
{
    schedule_tick(node);
}

static void on_ticked(void *owner, uint64_t token, const struct state_result *result)
{
    schedule_tick(owner);
}

static void on_tick(void *owner)
{
    struct node *node = owner;
    uint64_t due = state_next_due_unix_ms(node->state);
    struct state_completion completion = {on_ticked, node, 0};

    if (due == 0 || due > loop_unix_ms(node->loop)) {
        schedule_tick(node);
    } else if (state_propose_tick(node->state, loop_unix_ms(node->loop), &completion) < 0) {
        timer_start(node->tick, 1000);
    }
}

static void on_due(void *owner)
{
    struct node *node = owner;

    if (node->is_serving) {
        schedule_tick(node);
    }
}

/* ---- bridges ---- */

static struct stream *open_local(void *owner, const char *name)
{
    struct node *node = owner;
    struct stream *ours, *theirs;

    if (stream_pair_new(node->loop, &ours, &theirs) < 0) {
        return NULL;
    }
    broker_accept(node->broker, theirs, name);
    return ours;
}

static void configure_bridges(struct node *node)
{
    g_autoptr(GError) error = NULL;

    if (node->is_serving &&
        bridges_configure(node->bridges, state_settings(node->state)->bridges, &error) < 0) {
        log_error("bridges not changed", "error=\"%s\"", error->message);
    }
}

static void on_settings(void *owner)
{
    configure_bridges(owner);
}

/* ---- listeners ---- */

static void on_stream(void *owner, struct stream *stream)
{
    struct node *node = owner;

    if (node->cluster) {
        cluster_vip_accepted(node->cluster->vip, stream);
    }
    broker_accept(node->broker, stream, NULL);
}

static bool listen_on(struct node *node, const struct listener_options *options)
{
    g_autoptr(GError) error = NULL;
    struct listener *listener = listener_new(node->loop, options, on_stream, node, &error);

    if (!listener) {
        node_fail(node, error->message);
        return false;
    }
    unsigned i = 0;
    while (node->listeners[i]) {
        i++;
    }
    node->listeners[i] = listener;
    return true;
}

static bool listen_mqtt(struct node *node)
{
    bool expects_proxy = node->config.proxy_protocol || state_settings(node->state)->proxy_protocol;
    struct listener_options plain = {.address = node->config.bind,
                                     .port = (uint16_t)node->config.mqtt_port,
                                     .proxy_protocol = expects_proxy};
    struct listener_options secure = {.address = node->config.bind,
                                      .port = (uint16_t)node->config.mqtts_port,
                                      .tls = node->tls,
                                      .proxy_protocol = expects_proxy};
    struct listener_options local = {.unix_path = node->config.mqtt_socket, .unix_mode = 0660};

    return (node->config.mqtt_port == 0 || listen_on(node, &plain)) &&
           (node->config.mqtts_port == 0 || listen_on(node, &secure)) &&
           (!node->config.mqtt_socket || listen_on(node, &local));
}

/* ---- TLS ---- */

static char *certificate_file(const struct node *node)
{
    return node->config.tls_certificate
               ? g_strdup(node->config.tls_certificate)
               : g_build_filename(node->config.data, "tls", "server.crt", NULL);
}

static char *key_file(const struct node *node)
{
    return node->config.tls_key ? g_strdup(node->config.tls_key)
                                : g_build_filename(node->config.data, "tls", "server.key", NULL);
}

static bool load_tls(struct node *node)
{
    g_autofree char *certificate = certificate_file(node);
    g_autofree char *key = key_file(node);
    g_autoptr(GError) error = NULL;
    struct tls_options options = {.certificate_file = certificate,
                                  .key_file = key,
                                  .ca_file = node->config.tls_ca,
                                  .require_client_certificate =
                                      node->config.require_client_certificate};

    if (!node->config.tls_certificate && access(certificate, F_OK) != 0 &&
        tls_make_self_signed(certificate, key, node->identity.name, &error) < 0) {
        node_fail(node, error->message);
        return false;
    }
    node->tls = tls_context_new(&options, &error);
    if (!node->tls) {
        node_fail(node, error->message);
    }
    return node->tls != NULL;
}

void node_reload(struct node *node)
{
    g_autoptr(GError) error = NULL;

    if (node->tls && tls_context_reload(node->tls, &error) < 0) {
        log_error("certificates not reloaded, the old ones stay", "error=\"%s\"", error->message);
        return;
    }
    if (node->api) {
        api_reload(node->api);
    }
    log_info("certificates reloaded", "node=%s", node->identity.name);
}

/* ---- API ---- */

static bool open_api(struct node *node)
{
    g_autofree char *socket_path = g_build_filename(node->config.data, "api.sock", NULL);
    g_autofree char *certificate = certificate_file(node);
    g_autofree char *key = key_file(node);
    g_autoptr(GError) error = NULL;
    struct api_options options = {
        .loop = node->loop,
        .state = node->state,
        .consensus = state_log_link_consensus(node->link),
        .access = node->access,
        .broker = node->broker,
        .bridges = node->bridges,
        .node_name = node->identity.name,
        .cluster = node->identity.cluster,
        .version = MICROCLOUD_VERSION,
        .node_id = node->identity.id,
        .cluster_calls = node->cluster ? &node->cluster->api : NULL,
        .data = node->config.data,
        .socket_path = socket_path,
        .bind = node->config.bind,
        .http_port = (uint16_t)node->config.http_port,
        .https_port = (uint16_t)node->config.https_port,
        .mqtt_port = (uint16_t)node->config.mqtt_port,
        .mqtts_port = (uint16_t)node->config.mqtts_port,
        .certificate_file = certificate,
        .key_file = key,
    };

    node->api = api_new(&options, &error);
    if (!node->api) {
        node_fail(node, error->message);
    }
    return node->api != NULL;
}

/* ---- up ---- */

static void print_welcome(const struct node *node)
{
    const char *host = node->config.bind ? node->config.bind : "localhost";

    printf("microcloud %s, node %s\n", MICROCLOUD_VERSION, node->identity.name);
    if (node->config.http_port != 0) {
        printf("  console   http://%s:%d/\n", host, node->config.http_port);
    }
    if (node->config.https_port != 0) {
        printf("  console   https://%s:%d/\n", host, node->config.https_port);
    }
    if (node->config.mqtt_port != 0) {
        printf("  MQTT      %s:%d\n", host, node->config.mqtt_port);
    }
    if (node->config.mqtts_port != 0) {
        printf("  MQTT/TLS  %s:%d\n", host, node->config.mqtts_port);
    }
    printf("  data      %s\n", node->config.data);
    if (node->identity.is_witness) {
        printf("  witness   votes with the others, serves no clients\n");
        fflush(stdout);
        return;
    }
    g_autofree char *password = g_build_filename(node->config.data, "admin-password", NULL);
    if (access(password, F_OK) == 0) {
        printf("  password  of user admin: in %s\n", password);
    } else {
        printf("  users     those of the cluster\n");
    }
    fflush(stdout);
}

static void serve(void *owner, const char *error)
{
    struct node *node = owner;

    if (node->is_stopping) {
        return;
    }
    if (error) {
        node_fail(node, error);
        return;
    }
    if (!load_tls(node) || !open_api(node) || !listen_mqtt(node)) {
        return;
    }
    node->is_serving = true;
    node_unsettled(node);
    configure_bridges(node);
    schedule_tick(node);
    log_info("serving", "node=%s mqtt_port=%d http_port=%d", node->identity.name,
             node->config.mqtt_port, node->config.http_port);
    print_welcome(node);
    node_notify("READY=1\nSTATUS=serving");
    if (node->cluster) {
        node_cluster_ready(node->cluster);
    }
}

static void recover(void *owner);

static void on_recovered(void *owner, uint64_t token, const struct state_result *result)
{
    struct node *node = owner;

    if (result->error == -ETIMEDOUT && !node->is_stopping) {
        recover(node); /* the leader was lost meanwhile */
        return;
    }
    if (result->error != 0) {
        serve(node, "the log takes no changes: is the disk full?");
        return;
    }
    first_user_ensure(node, serve);
}

static void recover(void *owner)
{
    struct node *node = owner;
    struct state_completion completion = {on_recovered, node, 0, 0};

    if (state_propose_recover(node->state, &completion) < 0) {
        serve(node, "the log takes no changes: is the disk full?");
    }
}

/* Without a descriptor the log could not go on: clients must not take them all. */
static uint32_t connections_possible(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > UINT32_MAX) {
        return UINT32_MAX;
    }
    return limit.rlim_cur > DESCRIPTORS_OF_OTHERS + CONNECTIONS_LEAST
               ? (uint32_t)limit.rlim_cur - DESCRIPTORS_OF_OTHERS
               : CONNECTIONS_LEAST;
}

void node_wire(struct node *node)
{
    struct broker_options broker = {.loop = node->loop,
                                    .state = node->state,
                                    .node_id = node->identity.id,
                                    .epoch = node->identity.epoch,
                                    .version = MICROCLOUD_VERSION,
                                    .links = node->cluster ? &node->cluster->broker_links : NULL,
                                    .cluster_topics = node->cluster ? cluster_topics : NULL,
                                    .cluster_owner = node->cluster,
                                    .connections_max = connections_possible()};
    struct bridges_options bridges = {.loop = node->loop, .open_local = open_local, .owner = node};

    node->access = access_new(node->loop, node->state);
    broker.access = node->access;
    node->broker = broker_new(&broker);
    node->bridges = bridges_new(&bridges);
    node->tick = timer_new(node->loop, on_tick, node);
    node->settled = timer_new(node->loop, on_settled, node);
    node->watch = (struct state_watch){.owner = node, .on_settings = on_settings, .on_due = on_due};
    state_add_watch(node->state, &node->watch);
    if (node->cluster) {
        node_cluster_serve(node->cluster);
        cluster_clock_wait(node->cluster, recover);
    } else {
        recover(node);
    }
}

/* ---- down ---- */

static void on_api_stopped(void *owner)
{
    node_stopped(owner);
}

static void on_broker_stopped(void *owner)
{
    struct node *node = owner;

    if (node->api) {
        api_stop(node->api, on_api_stopped, node);
    } else {
        node_stopped(node);
    }
}

void node_unwire(struct node *node)
{
    node->is_serving = false;
    for (unsigned i = 0; i < NODE_LISTENERS_MAX; i++) {
        g_clear_pointer(&node->listeners[i], listener_free);
    }
    timer_stop(node->tick);
    g_clear_pointer(&node->bridges, bridges_free);
    broker_stop(node->broker, STOP_LINGER_MS, on_broker_stopped, node);
}

void node_wire_free(struct node *node)
{
    if (!node->broker) {
        return;
    }
    if (node->api) {
        api_free(node->api);
    }
    if (node->bridges) {
        bridges_free(node->bridges);
    }
    broker_free(node->broker);
    access_free(node->access);
    state_remove_watch(node->state, &node->watch);
    timer_free(node->tick);
    timer_free(node->settled);
}

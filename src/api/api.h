/* HTTP, WebSocket and the console: the outside of everything for people and programs. Runs on the
 * daemon's loop. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct access;
struct api;
struct api_cluster;
struct bridges;
struct broker;
struct consensus;
struct loop;
struct state;

struct api_options {
    struct loop *loop;
    struct state *state;
    struct consensus *consensus;
    struct access *access;
    struct broker *broker;
    struct bridges *bridges;
    const struct api_cluster *cluster_calls; /* cluster.h; NULL = alone. The caller's */
    const char *node_name, *cluster, *version;
    uint64_t node_id;
    const char *data;                        /* directory, for doctor */
    const char *socket_path;                 /* api.sock; whoever may open it is admin */
    const char *bind;                        /* NULL = every address */
    uint16_t http_port, https_port;          /* 0 = off */
    uint16_t mqtt_port, mqtts_port;          /* told on the page and in status */
    const char *certificate_file, *key_file; /* for https */
};

/* Opens the listeners. Messages name the address. */
struct api *api_new(const struct api_options *options, GError **error);
/* Certificates were renewed. */
void api_reload(struct api *api);
/* Stops accepting and ends open requests; WebSocket clients of the broker were ended before. `done`
 * is called once. */
void api_stop(struct api *api, void (*done)(void *owner), void *owner);
void api_free(struct api *api);

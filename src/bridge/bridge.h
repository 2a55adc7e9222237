/* Bridges to foreign brokers, as mosquitto's `connection` with `topic PATTERN out|in|both QOS
 * LOCAL_PREFIX REMOTE_PREFIX`. A bridge is two clients: one of the own broker, with a persistent
 * session, and one of the foreign one. What arrives at one is published at the other and
 * acknowledged only when that has taken it; so what waits while the other side is away waits in the
 * own broker's durable queue, and there is nothing to keep here. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct bridges;
struct loop;
struct stream;

struct bridges_options {
    struct loop *loop;
    /* Gives a stream to the own broker, let in as `name` without a password. */
    struct stream *(*open_local)(void *owner, const char *name);
    void *owner;
};

struct bridges *bridges_new(const struct bridges_options *options);
void bridges_free(struct bridges *bridges);

/* `text` is the JSON list of the setting mqtt.bridges ("" = none): bridges that are gone stop, new
 * ones start, changed ones start anew. On error nothing changes and the message names bridge and
 * key: `bridge 'cloud': topics[1].direction: must be in, out or both, got 'up'`. */
int bridges_configure(struct bridges *bridges, const char *text, GError **error);
/* The same check without doing anything: for `setting set`. */
int bridges_check(const char *text, GError **error);

struct bridge_status {
    const char *name, *address, *error; /* error: the last one, NULL for none */
    bool is_connected;
    uint64_t sent, received; /* messages */
};
void bridges_for_each(struct bridges *bridges,
                      void (*fn)(void *owner, const struct bridge_status *status), void *owner);

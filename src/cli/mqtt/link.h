/* A command's connection to a broker: connects, logs in, tells of its end; connects again when
 * asked to. One loop, one client. */
#pragma once

#include "cli/mqtt/options.h"
#include "client/client.h"

struct loop;
struct mqtt_link;

struct mqtt_link_options {
    const struct mqtt_target *target; /* borrowed */
    const struct mqtt_values *values; /* borrowed */
    bool reconnect;                   /* after the first connection: again and again, with pauses */
};

struct mqtt_link_events {
    /* Logged in, for the first time or again. */
    void (*on_up)(void *owner, struct mqtt_link *link);
    void (*on_message)(void *owner, struct mqtt_link *link, const struct packet_publish *publish);
    void (*on_published)(void *owner, struct mqtt_link *link, uint64_t token, uint8_t reason);
    void (*on_subscribed)(void *owner, struct mqtt_link *link, uint64_t token,
                          struct bytes reasons);
    /* The run ends: what the owner has in the loop goes now. Called once. */
    void (*on_finish)(void *owner, struct mqtt_link *link);
};

/* Runs the loop until mqtt_link_stop, SIGINT or SIGTERM (0), or the connection fails for good.
 * Returns the exit status. */
int mqtt_link_run(const struct mqtt_link_options *options, const struct mqtt_link_events *events,
                  void *owner, GError **error);
/* Ends the run with this status once what is pending has been sent. */
void mqtt_link_stop(struct mqtt_link *link, int status);
/* The same with an error. The first one counts. */
void mqtt_link_fail(struct mqtt_link *link, const char *format, ...) G_GNUC_PRINTF(2, 3);

struct loop *mqtt_link_loop(struct mqtt_link *link);
/* NULL when not connected. */
struct client *mqtt_link_client(struct mqtt_link *link);

/* Shared by the files of bridge/: one bridge. */
#pragma once

#include "bridge/bridge.h"
#include "bridge/bridge_config.h"
#include "client/client.h"

struct connector;
struct timer;
struct tls_context;

/* The end of one direction: where its messages go. */
struct bridge_side {
    struct client *client;
    GQueue waiting; /* of struct waiting, for this side */
    uint16_t last_packet_id;
};

struct bridge {
    const struct bridges_options *options; /* borrowed */
    struct bridge_config *config;
    struct tls_context *tls;
    struct timer *timer;
    struct connector *connector;
    struct bridge_side remote, local;
    GPtrArray *obsolete; /* local filters of an earlier configuration, owned; NULL for none */
    char *error;
    uint64_t retry_ms, sent, received;
    unsigned unanswered; /* SUBSCRIBEs */
    bool is_connected;   /* and subscribed on both sides */
};

/* NULL in `tls` for a bridge without TLS; -EINVAL and `error` when a file cannot be used. */
int bridge_make_tls(const struct bridge_config *config, struct tls_context **tls, GError **error);
/* Takes the configuration when all is right; starts at once. */
struct bridge *bridge_new(const struct bridges_options *options, struct bridge_config *config,
                          GError **error);
void bridge_free(struct bridge *bridge);
/* Goes on with the session of `old`, which has another configuration and will be freed. */
void bridge_inherit(struct bridge *bridge, const struct bridge *old);
/* The client id at the own broker. Caller frees. */
char *bridge_local_id(const char *name);

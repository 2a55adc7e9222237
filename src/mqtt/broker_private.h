/* struct broker: everything that the files of this folder share. Nothing outside of the folder sees
 * it. */
#pragma once

#include "base/list.h"
#include "loop/deferred.h"
#include "loop/wheel.h"
#include "mqtt/broker.h"
#include "session/route_cache.h"
#include "session/store.h"
#include "state/state.h"
#include <glib.h>

struct remote;
struct sys_topics;
struct timer;

struct broker {
    struct broker_options options;
    struct loop *loop;                /* borrowed */
    struct state *state;              /* borrowed */
    struct access *access;            /* borrowed */
    const struct settings *settings;  /* the state's */
    struct session_store *live;       /* sessions that end with their connection */
    struct session_store *persistent; /* the state's */
    struct state_watch watch;
    struct list connections;   /* of connection.link, owned */
    struct list ended;         /* of connection.link: freed at the end of the turn */
    struct list acknowledging; /* of outbox.acknowledge_link: have acknowledgements to propose */
    struct list pumping;       /* of connection.pump_link: may have something to send */
    struct list stalled;       /* of ingest.stalled_link: the log could not take them yet */
    struct list forwarding; /* of ingest.forwarding_link: other nodes have not acknowledged yet */
    struct list refused;    /* of outbox.refused_link: the log did not take what is retained */
    struct list closings;   /* of closing.link: the same for ends of connections, owned */
    struct list congested;  /* of flow.congested_link: slow subscribers, oldest first */
    struct deferred end_of_turn;
    struct timer *slow_timer;
    uint64_t slow_due_ms;      /* while it is active */
    struct timer *retry_timer; /* proposals that the log could not take */
    GHashTable *entering; /* client id -> connection that is in CONNECTION_OPENING with it (borrowed
                             both) */
    GHashTable *opening;  /* client id (owned) -> number of opens and closes under way */
    GHashTable *per_address; /* address (owned) -> number of connections */
    struct wheel deadlines;
    struct route_cache routes;
    struct sys_topics *sys;
    struct remote *remote; /* other nodes' brokers; NULL = this one is alone */
    struct list traces;    /* of broker_trace.link */
    struct broker_counters counters;
    uint32_t connection_count;
    uint32_t last_connection;     /* number of the last one, low half of connection_number */
    uint32_t last_commit_matched; /* live subscribers of the publish that was applied last */
    uint32_t random;              /* xorshift state: spreads shared subscriptions */
    bool is_stopping;
    void (*on_stopped)(void *owner);
    void *stop_owner;
    struct timer *stop_timer;
    GByteArray *scratch;   /* for rare packets */
    GByteArray *forwarded; /* properties of the PUBLISH at hand that are passed on */
    uint8_t *encoded;      /* one encoded PUBLISH that goes to many, grown as needed */
    size_t encoded_capacity;
};

uint32_t broker_random(struct broker *broker);
/* The connection that has this client id, or is entering with it; NULL when none. */
struct connection *broker_find(const struct broker *broker, const char *client_id);
/* Runs the end-of-turn work (pumping, acknowledgements, freeing) when this turn ends. */
void broker_touch(struct broker *broker);

/* The load generator of `bench mqtt`: one thread, one epoll, raw sockets, packets built beforehand;
 * it looks at headers only. So it is many times faster than what it measures, and it says how much
 * CPU it took itself. */
#pragma once

#include "cli/bench/histogram.h"
#include "cli/bench/usage.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum load_shape {
    LOAD_FLOW,          /* publishers to subscribers, as fast as the options let */
    LOAD_IDLE,          /* connections that do nothing */
    LOAD_SUBSCRIPTIONS, /* many clients with many filters, then publishes over them */
    LOAD_RETAINED,      /* stores retained messages, then fetches them by '#' */
    LOAD_SESSIONS,      /* leaves persistent sessions behind */
};

struct load_options {
    const char *host;           /* name or address */
    const char *subscribe_host; /* flow: where the subscribers are; NULL = the same */
    uint16_t port;
    const char *username, *password;
    enum load_shape shape;
    unsigned publishers, subscribers, topics; /* topics 0: the smaller of the two */
    unsigned qos, payload_bytes;
    unsigned in_flight;  /* a publisher's, QoS 1 and 2 */
    uint64_t window;     /* messages under way in all, 0 = not held */
    uint64_t rate_per_s; /* in all, 0 = as fast as possible */
    double seconds, warmup_s, drain_s;
    unsigned connections, filters; /* idle, sessions; subscriptions: filters a client */
    unsigned messages;             /* retained */
    uint8_t version;
    bool persistent; /* subscribers' sessions outlive their connection */
    bool keep;       /* leave what was stored */
    pid_t pid;       /* the broker's, 0 when unknown */
};

#define LOAD_PAYLOAD_BYTES_MIN 16 /* send time, publisher, run, sequence */
#define LOAD_PAYLOAD_BYTES_MAX (64u * 1024)
#define LOAD_CONNECTIONS_MAX   60000u

struct load_result {
    double seconds;                           /* measured */
    uint64_t published, acked, delivered;     /* in those seconds */
    uint64_t expected, arrived, duplicates;   /* in the whole run; lost = expected - arrived */
    uint64_t broker_cpu_ns, generator_cpu_ns; /* in those seconds */
    struct usage before, after;               /* the broker's, around the whole run */
    double connects_per_s, subscribes_per_s, stores_per_s, fetches_per_s;
    uint64_t steps; /* connections, subscriptions or messages that those rates are about */
    struct histogram latency; /* ns, publish to delivery */
};

uint64_t load_now_ns(void);
/* 0, or -1 with an error that says which connection failed and how. */
int load_run(const struct load_options *options, struct load_result *result, GError **error);

/* For people and for programs. Caller frees. */
char *load_result_to_text(const struct load_options *options, const struct load_result *result);
char *load_result_to_json(const struct load_options *options, const struct load_result *result);

/* The shapes of load, and what they have in common: a set of connections that connect a few at a
 * time. */
#pragma once

#include "cli/bench/connection.h"
#include "cli/bench/load.h"

#define LOAD_CONNECTING_MAX 200u /* CONNECTs under way at once: a listen backlog's worth */
#define LOAD_PATIENCE_NS    (UINT64_C(30) * 1000000000u) /* without any progress: the run fails */

/* Connects `count` connections from `list` on, whose index and client id ("PREFIX-N") begin at
 * `first`. `clean` false makes their sessions stay. Returns the time it took in ns through
 * `took_ns` (may be NULL); 0, or -1 with engine->failure. */
struct load_group {
    struct load_connection *list;
    unsigned count, first;
    const char *prefix;
    const char *host; /* NULL = that of the options */
    bool clean;
};

int load_group_connect(struct load_engine *engine, const struct load_options *options,
                       const struct load_group *group, uint64_t *took_ns);
void load_group_close(const struct load_group *group);
/* Turns until `*counter` is `wanted`; fails after LOAD_PATIENCE_NS without a change of it. */
int load_engine_wait(struct load_engine *engine, const uint64_t *counter, uint64_t wanted);

int load_flow_run(struct load_engine *engine, const struct load_options *options,
                  struct load_result *result);
int load_idle_run(struct load_engine *engine, const struct load_options *options,
                  struct load_result *result);
int load_sessions_run(struct load_engine *engine, const struct load_options *options,
                      struct load_result *result);
int load_subscriptions_run(struct load_engine *engine, const struct load_options *options,
                           struct load_result *result);
int load_retained_run(struct load_engine *engine, const struct load_options *options,
                      struct load_result *result);

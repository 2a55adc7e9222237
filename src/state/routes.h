/* The routes of topics published lately, so that a stream of messages finds its sessions without a
 * walk of the tree. Bounded: a fixed number of places, and long routes are found anew each time.
 * Not part of the state. */
#pragma once

#include "session/route.h"

#define STATE_ROUTES_PLACES      256
#define STATE_ROUTES_TARGETS_MAX 64

struct state_routes {
    struct route places[STATE_ROUTES_PLACES];
    struct route scratch;
};

void state_routes_init(struct state_routes *cache);
void state_routes_deinit(struct state_routes *cache);
/* Forgets all: the store is about to be freed. */
void state_routes_clear(struct state_routes *cache);
/* Valid until the next call or a change of filters. */
const struct route *state_routes_get(struct state_routes *cache, const struct session_store *store,
                                     struct bytes topic);

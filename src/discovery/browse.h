/* Asks the LAN for nodes, for a while: for `microcloud discover` and for a fresh node, which says
 * which cluster it could join. */
#pragma once

#include "discovery/service.h"

struct browse;
struct loop;

struct browse_events {
    /* Once for each node; all that is known of it stands in `service`. */
    void (*on_found)(void *owner, const struct service *service);
    void (*on_done)(void *owner); /* the time is over; frees it if it likes */
    void *owner;
};
/* Asks at once and again within `ms`. NULL with the reason in `error` (negative errno). */
struct browse *browse_new(struct loop *loop, uint64_t ms, const struct browse_events *events,
                          int *error);
void browse_free(struct browse *browse);

/* Messages of one direction that the other side does not take yet: it is still connecting, or has
 * its receive maximum in flight. Only messages that will be acknowledged wait here; the side they
 * come from bounds them by the receive maximum that it was told (MQTT 5) or by its packet ids. */
#pragma once

#include "client/client.h"
#include <glib.h>

struct waiting {
    struct client_message message; /* its bytes are owned */
    uint64_t token;
};

void waiting_push(GQueue *queue, const struct client_message *message, uint64_t token);
/* The oldest, or NULL; owned by the queue. */
const struct waiting *waiting_first(GQueue *queue);
void waiting_pop(GQueue *queue);
void waiting_clear(GQueue *queue);

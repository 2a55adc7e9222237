/* Tells the LAN that this node is here: announced at start and when an interface or address comes,
 * told to whoever asks, taken back at the end (RFC 6762 8.3, 10.1). Costs nothing while nobody
 * asks. */
#pragma once

#include "discovery/service.h"

struct loop;
struct responder;

/* `service` is borrowed for the whole life; its `address` is not used: each interface tells its
 * own. NULL with the reason in `error` (negative errno). */
struct responder *responder_new(struct loop *loop, const struct service *service, int *error);
/* Says goodbye. NULL is fine. */
void responder_free(struct responder *responder);

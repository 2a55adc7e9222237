/* Watching the packets of one client (`microcloud trace`). */
#pragma once

#include "mqtt/connection.h"

enum trace_direction { TRACE_FROM_CLIENT, TRACE_TO_CLIENT };

/* Tells everybody who traces this client. */
void trace_packet(struct connection *connection, enum trace_direction direction,
                  struct bytes packet);
/* A client has come in: is it being traced? */
void trace_attach(struct connection *connection);

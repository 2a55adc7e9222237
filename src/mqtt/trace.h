/* Watching the packets of one client (`microcloud trace`). */
#pragma once

#include "mqtt/connection.h"

enum trace_direction { TRACE_FROM_CLIENT, TRACE_TO_CLIENT };

/* Tells everybody who traces this client. */
void trace_packet(struct connection *connection, enum trace_direction direction,
                  struct bytes packet);
/* What has come from the client, if it is traced. */
static inline void trace_received(struct connection *connection, const struct packet_frame *frame)
{
    if (connection->is_traced) {
        trace_packet(connection, TRACE_FROM_CLIENT,
                     (struct bytes){frame->body.at + frame->body.length - frame->total_bytes,
                                    frame->total_bytes});
    }
}

/* A client has said who it is, or come in: is it being traced? */
void trace_attach(struct connection *connection);

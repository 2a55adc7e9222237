/* Deliveries on their way to one client: the window (receive maximum), repetition after a
 * reconnect, acknowledgements. One code for both kinds of session: the difference is who is told of
 * an acknowledgement, the ring at once or the log. */
#pragma once

#include "mqtt/connection.h"
#include "mqtt/publication.h"

/* The session has just been attached: sends again what was in flight, then goes on. */
void sender_attach(struct connection *connection);
/* One publication for this client, at once when nothing stands before it, else behind what does.
 * `qos` is the effective one; for a persistent session it is 0 (the rest comes through the log).
 * `ids[0]` is the count, or NULL. */
void sender_deliver(struct connection *to, struct publication *publication, uint8_t qos,
                    bool retain, const uint32_t *ids);
/* Sends what can be sent now. */
void sender_pump(struct connection *connection);
/* Has it pumped at the end of this turn. */
void sender_schedule(struct connection *connection);

void sender_on_puback(struct connection *connection, const struct packet_frame *frame);
void sender_on_pubrec(struct connection *connection, const struct packet_frame *frame);
void sender_on_pubcomp(struct connection *connection, const struct packet_frame *frame);

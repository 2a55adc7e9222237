/* What the broker tells the log beside publishes, and what happens when the log cannot take it now:
 * it is kept and proposed again. */
#pragma once

#include "mqtt/connection.h"

struct broker;

/* The end of a connection that has a persistent session or a will. */
void durable_close(struct connection *connection);
/* False while ends of connections wait for the log: an open must not overtake them, or it would
 * find the will of a client that has said goodbye and publish it. Tries once more. */
bool durable_has_closed(struct broker *broker);
/* Acknowledgements of one session. Returns 0 or -EAGAIN. A PUBREC's PUBREL goes out when it is
 * committed. */
int durable_acknowledge(struct connection *connection, enum session_ack kind,
                        const uint16_t *packet_ids, uint32_t count);
/* Puts a line of publishes on the list of those to come back to. */
void durable_stall(struct broker *broker, struct list *stalled_link);
/* Has it pumped again: the log did not take a retained message for it. */
void durable_pump_later(struct connection *connection);
/* Comes back to everything that waits. */
void durable_on_retry(void *owner /* broker */);
/* Forgets what still waits: the node is stopping, recovery at the next start closes what was open.
 */
void durable_drop(struct broker *broker);

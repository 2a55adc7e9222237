/* Topic aliases of one connection, both ways (MQTT 5, 3.3.2.3.4). Tables are made when first used.
 */
#pragma once

#include "mqtt/connection.h"

/* With a topic: sets the alias. Without: puts the topic it stands for; false when it was never set.
 */
bool aliases_resolve_incoming(struct connection *connection, uint16_t alias, struct bytes *topic);
/* Gives the alias for a topic: a new one goes out with the topic, a known one instead of it
 * (`topic` becomes empty). False when there is none and no room for more. */
bool aliases_assign_outgoing(struct connection *connection, struct bytes topic, uint16_t *alias,
                             struct bytes *sent_topic);
void aliases_free(struct topic_aliases *aliases); /* takes NULL */

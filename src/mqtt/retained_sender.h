/* Retained messages for new subscriptions: found at once, sent as the client's window and output
 * allow. */
#pragma once

#include "mqtt/connection.h"

/* What the filter matches, to be sent with at most `qos`. */
void retained_sender_add(struct connection *connection, struct bytes filter, uint8_t qos,
                         uint32_t subscription_id);
/* Called by the pump. */
void retained_sender_pump(struct connection *connection);

/* SUBSCRIBE and UNSUBSCRIBE. */
#pragma once

#include "mqtt/connection.h"

void subscribe_receive(struct connection *connection, const struct packet_frame *frame);
void unsubscribe_receive(struct connection *connection, const struct packet_frame *frame);

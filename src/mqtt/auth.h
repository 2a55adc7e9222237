/* Enhanced authentication (MQTT 5, 4.12): SCRAM-SHA-256, at CONNECT and again later. */
#pragma once

#include "mqtt/connection.h"

/* CONNECT named a method. */
void auth_begin(struct connection *connection, struct bytes method, struct bytes first);
void auth_receive(struct connection *connection, const struct packet_frame *frame);

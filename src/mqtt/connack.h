/* CONNACK: what the server grants and where it differs from what was asked (MQTT 5, 3.2). */
#pragma once

#include "mqtt/connection.h"

void connack_send(struct connection *connection, bool session_present, struct bytes auth_data);
void connack_send_refusal(struct connection *connection, uint8_t reason, const char *text);

/* CONNECT, from the packet to the CONNACK: checks, login, takeover, opening the session. */
#pragma once

#include "mqtt/connection.h"

struct connect_request;

void connect_receive(struct connection *connection, const struct packet_frame *frame);
/* The client has proved who it is (by password or by SCRAM): goes on with opening the session.
 * `auth_data` goes into the CONNACK (server-final of SCRAM). */
void connect_granted(struct connection *connection, struct bytes auth_data);
/* CONNACK with a reason, then the end. */
void connect_refuse(struct connection *connection, uint8_t reason, const char *text);
/* The connection ends: its client id is free again, if it still was its. */
void connect_forget(struct connection *connection);

struct bytes connect_request_client_id(const struct connect_request *request);
void connect_request_free(struct connect_request *request); /* takes NULL */

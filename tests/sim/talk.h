/* What a client says and understands while it is connected; the inside of client.h. */
#pragma once

#include "client.h"
#include "packet/reason.h"

/* CONNACK came. */
void client_enter(struct client *client, bool is_present);
/* Sends again what was not acknowledged, in order (MQTT 5, 4.4). */
void talk_repeat(struct client *client);
G_GNUC_NORETURN void client_fail(const struct client *client, const char *what);
/* Sends one whole packet. */
void talk_send(struct client *client, const void *packet, size_t length);
/* One line about a traced client. */
void talk_trace(const struct client *client, const char *text);

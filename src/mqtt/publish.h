/* PUBLISH and PUBREL from clients. */
#pragma once

#include "mqtt/connection.h"
#include "mqtt/publication.h"

void publish_receive(struct connection *connection, const struct packet_frame *frame);
void publish_on_pubrel(struct connection *connection, const struct packet_frame *frame);

/* PUBACK or PUBREC for a publish of this client, which waits no longer. */
void publish_acknowledge(struct connection *connection, uint8_t qos, uint16_t packet_id,
                         uint8_t reason);
/* Resolves and delivers a publication that needs no log (any more), here and to other nodes:
 * returns what remote_forward does. */
uint64_t publish_deliver(struct broker *broker, struct publication *publication);
/* The same for what is about this node alone. */
void publish_deliver_here(struct broker *broker, struct publication *publication);

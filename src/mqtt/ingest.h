/* Publishes of one client that wait for the log, in the order in which they came. A publish that
 * needs no log stands in line behind one that does, so that a publisher's messages keep their order
 * whichever path each takes. The line outlives its connection: what was received is delivered. */
#pragma once

#include "base/list.h"
#include "mqtt/publication.h"

struct connection;
struct ingest;
struct share_choices;

/* Takes over a publish that needs the log, or that stands behind one. `packet_id` is acknowledged
 * when it is through. */
void ingest_add(struct connection *connection, struct publication *publication, uint16_t packet_id,
                bool needs_log, const struct share_choices *choices);
/* QoS 0 retained that was delivered already: only the retained table is to be changed. */
void ingest_add_retained(struct connection *connection, struct publication *publication);
/* One that was delivered here and went to other nodes under this number: it is acknowledged when
 * they have it, and what needs the log waits until then. */
void ingest_add_forwarded(struct connection *connection, struct publication *publication,
                          uint16_t packet_id, uint64_t number);
/* Other nodes have acknowledged something, or are gone. */
void ingest_look_again(struct broker *broker);
/* The connection is gone; the line goes on without it. */
void ingest_detach(struct ingest *ingest);
/* Proposes again what the log could not take. Returns true when nothing is left over. */
bool ingest_retry_all(struct broker *broker);
/* The broker goes: forgets what could not be proposed. */
void ingest_drop_all(struct broker *broker);

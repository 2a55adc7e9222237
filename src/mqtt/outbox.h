/* What a connection has to send beside the deliveries of its session, and what it has to tell the
 * log; made when first needed. Bounded by mqtt.live_queue_messages_max. */
#pragma once

#include "mqtt/connection.h"
#include "session/message.h"

/* A QoS 0 message that must not overtake deliveries that came before it. */
struct late_message {
    struct message *message;
    uint32_t *subscription_ids;
    uint64_t after_sequence; /* goes out when deliveries before this one have */
    bool retain;
};

/* Retained messages for one new subscription. */
struct retained_batch {
    struct list link;    /* in outbox.batches, owned */
    GPtrArray *messages; /* references */
    uint32_t next;
    uint32_t subscription_id;
    uint8_t qos;
};

struct outbox {
    struct connection *connection;
    struct list acknowledge_link; /* in broker.acknowledging */
    struct list refused_link;     /* in broker.refused */
    GQueue late;                  /* of late_message, owned */
    struct list batches;          /* of retained_batch.link */
    uint32_t proposed;            /* retained deliveries on their way through the log */
    GArray *acknowledgements[4];  /* by enum session_ack: uint16_t packet ids to propose; NULL for
                                     none */
};

struct outbox *outbox_of(struct connection *connection);
void outbox_free(struct outbox *outbox); /* takes NULL */

/* False when it is full: then the caller drops. Takes a reference. */
bool outbox_add_late(struct connection *connection, struct message *message, bool retain,
                     const uint32_t *ids);
/* Takes the array. */
void outbox_add_batch(struct connection *connection, GPtrArray *messages, uint8_t qos,
                      uint32_t subscription_id);
/* An acknowledgement of a persistent session, proposed with others at the end of the turn. */
void outbox_acknowledge(struct connection *connection, enum session_ack kind, uint16_t packet_id);
/* The same, when the retry timer comes round: the log has refused it for now. */
void outbox_acknowledge_later(struct connection *connection, enum session_ack kind,
                              uint16_t packet_id);
/* Hands them to the log. True when none is left over. */
bool outbox_propose_acknowledgements(struct connection *connection);

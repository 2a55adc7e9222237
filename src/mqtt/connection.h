/* One MQTT connection: the socket's side of a session.
 *
 *   WAITING ---CONNECT---> AUTHENTICATING ---granted---> OPENING ---committed---> ACTIVE
 *      |                      |                             |                       |
 *      +----------------------+----------- connection_end --+-----------------------+--> ENDED
 * (freed at the end of the turn)
 *
 * A session that lives as long as the connection skips what it does not need: anonymous access is
 * decided at once, and a session outside of the replicated state opens at once. */
#pragma once

#include "access/access.h"
#include "base/list.h"
#include "packet/packet.h"
#include "packet/reason.h"
#include "session/store.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct address;
struct broker;
struct ingest;
struct outbox;
struct connect_request;
struct stream;
struct topic_aliases;

enum connection_state {
    CONNECTION_WAITING,
    CONNECTION_AUTHENTICATING,
    CONNECTION_OPENING,
    CONNECTION_ACTIVE,
    CONNECTION_ENDED
};

struct connection {
    struct list link;
    struct list deadline_link; /* in a slot of broker.deadlines */
    struct list pump_link;     /* in broker.pumping */
    struct broker *broker;
    struct stream *stream;           /* NULL once given up */
    struct session *session;         /* borrowed from its store; NULL while none is attached */
    struct connect_request *request; /* owned: the CONNECT while it is worked on, then NULL */
    struct ingest *ingest; /* publishes that wait for the log, in order; NULL when none do */
    struct outbox *outbox; /* retained messages, late QoS 0 messages, acknowledgements to propose;
                              NULL when none */
    struct flow *flow;     /* NULL as long as nobody was held; see flow.h */
    struct topic_aliases *aliases; /* NULL when none are in use */
    struct address *address;       /* shared with others from there; counted */
    struct scram *scram;           /* NULL outside of an exchange */
    struct identity identity;
    uint64_t number;        /* connection_number */
    uint64_t next_sequence; /* next delivery to send */
    uint64_t connected_unix_ms;
    uint64_t received, sent;    /* packets */
    uint64_t last_packet_ms;    /* loop time */
    uint64_t forwarded;         /* number of its last publish that went to other nodes */
    uint64_t claim;             /* stamp of its client id, see remote/claims.c */
    uint64_t held_elsewhere;    /* peers with a subscriber that holds it back, see remote/holds.c */
    uint32_t expiry_s;          /* as granted */
    uint32_t packet_bytes_max;  /* of the client; UINT32_MAX = no limit */
    uint16_t in_flight;         /* deliveries sent and not acknowledged */
    uint16_t waiting_publishes; /* QoS > 0 from this client and not acknowledged yet */
    uint16_t receive_maximum;   /* of the client, with our own limit */
    uint16_t keep_alive_s;
    uint16_t alias_maximum; /* of the client */
    uint8_t state;          /* enum connection_state */
    uint8_t version;        /* enum packet_version; 0 before CONNECT */
    uint8_t lost_reason;    /* its session is not its own any more: it ends so, soon; 0 = it is */
    bool is_persistent : 1; /* the session is in the replicated state */
    bool has_will : 1;
    bool is_clean_end : 1; /* DISCONNECT 0x00 came */
    bool is_paused : 1;    /* we do not read on purpose */
    bool is_dropping : 1;  /* QoS 0 to it is dropped until it has drained */
    bool is_trusted : 1;   /* in-process, under the name of its identity */
    bool is_traced : 1;
    bool wants_problem_information : 1;
    bool has_auth_method : 1; /* CONNECT named one: AUTH packets may come */
    bool needs_access_checks : 1;
    bool is_user : 1;        /* one of the table of users, not only vouched for or let in */
    bool was_counted : 1;    /* in clients_connected */
    bool has_end_expiry : 1; /* DISCONNECT changed the session expiry */
};

struct connection *connection_new(struct broker *broker, struct stream *stream,
                                  const char *trusted_name);
void connection_free(struct connection *connection);

/* Ends it: `reason` goes out in a DISCONNECT (MQTT 5) when `says` and the client is in; 0 says
 * nothing. Proposes what the state must know. `text` is the reason string or NULL. Safe to call
 * from any handler: memory stays until the end of the turn. */
void connection_end(struct connection *connection, uint8_t reason, const char *text);
/* The client broke the protocol: logs it and ends. */
void connection_fail(struct connection *connection, uint8_t reason, const char *text);

bool connection_is_active(const struct connection *connection);
struct bytes connection_client_id(const struct connection *connection);

/* Reading is stopped while any of the reasons holds: login or open under way, too many publishes
 * waiting, held by a subscriber. */
void connection_update_reading(struct connection *connection);

/* Output, counted and traced. `connection_send` takes a whole encoded packet. */
void connection_send(struct connection *connection, const void *packet, size_t length);
void connection_send_ack(struct connection *connection, uint8_t type, uint16_t packet_id,
                         uint8_t reason);

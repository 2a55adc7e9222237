/* A CONNECT that is being worked on: copies of what is needed until the CONNACK. */
#pragma once

#include "mqtt/connection.h"
#include "packet/packet.h"
#include "state/propose.h"

struct connect_request {
    char *client_id;              /* owned; "" until one is assigned */
    char *username;               /* owned; NULL for none */
    struct bytes password;        /* owned, cleared when freed; at is NULL for none */
    struct state_will will;       /* views are owned */
    char *auth_method;            /* owned; NULL for none */
    struct access_ticket *ticket; /* of the login that is being checked; else NULL */
    GBytes *auth_first;           /* of SCRAM, while it waits for its turn; else NULL */
    uint64_t known_opening;       /* see struct state_open */
    uint64_t claims_heard;        /* when it came, see remote/claims.c */
    uint32_t expiry_s;
    uint16_t receive_maximum, alias_maximum, keep_alive_s;
    bool clean_start, has_will, is_id_assigned, wants_response_information;
};

struct connect_request *connect_request_new(const struct packet_connect *connect);
/* Makes an id that nobody has: "auto-" and a random UUID. */
void connect_request_assign_id(struct connect_request *request);

void connack_send(struct connection *connection, bool session_present, struct bytes auth_data);
void connack_send_refusal(struct connection *connection, uint8_t reason, const char *text);

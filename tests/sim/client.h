/* A client of the simulation: MQTT 5 as a client should speak it, with every choice left to the
 * random generator: when it answers, what it asks, when its wire is cut. It tells the ledger what
 * it asks and what it is told. */
#pragma once

#include "ledger.h"

struct loop;
struct broker;
struct stream;

/* What all clients share. */
struct world {
    GRand *random;
    struct loop *loop;
    struct broker *broker;    /* that the next connection goes to */
    struct loop *broker_loop; /* of that broker; NULL = the same loop */
    /* Does every node know of what every other has told its clients? NULL = there is one node. */
    bool (*is_of_one_mind)(const struct world *world);
    bool may_find_ended;  /* a node that is cut off may say late that a session has ended */
    bool may_notice_late; /* that a connection has ended: delays of wills begin only then */
    struct ledger ledger;
    GPtrArray *streams; /* of those that the broker still has, clients' own included */
    int traced;         /* the client whose packets are printed; -1 = none */
    uint64_t moved;     /* bytes: as long as it grows, it is not quiet */
};

struct outgoing {
    guint message;
    uint16_t packet_id;
    bool is_received; /* PUBREC came: PUBREL is sent */
};

/* SUBSCRIBE or UNSUBSCRIBE that waits for its answer. */
struct asking {
    uint64_t asked; /* moment */
    uint16_t packet_id;
    uint8_t filter;
    bool is_unsubscribe;
};

struct client {
    struct world *world;
    uint8_t number;
    struct stream *stream; /* NULL = not connected */
    GByteArray *input;
    GArray *outgoing;   /* of struct outgoing, in order */
    GArray *asking;     /* of struct asking */
    GArray *received;   /* uint16_t: QoS 2 between PUBREC and PUBREL; of the session */
    GArray *unanswered; /* uint16_t: QoS > 0 of this connection, not PUBACKed or PUBCOMPed */
    GQueue answers;     /* of packed type << 16 | packet id */
    struct life *life;  /* NULL = no session that it knows of */
    guint retained[2 * CLIENTS_MAX];      /* the last that came with the retain flag, by topic */
    uint64_t left_first_ms, left_last_ms; /* when connections ended since the last CONNACK */
    uint64_t counted_gone_ms;             /* its node was removed while it was there; 0 = not */
    uint64_t asked_ms;                    /* the first CONNECT since */
    uint64_t will_due_ms;                 /* of left_will */
    guint asked_will, will,
        left_will;      /* of CONNECT, of this connection, of the one before; 0 = none */
    guint goodbye_will; /* cancelled by DISCONNECT, unless the node dies before that is on disk */
    uint32_t expiry_s, expiry_least_s, expiry_most_s, will_delay_s;
    uint32_t connections; /* so far; of each, messages come in order */
    uint16_t receive_maximum, last_packet_id;
    bool has_wills;    /* some of its connections have one */
    bool is_in;        /* CONNACK came */
    bool is_uncertain; /* a CONNECT was never answered */
    bool is_clean;     /* what CONNECT asks for */
};

void client_init(struct client *client, struct world *world, uint8_t number);
void client_deinit(struct client *client);
/* Opens a stream and sends CONNECT; a connection that it has is taken over. `expiry_s` 0: the
 * session ends with the connection. A CONNECT that was never answered is asked again as it was. */
void client_connect(struct client *client, bool is_clean, uint32_t expiry_s);
struct wish {
    uint8_t qos, retain_handling;
    bool no_local;
};
void client_subscribe(struct client *client, uint8_t filter, const struct wish *wish);
void client_unsubscribe(struct client *client, uint8_t filter);
void client_publish(struct client *client);
void client_disconnect(struct client *client);
void client_cut(struct client *client);
/* The node has died under it. */
void client_lose(struct client *client);
#define CLIENT_MARGIN_MS 5000 /* nothing is judged that came so close */
/* Reads up to `most` bytes and understands what came. */
void client_read(struct client *client, size_t most);
/* A will that was left is judged by what became of it. */
void client_judge_will(struct client *client, bool is_present);
/* The node has died: whether it had heard the last DISCONNECT is not known. */
void client_doubt_goodbye(struct client *client);
/* Sends up to `most` of its answers. */
void client_answer(struct client *client, unsigned most);

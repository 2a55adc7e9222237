/* Inside of cluster/: one link, with or without a connection. links.c decides when to dial and who
 * is told; link.c speaks on the connection. */
#pragma once

#include "cluster/links.h"
#include "loop/deferred.h"

#define LINK_HEAD_BYTES   8
#define LINK_PROTOCOL     3 /* 2: LINK_BEAT; 3: some of them want no answer */
#define LINK_TRIPS        64
#define LINK_GOODBYE_MS   2000 /* for the goodbye to go out */
#define LINK_BACKOFF_MS   50
#define LINK_BACKOFF_MAX  2000
#define LINK_KNOCK_MS     4000 /* after this the other one dials too */
#define LINK_REASON_CHARS 120
#define LINK_ECHO_BYTES   24

/* Messages of the control channel and of heartbeats: the first byte of the payload. */
enum link_message {
    LINK_HELLO = 1,   /* protocol (1), epoch (8) */
    LINK_GOODBYE = 2, /* text: why */
    LINK_PING = 3,    /* sent, boottime in us (8) */
    LINK_PONG = 4,    /* the same (8), calendar clock in ms (8) */
    LINK_LEASE = 5,   /* a ping for the lease: sent, boottime in ms (8) */
    LINK_REMOVED = 7, /* a goodbye for good: the node was removed from the cluster */
    LINK_ECHO = 6,    /* the same (8), term (8), age in ms (4), other in ms (4) */
    LINK_BEAT = 8,    /* what is the log's business */
};

/*   LINK_DOWN --dialled/accepted (link_open)--> LINK_GREETING --hello (on_hello)--> LINK_UP
 *       ^                                            |                              |
 *       +-------------------- link_drop -------------+------------------------------+ */
enum link_state { LINK_DOWN, LINK_GREETING, LINK_UP };

struct connector;
struct timer;

struct link {
    struct links *links; /* borrowed */
    uint64_t node_id;
    char *address;
    struct stream *stream;       /* of GREETING and UP */
    struct connector *connector; /* of DOWN; a knock's also while the other one's call is tried */
    struct timer *timer;         /* down: when to dial; else: when to ping or give up */
    enum link_state state;
    bool is_wanted;      /* while the peers are compared */
    bool wants_writable; /* refused something */
    bool is_removed;
    bool has_clock; /* a pong came over this connection */
    uint64_t backoff_ms, since_ms, heard_ms, pinged_ms;
    uint64_t knock_ms;      /* when the one dials whose turn it is not; 0 = not waiting for that */
    uint32_t socket_number; /* of on_socket; 0 = none */
    uint64_t peer_epoch, sent_bytes, received_bytes;
    uint64_t pinged_us, pinged_bytes; /* the newest ping, and what was sent before it */
    uint64_t arrived_bytes;           /* of sent_bytes, that the other is known to have got */
    uint8_t peer_protocol;
    uint32_t trips_us[LINK_TRIPS], trip_count, round_trip_us;
    uint64_t
        clock_begun_ms; /* its calendar clock at 0 of our clock_now_ms, so that ours may jump */
    char *error;
    uint8_t issuer_sha256[32]; /* of the CA that signed the peer's certificate */
};

struct links {
    struct loop *loop;
    uint64_t node_id, epoch, ping_ms, give_up_ms;
    struct tls_context *client;
    const struct links_events *events;
    void *owner;
    GHashTable *table; /* node id -> struct link, owned */
    GPtrArray *gone;   /* of struct link, owned: removed in this turn, perhaps by what they said */
    struct deferred burial;
    uint32_t sockets; /* numbers given */
    bool is_asking;
};

struct link *link_new(struct links *links, uint64_t node_id, const char *address);
/* Without a word to anybody. */
void link_free(struct link *link);
/* Takes a stream that is not started, whose other end is this node. */
void link_open(struct link *link, struct stream *stream);
/* Ends the connection, if any, with a goodbye; dials again later unless removed. Tells on_down
 * (is_end false) when it was up. */
void link_give_up(struct link *link, const char *why);
/* A link that is down: dials now when it is ours to dial, else knocks later (links.h). */
void link_dial(struct link *link);
int link_send(struct link *link, uint8_t channel, const struct bytes *pieces, size_t count);
/* Of one that is up. */
void link_ping(struct link *link);
/* The payload of a frame on the channel of heartbeats: also when much is waiting. */
void link_write_heartbeat(struct link *link, struct bytes payload);

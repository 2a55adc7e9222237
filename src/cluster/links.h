/* Links: one connection to each other node (port 7474, ALPN `link`) that carries frames on
 * channels. The node with the lower id dials, with backoff; the other accepts, and knocks (dials
 * too) when it was not dialled for seconds: its address is new, or it does not know that it was
 * removed. Up means that both have said hello.
 *
 * Ending: `is_end` of on_down is a proof, not a guess: the other side's socket was closed by its
 * kernel because the process ended (FIN or RST without a goodbye). A living node that lets go of a
 * link says goodbye first, or does so only after more than an election timeout of silence, when its
 * lease is over (lease.h); so the ends of the leader's links seen by a majority prove that it holds
 * nothing. What *we* gave up is silence and proves nothing.
 *
 * Flow control: links_send refuses with -EAGAIN while LINKS_QUEUE_BYTES or more wait for one node;
 * on_writable comes when they have gone out. Nobody waits for another one's link.
 *
 * Heartbeats: each link is pinged every `ping_ms` while it is up (a node may ask for more: the
 * leader for its lease); every ping is answered at once with the clock, which gives round trip and
 * clock offset. All links are pinged in the same turn of the loop: a node wakes up once for that.
 * The log's heartbeats (links_beat) may go with them, as long as nothing large is before them. A
 * ping for the lease (links_ping) is echoed by the owner, with the term in which he follows its
 * sender and how long ago he heard libraft's word of it: the echo is a promise not to elect another
 * for a full timeout from then on.
 */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct links;
struct loop;
struct stream;
struct tls_context;

#define LINKS_FRAME_BYTES_MAX   (4u * 1024 * 1024) /* payload */
#define LINKS_QUEUE_BYTES       (256u * 1024)
#define LINKS_PEERS_MAX         128
#define LINKS_BEAT_BYTES_MAX    64
#define LINKS_BEAT_BEHIND_BYTES 8192

enum links_channel {
    LINKS_CONTROL = 0, /* hello, goodbye */
    LINKS_HEARTBEAT = 1,
    LINKS_FORWARD = 2,
    LINKS_BROKER = 3,
    LINKS_CALL = 4,
    LINKS_INGRESS = 5,
};

/* The answer to a ping for the lease. */
struct links_echo {
    uint64_t sent_ms;  /* when the ping was sent: CLOCK_BOOTTIME of its sender */
    uint64_t term;     /* in which the voter follows him */
    uint32_t age_ms;   /* so long before the ping came it heard him lead; 0 = after it */
    uint32_t other_ms; /* so long before the echo went out it last heard another lead */
};

struct links_events {
    void (*on_up)(void *owner, uint64_t node_id);
    void (*on_down)(void *owner, uint64_t node_id, bool is_end);
    /* `payload` is valid during the call. */
    void (*on_frame)(void *owner, uint64_t node_id, uint8_t channel, struct bytes payload);
    void (*on_writable)(void *owner, uint64_t node_id);
    /* A ping of another's links_ping, sent at this time of its clock. May be NULL. */
    void (*on_ping)(void *owner, uint64_t node_id, uint64_t sent_ms);
    /* One of ours was echoed. May be NULL. */
    void (*on_echo)(void *owner, uint64_t node_id, const struct links_echo *echo);
    /* A ping was answered: round trip and clock are new. May be NULL. */
    void (*on_pong)(void *owner, uint64_t node_id);
    /* What another has sent by links_beat, valid during the call. May be NULL. */
    void (*on_beat)(void *owner, uint64_t node_id, struct bytes beat);
    /* A member says that this node was removed from the cluster. May be NULL. */
    void (*on_removed)(void *owner, uint64_t node_id);
    /* A link's socket, from its beginning until we let go of it ourselves: somebody may hold a
     * duplicate so that it outlives this process. May be NULL. */
    void (*on_socket)(void *owner, uint32_t number, int fd);
    void (*on_socket_done)(void *owner, uint32_t number);
};

struct links_options {
    struct loop *loop;
    uint64_t node_id, epoch;    /* ours; the epoch grows with each start */
    struct tls_context *client; /* ALPN "link", the node's certificate; borrowed, may be reloaded */
    uint64_t ping_ms;           /* 0 = 1000 */
    uint64_t give_up_ms;        /* nothing heard for so long: down; dialling, too; 0 = 3000. More
                                   than an election timeout */
    const struct links_events *events;
    void *owner;
};

struct links *links_new(const struct links_options *options);
/* Ends all links without a goodbye: the process ends, and the address is gone already. No event
 * comes any more. */
void links_free(struct links *links);

struct links_peer {
    uint64_t node_id;
    const char *address; /* "host:port" */
};

/* All other nodes of the state's table (ours is skipped). New ones are dialled, those that are gone
 * are told goodbye and closed at once (on_down, is_end false). At most LINKS_PEERS_MAX. */
void links_set_peers(struct links *links, const struct links_peer *peers, size_t count);
void links_set_give_up(struct links *links, uint64_t give_up_ms);
/* From the peer listener; takes it. A node that is no peer is refused. */
void links_accept(struct links *links, uint64_t node_id, struct stream *stream);
/* Tells a node of this cluster that it was removed, and closes; takes the stream. */
void links_tell_removed(struct stream *stream);
/* Something else says that the node is there: dial now instead of at the end of the backoff. */
void links_nudge(struct links *links, uint64_t node_id);

/* While it is so, this node dials all whose link is down, soon and again, whoever's turn it is: it
 * wants to hear from them before it does anything. */
void links_ask_all(struct links *links, bool is_asking);

/* Ends the connection to this node with a goodbye and begins anew. */
void links_reset(struct links *links, uint64_t node_id);

/* This node has another certificate: all connections begin anew, with it. */
void links_renew(struct links *links);
/* What was signed by any other CA than this one (SHA-256 of its certificate) and has been up for
 * `since_ms` or longer begins anew. */
void links_reset_others(struct links *links, const uint8_t ca_sha256[32], uint64_t since_ms);

/* 0; -EAGAIN: on_writable will come; -ENOTCONN: not up; -EMSGSIZE. Nothing is sent in part. */
int links_send(struct links *links, uint64_t node_id, uint8_t channel, struct bytes payload);
/* To all whose link is up. */
void links_send_all(struct links *links, uint8_t channel, struct bytes payload);
/* The payload in pieces. */
int links_send_pieces(struct links *links, uint64_t node_id, uint8_t channel,
                      const struct bytes *pieces, size_t count);
bool links_is_up(const struct links *links, uint64_t node_id);
/* May be sent to now, without -EAGAIN. */
bool links_is_writable(const struct links *links, uint64_t node_id);

/* Sends a ping for the lease now (by the owner, while it leads, with the heartbeats of the log, to
 * the voters that these ask for an answer): -ENOTCONN when not up. */
int links_ping(struct links *links, uint64_t node_id);
/* Answers one; -ENOTCONN when not up. */
int links_echo(struct links *links, uint64_t node_id, const struct links_echo *echo);

/* A heartbeat of the log. -ENOTCONN when not up, or the other one is too old to know them; -EAGAIN
 * when it might be late: more than LINKS_BEAT_BEHIND_BYTES were sent since what the other is known
 * to have got. */
int links_beat(struct links *links, uint64_t node_id, struct bytes beat);

/* Pings it now, not when it is due: a node that runs says something. */
void links_probe(struct links *links, uint64_t node_id);
/* All zero when its link is not up. */
struct links_signs {
    uint64_t heard_ms;      /* last bytes (loop time) */
    uint32_t usual_trip_us; /* a quarter of the last round trips took less: a freeze is not usual;
                               0 = there was none */
    uint64_t sent_bytes;    /* given to our kernel; UINT64_MAX when more is waiting for it */
    uint64_t arrived_bytes; /* of these, in its kernel, whether its process has read them or not */
};
void links_signs(const struct links *links, uint64_t node_id, struct links_signs *signs);

struct links_status {
    uint64_t node_id;
    const char *address; /* borrowed until the next links_set_peers */
    bool is_up;
    uint64_t epoch;                            /* of the peer's process; 0 = never up */
    uint64_t since_ms;                         /* up or down since (loop time) */
    uint64_t heard_ms;                         /* last bytes (loop time) */
    uint32_t round_trip_us, round_trip_us_max; /* smoothed, and the most of the last 64; 0 = none */
    bool has_clock;                            /* it has told its clock since it is up */
    int64_t clock_offset_ms; /* its calendar clock minus ours, within half a trip */
    uint64_t sent_bytes, received_bytes, pending_bytes;
    const char *error;            /* why it is down; NULL */
    const uint8_t *issuer_sha256; /* of the CA that signed the peer's certificate; NULL = not up */
};
/* False when it is no peer. */
bool links_status(const struct links *links, uint64_t node_id, struct links_status *status);
void links_for_each(const struct links *links, void (*fn)(void *owner, const struct links_status *),
                    void *owner);

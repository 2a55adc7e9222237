/* What brokers say to each other over the links: frames of a version byte and records. A record is
 * its kind, its length and its body, so that a kind which a node does not know is passed over.
 * Everything that comes is checked as if a stranger had sent it. Pure.
 *
 * Numbers are big endian; a message travels as the MQTT 5 PUBLISH packet that it would be for a
 * client. What came with QoS 0 travels as it came, in runs: packets of one publisher back to back,
 * so that a message costs little more than its own bytes. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define REMOTE_VERSION         1
#define REMOTE_FRAME_BYTES_MAX ((size_t)4 * 1024 * 1024)
/* The longest record: below the limit of a frame. */
#define REMOTE_RECORD_BYTES_MAX (REMOTE_FRAME_BYTES_MAX - 64)

enum remote_kind {
    REMOTE_HELLO = 1,    /* first after a link has come up: who I am, how far I have heard you */
    REMOTE_INTEREST = 2, /* so many live subscribers are at this filter now; 0 = none any more */
    REMOTE_INTEREST_END = 3, /* after HELLO: these were all */
    REMOTE_PUBLISH = 4,
    REMOTE_ACK = 5,   /* all publishes up to this number have been delivered */
    REMOTE_CLAIM = 6, /* a client has come with this id: nobody else has it */
    REMOTE_SYNC = 7,  /* say SYNCED when all before this and the log up to `index` is done, and what
                         you had begun yourself */
    REMOTE_SYNCED = 8,
    REMOTE_HOLD = 9,     /* this publisher is too fast for one of my subscribers */
    REMOTE_RELEASE = 10, /* no longer */
    REMOTE_RUN = 11,     /* QoS 0 of one publisher, one after the other, see remote_run_next */
    REMOTE_KICK = 12     /* an administrator disconnects this client */
};

struct remote_hello {
    uint64_t epoch;       /* the sender's */
    uint64_t known_epoch; /* the receiver's, as the sender knows it; 0 = not yet */
    uint64_t received;    /* the last number of a publish that it has had from that epoch */
    uint64_t stamp;       /* the highest that it has seen, see REMOTE_CLAIM */
};

struct remote_publish {
    uint64_t number;      /* grows; what was had already is passed over; RUN: of its last one */
    uint64_t after_index; /* to be delivered when the log is applied as far */
    uint64_t left_ms;     /* until it expires; 0 = never */
    struct bytes publisher;
    struct bytes shares; /* share groups of which the receiver chooses a member, see
                            remote_share_next */
    struct bytes packet; /* encoded, MQTT 5; RUN: all of them, of `version` */
    struct bytes topic, properties, payload; /* views into `packet` */
    uint8_t version;                         /* of `packet` */
    uint8_t qos;
    bool retain;
};

struct remote_record {
    uint8_t kind;      /* enum remote_kind */
    uint64_t number;   /* ACK: number; CLAIM: stamp; SYNC, SYNCED: token */
    uint64_t index;    /* SYNC: of the log; CLAIM: connection number; INTEREST: count */
    struct bytes text; /* INTEREST: filter; CLAIM, HOLD, RELEASE, KICK: client id */
    struct remote_hello hello;
    struct remote_publish publish;
};

/* Reads the record at `*at` of a frame, which starts at 0. Returns 1, 0 at the end, -EBADMSG for
 * what nobody may send, -ENOTSUP for a version that is not ours. Views are into `frame`. */
int remote_record_next(struct bytes frame, size_t *at, struct remote_record *record);
/* The next of a run, `*at` starts at 0: 1, 0 at the end, -EBADMSG. Whether its topic is a topic
 * name is not looked at: finding its route does that, once for each topic. */
int remote_run_next(const struct remote_publish *run, size_t *at, struct remote_publish *publish);
/* The next of `publish.shares`; `*at` starts at 0. */
bool remote_share_next(struct bytes shares, size_t *at, struct bytes *filter);

/* ---- writing: each appends one record, and the version byte before the first ---- */
void remote_put_hello(GByteArray *frame, const struct remote_hello *hello);
void remote_put_interest(GByteArray *frame, struct bytes filter, uint32_t count);
/* ACK, SYNCED, and the others that have at most numbers. */
void remote_put_number(GByteArray *frame, uint8_t kind, uint64_t number);
void remote_put_sync(GByteArray *frame, uint64_t token, uint64_t index);
void remote_put_claim(GByteArray *frame, uint64_t stamp, uint64_t connection_number,
                      struct bytes client_id);
/* HOLD, RELEASE, KICK. */
void remote_put_client(GByteArray *frame, uint8_t kind, struct bytes client_id);
/* `shares` as made by remote_share_append. `packet` need not be set: it is made. False when it is
 * longer than REMOTE_RECORD_BYTES_MAX: then nothing is appended. */
bool remote_put_publish(GByteArray *frame, const struct remote_publish *publish);
/* A run of one: number, after_index, publisher, version, and `packet`, which has QoS 0, is not
 * retained and has only properties that are passed on. False as above. */
bool remote_put_run(GByteArray *frame, const struct remote_publish *run);
/* Puts the packet to the run that begins at `at` and ends the frame. False when it is another run.
 */
bool remote_extend_run(GByteArray *frame, size_t at, const struct remote_publish *run);
void remote_share_append(GByteArray *shares, struct bytes filter);

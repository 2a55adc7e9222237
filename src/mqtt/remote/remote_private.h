/* What the files of mqtt/remote/ share. */
#pragma once

#include "base/list.h"
#include "loop/loop.h"
#include "mqtt/broker_private.h"
#include "mqtt/remote/interest.h"
#include "mqtt/remote/record.h"
#include "mqtt/remote/remote.h"

/* A frame is sent when it is so long: the link's turn is then to read, while it is in the cache. */
#define REMOTE_FLUSH_BYTES    ((size_t)16 * 1024)
#define REMOTE_KEPT_BYTES_MAX ((uint64_t)64 * 1024 * 1024)
/* More does not wait for a link that is full: QoS 0 is dropped, QoS > 0 sent later. */
#define REMOTE_QUEUED_BYTES_MAX (1024u * 1024)
/* So long after the start whatever a member may want that was not heard yet is kept for it. */
#define REMOTE_EXPECTED_MS 10000u
/* Claims of others that are remembered. */
#define REMOTE_CLAIMS_MAX 1024

/* A publish with QoS > 0 that a peer has not acknowledged. */
struct remote_kept {
    struct message *message; /* reference */
    uint64_t number, after_index;
    GBytes *publisher, *shares; /* references */
};

/* See late.c. */
enum lateness { LATE_OWING, LATE_PROBED, LATE_SENT, LATE_ARRIVED, LATE_FROZEN };

/* Another node's broker. */
struct remote_peer {
    struct remote *remote;
    uint64_t node_id;
    uint64_t epoch; /* of its broker; 0 = it was never heard */
    unsigned slot;
    bool is_up;        /* the link is there */
    bool is_ready;     /* its HELLO came: it may be sent publishes */
    bool is_syncing;   /* its interest is not complete: it gets everything */
    bool is_silent;    /* it did not answer in time: nobody waits for it before it says something */
    bool is_blocked;   /* the link is full: wait for broker_peer_writable */
    bool is_dropping;  /* and has been for too long */
    GByteArray *frame; /* what goes out at the end of the turn */
    size_t run_at;     /* where the run begins that ends the frame; 0 = none does */
    GQueue frames;     /* of GByteArray, owned: what stands before it while the link is full */
    size_t queued_bytes; /* of `frames` */
    struct list holding; /* publishers here that wait for the link, of flow.held_link */
    struct timer *hold_timer;
    GQueue kept;   /* of remote_kept, owned, oldest first */
    GList *unsent; /* the first of `kept` that was not sent over this link; NULL = all were */
    uint64_t kept_bytes;
    uint64_t last_sent;    /* number of the last publish sent over this link */
    uint64_t acknowledged; /* all up to this number were delivered there */
    uint64_t seen;         /* number of its last publish that came */
    uint64_t delivered;    /* all up to this number were delivered here */
    uint64_t told;         /* of `delivered`, as last acknowledged */
    GQueue waiting;        /* of GBytes, owned: publishes that wait for the log */
    uint64_t waiting_bytes;
    unsigned waiting_old; /* of them: of its broker before, whose numbers count no more */
    GArray *syncs;        /* of struct remote_sync_asked: SYNCs of the peer not answered */
    uint64_t synced;      /* the highest of our SYNCs that it has answered */
    enum lateness lateness;
    uint64_t probed_ms;                 /* since LATE_PROBED */
    uint64_t noted_bytes, noted_number; /* since LATE_SENT: what had been sent then */
    uint64_t arrived;                   /* all up to this number are in its kernel */
    struct timer *late_timer;
};

/* A SYNC that is to be answered. */
struct remote_sync_asked {
    uint64_t token, index;     /* as asked */
    uint64_t proposed, number; /* what had been begun here by then */
};

struct remote {
    struct broker *broker;
    struct remote_peer *peers[REMOTE_PEERS_MAX]; /* owned, by slot; NULL = none */
    uint64_t linked;                             /* slots of those that are up */
    uint64_t up;                                 /* of those that are ready */
    uint64_t syncing;
    struct interest interest;
    GHashTable *changed; /* filters of the live store to be told, owned */
    GHashTable *holds;   /* client id -> remote_hold, see holds.c */
    struct list waiters; /* see sync.c */
    struct timer *timer; /* for them */
    struct timer *expected_timer;
    uint64_t number; /* of the last publish forwarded */
    uint64_t stamp;  /* of the last claim seen anywhere: grows by one with each */
    uint64_t claims[REMOTE_CLAIMS_MAX]; /* connections of the last ones heard, in a ring */
    uint64_t claim_count;               /* heard so far */
    uint64_t sync_token;                /* of the last SYNC sent */
    bool is_sync_wanted;                /* a new one is to be sent */
    bool has_progress; /* acknowledged, or a peer went: lines of publishes look again */
};

/* NULL when there is none. */
struct remote_peer *remote_find(const struct remote *remote, uint64_t node_id);
/* By the 12 bits of the node id that a connection number has; NULL = none, or this node. */
struct remote_peer *remote_find_by_connection(const struct remote *remote,
                                              uint64_t connection_number);
#define remote_for_each(peer, remote)                                                              \
    for (unsigned slot_ = 0; slot_ < REMOTE_PEERS_MAX; slot_++)                                    \
        for (struct remote_peer *peer = (remote)->peers[slot_]; peer; peer = NULL)

/* Has the frame sent, when the link takes it. */
void peer_flush(struct remote_peer *peer);
void peer_set_ready(struct remote_peer *peer, bool is_ready, bool is_syncing);
/* Where to append a record of up to `bytes`: flushes when it would become too long. */
GByteArray *peer_frame(struct remote_peer *peer, size_t bytes);
/* Something is to be done at the end of this turn. */
void remote_touch(struct remote *remote);

/* forward.c */
/* A PUBLISH or RUN, and the bytes of the record. 0, or -EBADMSG for what nobody may send. */
int forward_receive(struct remote_peer *peer, const struct remote_record *record,
                    struct bytes bytes);
void forward_deliver_waiting(struct remote_peer *peer);
void forward_acknowledged(struct remote_peer *peer, uint64_t number);
void forward_pump(struct remote_peer *peer);
void forward_drop_kept(struct remote_peer *peer);
/* Nothing is kept for it any more, until it comes and says what it wants. */
void forward_give_up(struct remote_peer *peer);
void forward_drop_waiting(struct remote_peer *peer);

/* claims.c */
void claims_receive(struct remote *remote, const struct remote_record *record);
/* An administrator on another node has said so. */
void claims_kicked(struct remote *remote, struct bytes client_id);
/* Those made while there was no link. */
void claims_tell(struct remote_peer *peer);

/* Its acknowledgement of something sent or kept has not come. */
bool forward_is_owing(const struct remote_peer *peer);

/* late.c */
/* Somebody waits for it from now on: for an acknowledgement, or for the answer to a SYNC. */
void late_expect(struct remote_peer *peer);
/* Is it frozen, and all up to this number in its kernel? */
bool late_has(const struct remote_peer *peer, uint64_t number);
/* Are most of the nodes, this one among them, not frozen? */
bool late_hears_majority(const struct remote *remote);
/* Its link begins, or has ended. */
void late_reset(struct remote_peer *peer);
void late_on_timer(void *owner /* remote_peer */);

/* sync.c */
void sync_ask(struct remote *remote);
void sync_receive(struct remote_peer *peer, uint64_t token, uint64_t index);
void sync_answer(struct remote_peer *peer);
/* Looks who waits no longer. */
void sync_look(struct remote *remote);
void sync_drop(struct remote *remote);

/* holds.c */
void holds_receive(struct remote_peer *peer, struct bytes client_id, bool is_held);
/* The link is gone: nobody holds for it, or is held for it. */
void holds_forget(struct remote_peer *peer);
/* The link is not full any more, or has ended. */
void holds_release(struct remote_peer *peer);
void holds_on_timer(void *owner /* remote_peer */);

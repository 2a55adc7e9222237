/* The network between boxes: what moves the bytes of links (net/stream.h, both ends in this
 * process) and libraft's messages, with delays, and with cuts of each direction. Stands in for
 * connectors and for the port for nodes. As with TCP nothing of a connection is lost or changes its
 * place: what is under way when a direction is cut comes after it has healed, unless one side has
 * given up by then.
 *
 * The ends of a connection are the kernel's, not the process's: they close when the process and,
 * for those that the keeper holds a duplicate of, the keeper have let go of it, and only then the
 * other side hears of it. A box without power says nothing; back again it knows no connection of
 * before and answers with a reset. */
#pragma once

#include "disk.h"
#include <raft.h>

struct loop;
struct stream;

#define NET_BOXES_MAX DISK_BOXES_MAX

/* What the network knows of a box. */
struct net_box {
    struct loop *loop; /* of its process; NULL = there is none */
    struct disk *disk;
    uint64_t life; /* of the process; grows */
    bool is_awake; /* the process runs: neither dead nor stopped */
    bool has_power;
};

/* What the port of a box asks its process. */
struct net_calls {
    /* Libraft's connections are made to members, and taken from them. */
    bool (*is_member)(void *owner, unsigned box, unsigned other);
    /* Takes the stream. */
    void (*on_link)(void *owner, unsigned box, unsigned from, struct stream *stream);
};

struct net {
    const struct net_calls *calls;
    void *owner;
    GRand *random; /* borrowed */
    uint64_t now_ms;
    unsigned count;
    struct net_box boxes[NET_BOXES_MAX];
    bool cut[NET_BOXES_MAX][NET_BOXES_MAX];              /* [from][to] */
    uint32_t delay_ms_max[NET_BOXES_MAX][NET_BOXES_MAX]; /* ditto */
    GQueue mail[NET_BOXES_MAX][NET_BOXES_MAX];           /* libraft's messages, owned */
    GPtrArray *wires;                                    /* owned */
    GPtrArray *connectors;                               /* borrowed */
    int next_number;                                     /* of an end of a wire: its "descriptor" */
    uint64_t moved;                                      /* bytes of links */
};

void net_init(struct net *net, GRand *random, unsigned count);
void net_deinit(struct net *net);
uint64_t net_now_ms(const struct net *net);
/* As the process of this box reads its clock. */
uint64_t net_clock_ms(const struct net *net, unsigned box);

/* A message of libraft's to `message->server_id`, copied. */
void net_post(struct net *net, unsigned from, const struct raft_message *message);
/* Moves what is due at now_ms. */
void net_turn(struct net *net);
/* When something may arrive; UINT64_MAX = nothing is under way. */
uint64_t net_next_ms(const struct net *net);

void net_cut(struct net *net, unsigned from, unsigned to);
void net_heal(struct net *net, unsigned from, unsigned to);
/* In both directions. */
bool net_is_reachable(const struct net *net, unsigned a, unsigned b);

/* The process of this box has ended. Its ends close, but for those that are guarded. */
void net_end_process(struct net *net, unsigned box, bool (*is_guarded)(void *owner, int number),
                     void *owner);
/* The keeper lets go of its duplicate: closed, if the process is not there any more. */
void net_release(struct net *net, int number);
/* The box has no power any more: nobody is told. */
void net_lose_power(struct net *net, unsigned box);

/* One box of the simulated cluster: its disk, its clock, its keeper and its daemon, each of which
 * can be stopped, killed and started again. The daemon is the real one from consensus and links up
 * to broker and virtual IP; this file stands in for node.c and wire.c, which open files and ports.
 * The keeper's decisions are the real ones (keeper/hold.c); this stands in for its sockets, its
 * timers and its kernel. */
#pragma once

#include "disk.h"
#include "keeper/hold.h"
#include "net.h"
#include <glib.h>

struct node;
struct keeper_client;
struct state;
struct state_watch;

struct asked {
    struct keeper_message message;
    int number; /* of a link's end; 0 = none */
};

struct conflict {
    uint64_t due_ms;
};

struct guarded {
    uint32_t link;
    int number; /* of the end */
};

/* The keeper, and what the kernel has of it. */
struct desk {
    struct holds holds;
    GQueue asked;      /* of struct asked, owned: in the socket pair */
    GArray *renewals;  /* of struct keeper_message: in the other pair, which wakes nobody */
    GArray *guarded;   /* of struct guarded */
    GQueue conflicts;  /* of struct conflict, owned: answers of the LAN under way */
    uint64_t until_ms; /* the address is in the kernel until then, by its clock; 0 = it is not */
    bool is_alive, is_stopped;
};

struct box {
    unsigned at;
    struct boxes *boxes;
    struct disk disk;
    struct loop *clock; /* shows its time also while there is no daemon */
    uint64_t ahead_ms;
    int rate_ppm;
    struct desk desk;

    /* What the data directory says of the cluster. */
    GHashTable *peers;           /* peers.json: id -> address, owned; NULL = there is no node yet */
    bool is_joining, is_removed; /* node.json */
    bool is_gone;                /* for good, with its disk */
    bool is_out;                 /* not in the table of the nodes any more; changes.c notes it */

    /* The daemon. */
    struct node *node; /* NULL = there is none */
    struct state_watch *watch, *tick_watch;
    struct keeper_client *client;
    uint64_t epoch, begins_ms; /* starts again then; 0 = it runs, or somebody else says so */
    bool is_stopped;           /* as by SIGSTOP */
    bool is_dying, is_log_stopped, is_leaving;
    bool has_power;
    bool was_cut; /* while its keeper was stopped */
    uint64_t handovers;
};

struct boxes {
    struct net *net;
    GRand *random;
    uint64_t start_unix_ms, snapshot_log_bytes;
    unsigned count;
    struct box all[NET_BOXES_MAX];
    void (*on_dying)(void *owner, unsigned box); /* its clients' wires are cut */
    void (*on_dead)(void *owner, unsigned box);
    void *owner;
    GHashTable *leaders; /* term -> box, from 1 */
    uint64_t failovers;
    uint64_t both_ms; /* two holders, while a keeper was stopped behind a cut (hold.h promises
                         nothing) */
};

void boxes_init(struct boxes *boxes, struct net *net, GRand *random, unsigned count);
void boxes_deinit(struct boxes *boxes);
/* There is a node from now on: one of the first `voters`, with this snapshot in its log, ... */
void box_found(struct box *box, unsigned voters, GBytes *snapshot);
/* ... or, as `--join` leaves it, one with an empty log that knows the nodes of this table. */
void box_install(struct box *box, const struct state *table);
void box_start(struct box *box);
/* All of it at net->now_ms. */
void box_turn(struct box *box);
uint64_t box_next_ms(const struct box *box);
bool box_is_awake(const struct box *box);
/* There is a node that has not been removed, as far as it knows. */
bool box_is_there(const struct box *box);
/* One that the cluster counts on. */
bool box_is_member(const struct box *box);
/* Its broker takes clients. */
bool box_is_serving(const struct box *box);
/* The address is there, in the kernel. */
bool box_holds(const struct box *box);

/* ---- faults ---- */
void box_kill_daemon(struct box *box);
void box_kill_keeper(struct box *box); /* and with it the daemon */
void box_lose_power(struct box *box);
/* It never comes back. */
void box_lose(struct box *box);
void box_stop_daemon(struct box *box, bool is_stopped);
void box_stop_keeper(struct box *box, bool is_stopped);
/* Planned: leadership is handed over; as `drain` does, or as a stop does. */
void box_hand_over(struct box *box);
void box_leave(struct box *box);

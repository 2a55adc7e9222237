/* Boxes that come and go while the cluster works: what the people of a home do (`--join`, `node
 * rm`, `node drain`, a box that dies for good), and what must be true of it. A plan is chosen by
 * random; each step of it begins when the one before is done, and is asked for again, at any box,
 * until the table of the nodes says so. What follows from the table is the product's business.
 *
 * Not here: what goes over the wire of joining (join_client.c, join_server.c), certificates. */
#pragma once

#include "box.h"

enum change {
    CHANGE_JOIN,
    CHANGE_REMOVE,
    CHANGE_LOSE,
    CHANGE_BURY, /* the lost one is removed */
    CHANGE_DRAIN,
    CHANGE_ACTIVATE,
    CHANGE_END /* of a plan */
};

struct changes {
    struct boxes *boxes;
    GRand *random;
    const enum change *plan; /* the task that goes on, and what follows; NULL = there is none */
    struct box *box;         /* of the task; NULL = not chosen yet */
    uint64_t next_ms;        /* then the task begins */
    uint64_t again_ms;       /* then it is asked for again */
    uint64_t out_term[NET_BOXES_MAX]; /* in it libraft had lost a removed one; 0 = not yet */
    bool is_asked_out[NET_BOXES_MAX]; /* its removal was asked for, and may come late */
    bool is_told;
};

/* Without a plan nobody comes or goes. */
void changes_init(struct changes *changes, struct boxes *boxes, GRand *random, bool has_plan);
/* Goes on with the plan; without pauses between its tasks when `is_urgent`. */
void changes_turn(struct changes *changes, bool is_urgent);
/* What is left to do when nothing fails any more: the plan is done, removed boxes serve nobody, the
 * others have their roles. NULL = nothing. */
const char *changes_unrest(const struct changes *changes);
/* What this box has applied is on a majority of the disks of those that vote. */
void changes_judge_durability(const struct boxes *boxes, const struct box *box);
/* A box that was removed neither leads in a new term nor holds the address. */
void changes_judge(struct changes *changes);

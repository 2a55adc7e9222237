/* One node of the simulation and of the tests here: the real broker and state over a log in memory.
 * What the log has committed survives a crash; what is under way is lost, as with a real one. A
 * second state follows the log, and now and then is made anew from a snapshot: it must always be
 * the same. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct access;
struct broker;
struct loop;
struct state;

struct node {
    struct loop *loop; /* borrowed */
    GRand *random;     /* borrowed */
    struct state *state;
    struct state *follower;
    struct access *access;
    struct broker *broker;
    GByteArray *filling; /* the group that is being filled; empty = none */
    GQueue groups;       /* of GBytes: on their way to disk, oldest first */
    GBytes *snapshot;    /* NULL = none yet */
    GPtrArray *entries;  /* GBytes, applied since the snapshot */
    uint64_t index;      /* of the last entry */
    uint64_t epoch;
    uint64_t refusals; /* appends to refuse */
    int append_error;  /* with which; 0 = -EAGAIN, the backlog is full */
    bool is_dead, is_ticking;
};

void node_init(struct node *node, struct loop *loop, GRand *random);
void node_deinit(struct node *node);
/* Kills it, and starts it again from what is on disk. Its streams are the caller's to cut first. */
void node_crash(struct node *node);
/* Ends the turn: the group goes on its way, and up to `groups` arrive on disk and are applied. True
 * when something happened. */
bool node_turn(struct node *node, unsigned groups);
/* What was asked and is not on its way to disk yet ends with this error. */
void node_fail(struct node *node, int error);
/* The follower is the same; then it is made anew from a snapshot, and the log is cut there. */
void node_compare(struct node *node);
/* Everything that was asked of the log has been answered. */
bool node_is_quiet(const struct node *node);

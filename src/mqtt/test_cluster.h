/* Several nodes in one process: each a real broker with its own state, over one log in memory that
 * each applies at its own pace, and links in memory that can be cut, delayed and filled. What was
 * proposed and not committed stays with its node until it is; it is lost when the node dies. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define CLUSTER_NODES_MAX 5

struct access;
struct broker;
struct broker_links;
struct cluster;
struct loop;
struct state;

struct virtual_node {
    struct cluster *cluster;
    struct broker_links *links; /* owned */
    struct state *state;
    struct access *access;
    struct broker *broker;
    GByteArray *filling; /* the group that is being filled; empty = none */
    GQueue groups;       /* of GBytes, owned: not committed, oldest first */
    uint64_t id;         /* from 1 */
    uint64_t applied;    /* index */
    uint64_t epoch;
    bool is_dead, is_ticking;
    bool is_cut_off; /* from the log: nothing is committed or applied */
    bool is_frozen;  /* its process is stopped: nothing that is sent to it is read, either */
    bool is_off;     /* and nothing comes to its kernel */
};

/* One direction. */
struct cluster_link {
    GQueue frames; /* of GBytes, owned, oldest first */
    size_t bytes;
    bool is_up;        /* the sender has been told that it is */
    bool is_full;      /* the sender has been told so */
    uint64_t heard_ms; /* when the sender last heard the other one */
    uint32_t round_trip_us;
};

struct cluster {
    struct loop *loop; /* borrowed */
    GRand *random;     /* borrowed */
    struct virtual_node nodes[CLUSTER_NODES_MAX];
    unsigned count;
    struct cluster_link links[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX]; /* [from][to] */
    bool cut[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];                  /* [a][b] = [b][a] */
    GPtrArray *entries;    /* GBytes, owned: the log since the snapshot */
    GBytes *snapshot;      /* NULL = none yet */
    uint64_t base;         /* index that the snapshot holds */
    size_t link_bytes_max; /* above it a link is full */
    uint64_t moved;        /* frames and groups: as long as it grows, it is not quiet */
};

void cluster_init(struct cluster *cluster, struct loop *loop, GRand *random, unsigned count);
void cluster_deinit(struct cluster *cluster);

/* ---- steps; true when there was something to do ---- */
/* The oldest group of a node is committed. */
bool cluster_commit(struct cluster *cluster, unsigned node);
/* A node applies the next entry. */
bool cluster_apply(struct cluster *cluster, unsigned node);
/* The next frame arrives. */
bool cluster_carry(struct cluster *cluster, unsigned from, unsigned to);
/* One of two nodes notices that the link is there, or that it is gone. */
bool cluster_notice(struct cluster *cluster, unsigned from, unsigned to);
/* Ends the turn of the loop; due ticks are proposed. */
void cluster_end_turn(struct cluster *cluster);
/* All of these until nothing moves, but for what is cut. */
void cluster_settle(struct cluster *cluster);

/* ---- trouble ---- */
/* What is on its way is lost. */
void cluster_cut(struct cluster *cluster, unsigned a, unsigned b);
void cluster_heal(struct cluster *cluster, unsigned a, unsigned b);
/* The node dies and starts again from the log. Its streams are the caller's to cut first. */
void cluster_crash(struct cluster *cluster, unsigned node);
/* What the node proposed and is not committed yet ends with this error; it is not known to be lost.
 */
void cluster_fail(struct cluster *cluster, unsigned node, int error);
/* The node's state is replaced by that of `from`, as by an installed snapshot. */
void cluster_install(struct cluster *cluster, unsigned node, unsigned from);

/* ---- checks; when settled ---- */
bool cluster_is_quiet(const struct cluster *cluster);
/* All states are the same; then the log is cut there. */
void cluster_compare(struct cluster *cluster);

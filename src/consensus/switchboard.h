/* For cluster_test.c: several logs in one process on one loop, joined by socket pairs through a
 * switch that can cut each direction, heal it, and end connections. Every node writes numbered
 * groups; what any node applies is held against what the first one applied at that place, so that
 * anything lost, doubled or out of order is noticed at once. */
#pragma once

#include "consensus/consensus.h"
#include <glib.h>

#define NODES_MAX   8
#define ELECTION_MS 200

struct origin {
    uint64_t epoch, last; /* of the newest group that counted */
};

struct node {
    struct cluster *cluster;
    uint64_t id;
    char *directory; /* owned */
    struct consensus *consensus;
    struct consensus_network network;
    bool is_stopped, is_writing;

    /* Its state machine. */
    uint64_t count, digest; /* groups that counted */
    uint64_t records;
    struct origin origins[NODES_MAX + 1];
    uint32_t snapshots, restores, releases;
    uint64_t snapshot_content[3 + 2 * (NODES_MAX + 1)];
    struct consensus_piece pieces[2];

    /* What it wrote in this life. */
    uint64_t epoch, written, acknowledged;
    GArray *failed; /* of uint64_t: pairs from, to; of all lives, with the epoch in the high bits */
    int failed_error;

    enum consensus_state state;
    uint64_t leader_id, leader_term;
    uint32_t member_changes;
    int done_error; /* 1: not called yet */
    char *fatal;    /* owned */
};

struct cluster {
    struct loop *loop;
    struct timer *look, *deliver, *load;
    struct consensus_events events;
    struct node nodes[NODES_MAX + 1]; /* by id, from 1 */
    bool cut[NODES_MAX + 1][NODES_MAX + 1]; /* from, to */
    GPtrArray *relays;                      /* of struct relay, owned */
    GQueue frames;                          /* of struct frame: groups on links */
    GQueue dials;                           /* of struct dial */
    GArray *reference;                      /* of uint64_t: digest after each group that counted */
    uint32_t election_ms, write_wait_ms, load_groups, filler_bytes;
    uint64_t snapshot_log_bytes;
    size_t ballast_bytes;
    uint32_t refused; /* frames that could not be taken */
    bool is_forward_full; /* each link takes one frame at a time */
};

void cluster_init(struct cluster *cluster);
/* Stops all and removes their directories. */
void cluster_deinit(struct cluster *cluster);

/* Founds node 1 or makes node `id` ready to be added; starts it. */
struct node *cluster_start(struct cluster *cluster, uint64_t id);
/* Nodes 1 .. n, all voters, one leads. */
void cluster_build(struct cluster *cluster, uint32_t n);
void cluster_stop(struct cluster *cluster, uint64_t id);
/* Its connections end, as those of a killed process do; then it is stopped. */
void cluster_end(struct cluster *cluster, uint64_t id);
/* Throws its files away. */
void cluster_wipe(struct cluster *cluster, uint64_t id);
/* With `rescue` set: alone from now on. */
struct node *cluster_start_rescue(struct cluster *cluster, uint64_t id);
void cluster_join(struct cluster *cluster, uint64_t id, enum consensus_role role);

/* Silence from one to the other: what is sent is lost. Both of the link's groups are. */
void cluster_cut_way(struct cluster *cluster, uint64_t from, uint64_t to);
void cluster_cut(struct cluster *cluster, uint64_t id); /* from and to all others */
void cluster_heal(struct cluster *cluster);
/* Connections of this node end; new ones are refused until it is healed. */
void cluster_end_connections(struct cluster *cluster, uint64_t id);

/* Appends a group's worth: `records` records. 0 or a negative errno. */
int node_write(struct node *node, uint32_t records, size_t filler_bytes);

typedef bool cluster_condition(struct cluster *cluster);
/* Runs the loop until it is so; the test fails after 20 s. */
void cluster_run(struct cluster *cluster, cluster_condition *is_done, const char *what);
void cluster_run_ms(struct cluster *cluster, uint64_t ms);
struct node *cluster_leader(struct cluster *cluster); /* of the highest term, or NULL */
bool cluster_has_leader(struct cluster *cluster); /* one leads, all that can be heard follow it */
/* All that run have applied the same, and nobody waits for anything. */
bool cluster_is_settled(struct cluster *cluster);
/* Load for a while, then quiet until settled; asserts that every record written was acknowledged
 * unless it was refused. */
void cluster_write_for(struct cluster *cluster, uint64_t ms);
void cluster_settle(struct cluster *cluster);

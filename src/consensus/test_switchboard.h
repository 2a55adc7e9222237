/* For faults_test.c and moments_test.c: several logs in one process on one loop, joined by socket
 * pairs through a switch that can cut each direction, heal it, and end connections. Every node
 * writes numbered groups; what any node applies is held against what the first one applied at that
 * place, so that anything lost, doubled or out of order is noticed at once. */
#pragma once

#include "consensus/consensus.h"
#include <glib.h>

#define NODES_MAX   8
#define ELECTION_MS 200
#define CALM_MS     2000 /* where nobody is to be elected, however busy the machine is */

struct origin {
    uint64_t epoch, last; /* of the newest group that counted */
};

struct node {
    struct cluster *cluster;
    uint64_t id;
    char *directory; /* owned */
    struct consensus *consensus;
    struct consensus_network network;
    bool is_stopping, is_stopped, is_ended, is_writing, is_forward_full;

    /* Its state machine. */
    uint64_t count, digest; /* groups that counted */
    uint64_t records;
    struct origin origins[NODES_MAX + 1];
    uint32_t snapshots, restores, releases;
    uint64_t snapshot_content[3 + 2 * (NODES_MAX + 1)];
    struct consensus_piece pieces[2];

    /* What it wrote in this life. */
    uint64_t epoch, written, acknowledged;
    GArray *failed; /* what was refused, of all lives */
    int failed_error;

    enum consensus_state state;
    uint64_t leader_id, leader_term;
    uint32_t member_changes;
    uint32_t beats; /* sent by the links */
    int done_error; /* 1: not called yet */
    char *fatal;    /* owned */
};

struct cluster {
    struct loop *loop;
    struct timer *look, *deliver, *load;
    struct consensus_events events;
    struct node nodes[NODES_MAX + 1];       /* by id, from 1 */
    bool cut[NODES_MAX + 1][NODES_MAX + 1]; /* from, to */
    GPtrArray *relays;                      /* of struct relay, owned */
    GQueue frames;                          /* of struct frame, owned: groups on links */
    GQueue dials;                           /* of struct dial, owned */
    GArray *reference;                      /* of uint64_t: digest after each group that counted */
    struct node *changing;                  /* the leader that was asked */
    uint32_t election_ms, write_wait_ms;
    size_t filler_bytes, ballast_bytes;
    uint64_t snapshot_log_bytes;
    uint32_t refused; /* groups that could not be taken */
};

void cluster_init(struct cluster *cluster);
/* Stops all and removes their directories. */
void cluster_deinit(struct cluster *cluster);

/* Node 1 founds, the others are ready to be added; or again. */
struct node *cluster_start(struct cluster *cluster, uint64_t id);
/* Alone from now on. */
struct node *cluster_start_rescue(struct cluster *cluster, uint64_t id);
void cluster_stop(struct cluster *cluster, uint64_t id);
/* First its connections end, as those of a killed process do. */
void cluster_end(struct cluster *cluster, uint64_t id);
/* Throws its files away. */
void cluster_wipe(struct cluster *cluster, uint64_t id);

enum change_kind { CHANGE_ADD, CHANGE_ASSIGN, CHANGE_REMOVE, CHANGE_TRANSFER };
/* Asks the leader, waits; 0 or a negative errno. */
int cluster_change(struct cluster *cluster, enum change_kind kind, uint64_t id,
                   enum consensus_role role);
void cluster_join(struct cluster *cluster, uint64_t id, enum consensus_role role);
/* Nodes 1 .. n, all voters; one leads. */
void cluster_build(struct cluster *cluster, uint32_t n);

/* Silence from one to the other: what is sent is lost. Groups need both ways. */
void cluster_cut_way(struct cluster *cluster, uint64_t from, uint64_t to);
void cluster_cut(struct cluster *cluster, uint64_t id); /* from and to all others */
void cluster_heal(struct cluster *cluster);
/* Connections of this node end; new ones are refused. */
void cluster_end_connections(struct cluster *cluster, uint64_t id);

/* One group or several. 0 or a negative errno. */
int node_write(struct node *node, uint32_t records, size_t filler_bytes);
/* All that run write, from now on. */
void cluster_write(struct cluster *cluster);
void cluster_be_quiet(struct cluster *cluster);
/* No more writes; waits until all is applied everywhere, and answered. */
void cluster_settle(struct cluster *cluster);

typedef bool cluster_condition(struct cluster *cluster);
/* Runs the loop until it is so; the test fails after 20 s. */
void cluster_run(struct cluster *cluster, cluster_condition *is_done, const char *what);
void cluster_run_ms(struct cluster *cluster, uint64_t ms);
struct node *cluster_leader(struct cluster *cluster); /* of the highest term, or NULL */
/* One leads, and all that it can reach follow it. */
bool cluster_has_leader(struct cluster *cluster);
bool cluster_is_settled(struct cluster *cluster);
void cluster_print(struct cluster *cluster);

/* test_machine.c: what each log applies to. */
extern const struct consensus_events switchboard_machine;
/* Groups whose failure was told: records `from` .. `to` of one life. */
struct switchboard_failed {
    uint64_t epoch, from, to;
};
bool switchboard_has_failed(const struct node *node, uint64_t epoch, uint64_t number);

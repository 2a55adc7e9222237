/* One node: everything hangs from here. Started by main.c, joined by wire.c. */
#pragma once

#include "consensus/consensus.h"
#include "keeper/message.h"
#include "node/config.h"
#include "node/identity.h"
#include "state/state.h"

struct access;
struct api;
struct bridges;
struct broker;
struct listener;
struct loop;
struct node_cluster;
struct signal_watch;
struct state_log_link;
struct timer;
struct tls_context;

#define NODE_LISTENERS_MAX 4

struct node {
    struct node_config config;
    struct node_identity identity;
    struct loop *loop;
    struct signal_watch *signals[3];
    struct state_log_link *link; /* owns state and consensus */
    struct state *state;
    struct state_watch watch;
    struct access *access;
    struct broker *broker;
    struct bridges *bridges;
    struct api *api;
    struct node_cluster *cluster; /* NULL without a peer port */
    struct tls_context *tls;
    struct listener *listeners[NODE_LISTENERS_MAX];
    struct timer *tick;
    struct timer *waiting; /* to say that the others are waited for */
    struct timer *settled; /* nothing rare has happened for a while */
    int lock_fd;
    struct keeper_ends keeper; /* -1: none */
    bool is_stopping, is_serving, is_leading, wants_rescue;
    int exit_status;
};

/* Runs until it is told to stop; returns the exit status. argv[0] is "run". */
int node_run(int argc, char **argv);

/* ---- wire.c: what is joined when the state has been loaded ---- */
/* Access, broker, bridges; then closes what an earlier life left open, makes the first user, and
 * opens the listeners. */
void node_wire(struct node *node);
/* In the opposite order. Calls node_stopped when clients have been told. */
void node_unwire(struct node *node);
void node_wire_free(struct node *node);

/* Something rare happened: a link came up, another leads. */
void node_unsettled(struct node *node);

/* Begins to serve clients, when the state is loaded and nothing else is waited for. */
void node_serve(struct node *node);
/* Ends, and begins anew as `run --rescue`. */
void node_rescue(struct node *node);
/* It was taken out of the cluster: says so and ends, now and at each start from now on. */
void node_removed(struct node *node);
/* Ends the process with a message when something essential is missing. */
void node_fail(struct node *node, const char *message);

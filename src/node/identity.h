/* node.json: who this node is. Made when it is founded; its epoch grows by one with every start, on
 * disk before anything else happens. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct node_identity {
    uint64_t id;          /* random, 12 bits of it number connections; never 0 */
    uint64_t epoch;       /* of this start, from 1 */
    char *name, *cluster; /* owned */
    bool is_joining;      /* it has not had the cluster's log yet: raft/ may be empty */
    bool is_removed;      /* `node rm`: it must not come back under this id */
    bool is_witness;      /* it joined as one, and is one until it is removed */
};

/* 0 for a directory that is this program's, by its node.json, or in which a node can be founded:
 * one with neither a log nor the files of somebody else. */
int node_identity_check_directory(const char *directory, GError **error);
/* Reads or makes DIR/node.json. Messages name the file and what to do. */
int node_identity_load(struct node_identity *identity, const char *directory, const char *name,
                       GError **error);
/* Reads DIR/node.json and leaves it as it is. */
int node_identity_look(struct node_identity *identity, const char *directory, GError **error);
/* Writes DIR/node.json as it is now. */
int node_identity_save(const struct node_identity *identity, const char *directory, GError **error);
void node_identity_deinit(struct node_identity *identity);

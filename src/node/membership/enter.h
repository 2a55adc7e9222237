/* `--join TOKEN`: a data directory becomes that of a node of the token's cluster, before anything
 * of it is started. */
#pragma once

#include <glib.h>

struct node;

/* Runs the node's loop until it is in, or not. 0 also when the directory is of this cluster
 * already; 1 with an error, and then nothing was written. */
int cluster_enter(struct node *node, GError **error);
/* Refuses to go on as a member from a backup. 0, or an exit status with an error. */
int cluster_check_restored(const struct node *node, GError **error);
/* It goes on: from now on it is a node like any other. */
void cluster_forget_restored(const struct node *node);

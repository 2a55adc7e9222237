/* With which rights the daemon runs: none. As root starts it, this process becomes the keeper and
 * the daemon its child (keeper/); where no keeper is wanted it gives its rights up. */
#pragma once

#include "node/config.h"
#include <glib.h>

/* `*keeper_fd` is this daemon's end of the pair, -1 without a keeper. Returns in the daemon only;
 * in the keeper never. 0, or the exit status with `error`. */
int node_split_rights(const struct node_config *config, int *keeper_fd, GError **error);
/* For a daemon that executes itself anew: hands its end of the pair on. */
void node_keep_split(int keeper_fd);

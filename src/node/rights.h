/* With which rights the daemon runs: none. As root starts it, this process becomes the keeper and
 * the daemon its child (keeper/); where no keeper is wanted it gives its rights up. */
#pragma once

#include "keeper/message.h"
#include "node/config.h"
#include <glib.h>

/* `*keeper` are this daemon's ends of the pairs, -1 without a keeper. Returns in the daemon only;
 * in the keeper never. 0, or the exit status with `error`. */
int node_split_rights(const struct node_config *config, struct keeper_ends *keeper, GError **error);
/* For a daemon that executes itself anew: hands its ends of the pairs on. */
void node_keep_split(struct keeper_ends keeper);

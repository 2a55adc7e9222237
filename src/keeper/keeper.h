/* The keeper: the process that `microcloud run` was started as. It alone has rights; it forks the
 * daemon, starts it again when it crashes, and puts and takes addresses as the daemon asks
 * (message.h). When it dies, in whatever way, the kernel takes the addresses away. */
#pragma once

#include "keeper/child.h"
#include "keeper/message.h"

/* Becomes the keeper and never returns there: it exits with the daemon's status. Returns in each
 * daemon that it forks, with its ends of the pairs. Before there are threads and loops. */
struct keeper_ends keeper_run(const struct child_user *user);

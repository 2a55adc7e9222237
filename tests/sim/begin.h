/* How the simulated cluster begins: so many nodes, named box-1 and so on, and one virtual address.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

/* The content of a snapshot file; caller unrefs. */
GBytes *begin_cluster(unsigned nodes, uint64_t now_unix_ms);

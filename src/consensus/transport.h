/* libraft's way to other nodes, without ever opening a port (consensus.md, rule 1): it gets one end
 * of a socket pair for each connection, and never sees the wire. */
#pragma once

#include <stdint.h>

struct consensus;

/* Fills consensus.transport. */
void transport_init(struct consensus *self);
/* Makes libraft notice a connection that was lost. */
void transport_probe(struct consensus *self, uint64_t node_id);

/* libraft's way to other nodes, without ever opening a port (consensus.md, rule 1): it gets one end
 * of a socket pair for each connection, and never sees the wire. */
#pragma once

struct consensus;

/* Fills consensus.transport. */
void transport_init(struct consensus *self);

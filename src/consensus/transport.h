/* libraft's way to other nodes, without ever opening a port (consensus.md, rule 1). With one voter
 * it leads nowhere. */
#pragma once

struct raft_uv_transport;

void transport_init(struct raft_uv_transport *transport);

/* Nodes and virtual addresses as the API shows them: what the state's tables, the log and the
 * cluster know of each, together. Inside of api/. */
#pragma once

#include "api/cluster.h"
#include "api/request.h"
#include "consensus/consensus.h"
#include "state/cluster_tables.h"

/* Does a change go through here now: is there a leader, and room on the disk? */
bool api_takes_writes(const struct api *api, struct consensus_status *status);
/* Is what is read here perhaps not what the others have? */
bool api_is_stale(const struct api *api);

/* What is true now of a node and stands in no table. */
struct api_node_facts api_node_facts(const struct api *api, uint64_t node_id);

/* Lists, nodes in order of their names; the caller frees. A node that is in no table yet (it stands
 * alone) is listed, too. */
struct text_value *api_describe_nodes(const struct api *api);
struct text_value *api_describe_node(const struct api *api, const struct cluster_node *node);
struct text_value *api_describe_vips(const struct api *api);
/* No other one votes: without it nothing could be decided. */
bool api_votes_alone(const struct api *api, uint64_t node_id);
/* It may be removed now: the others can decide without it. */
bool api_can_spare(const struct api *api, uint64_t node_id);
/* The name of the leader; NULL when none is known. */
const char *api_leader_name(const struct api *api);
/* That an upgrade is under way and who is behind, in one sentence; NULL when all nodes run the same
 * version. Caller frees. */
char *api_upgrade(const struct api *api);
/* What is safe and what is not: a sentence, and one more while no virtual IP can move. Caller
 * frees. */
char *api_safety(const struct api *api);
char *api_id_to_string(uint64_t id); /* caller frees */

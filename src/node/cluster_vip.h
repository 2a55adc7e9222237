/* The virtual IPs between the nodes: lease, who holds them, who is connected by them. Inside of
 * node/. */
#pragma once

#include "api/cluster.h"
#include "consensus/members.h"
#include "keeper/message.h"
#include "net/stream.h"
#include "state/cluster_tables.h"
#include <stdbool.h>
#include <stdint.h>

struct cluster_vip;
struct links_echo;
struct node_cluster;

/* Takes the descriptor of the keeper's pair; -1 = there is none. */
struct cluster_vip *cluster_vip_new(struct node_cluster *cluster, struct keeper_ends keeper);
void cluster_vip_free(struct cluster_vip *vip);

/* ---- what the cluster tells ---- */
/* The state is loaded, and clients are served. */
void cluster_vip_serve(struct cluster_vip *vip);
void cluster_vip_on_table(struct cluster_vip *vip);
void cluster_vip_on_settings(struct cluster_vip *vip);
void cluster_vip_on_members(struct cluster_vip *vip);
/* A leader is known (0 = none); the one before it is what was told before. */
void cluster_vip_on_leader(struct cluster_vip *vip, uint64_t leader_id, uint64_t term);
/* This node leads and has applied all that came before, or does so no more (on_leader says when it
 * is over). */
void cluster_vip_on_leading(struct cluster_vip *vip, bool is_leading);
/* The end of the leader of this term is proven (cluster_end.c): it holds nothing any more. */
void cluster_vip_ended(struct cluster_vip *vip, uint64_t term);
void cluster_vip_on_up(struct cluster_vip *vip, uint64_t node_id);
void cluster_vip_on_down(struct cluster_vip *vip, uint64_t node_id);
void cluster_vip_on_ping(struct cluster_vip *vip, uint64_t node_id, uint64_t sent_ms);
/* The log's heartbeats have just gone to the others. */
void cluster_vip_on_beats(struct cluster_vip *vip);
void cluster_vip_on_echo(struct cluster_vip *vip, uint64_t node_id, const struct links_echo *echo);
void cluster_vip_on_frame(struct cluster_vip *vip, uint64_t node_id, struct bytes payload);
void cluster_vip_on_socket(struct cluster_vip *vip, uint32_t number, int fd);
void cluster_vip_on_socket_done(struct cluster_vip *vip, uint32_t number);
/* A client has connected, to whichever listener. */
void cluster_vip_accepted(struct cluster_vip *vip, const struct stream *stream);

/* It can say to its successor that nobody holds an address; cluster_roles_look comes when it can.
 * True, too, when that takes too long. */
bool cluster_vip_may_hand_over(const struct cluster_vip *vip);
/* Gives the addresses up, tells the others, then hands leadership to this node, or to the best one
 * (0). As consensus_transfer; -EBUSY: it is doing so already. */
int cluster_vip_hand_over(struct cluster_vip *vip, uint64_t node_id, consensus_done done,
                          void *owner);

/* ---- for the API ---- */
bool cluster_vip_is_holder(const struct cluster_vip *vip, uint64_t node_id);
/* It could hold none, as far as is known. */
bool cluster_vip_is_unable(const struct cluster_vip *vip, uint64_t node_id);
void cluster_vip_facts(struct cluster_vip *vip, const struct virtual_address *row,
                       struct api_vip_facts *facts);
/* Why no node can hold one; NULL = some can. */
const char *cluster_vip_problem(const struct cluster_vip *vip);

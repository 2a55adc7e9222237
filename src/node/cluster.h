/* This node among others: what joins consensus, links, broker and the state's tables of the
 * cluster. Without a peer port there is none of it. */
#pragma once

#include "api/cluster.h"
#include "cluster/ca.h"
#include "cluster/links.h"
#include "cluster/roles.h"
#include "consensus/consensus.h"
#include "discovery/service.h"
#include "mqtt/broker.h"
#include "state/state.h"

struct browse;
struct cluster_vip;
struct join_server;
struct node;
struct peer_listener;
struct raft_transport;
struct responder;

/* What lies in tls/ of a node that belongs to a cluster. */
struct cluster_files {
    const char *chain_pem, *key_pem, *ca_pem;
    const uint8_t *cluster_key; /* CA_KEY_BYTES */
};

/* What another node has said of the leader's end (cluster_end.c). */
struct end_witness {
    uint64_t node_id, leader_id, term, last_index, last_term;
};

struct node_cluster {
    struct node *node;
    struct consensus_network network;
    struct broker_links broker_links;
    struct api_cluster api;
    struct state_watch watch;

    /* When there are certificates (cluster_open). */
    struct tls_context *server, *link_client, *raft_client;
    struct links *links;
    struct raft_transport *transport;
    struct peer_listener *listener;
    struct join_server *join_server;
    struct ca *ca; /* of `ca_generation` in the state */
    uint64_t ca_generation;
    GHashTable *addresses; /* id (uint64_t *) -> char *, of all other nodes */
    GArray *failing;       /* tokens of libraft's connects that cannot be made */
    struct timer *fail_timer;

    struct timer *renew_timer, *removed_timer, *ask_timer;

    /* The time of the cluster. */
    struct timer *clock_timer;    /* while somebody waits for it */
    void (*on_clock)(void *node); /* who waits */
    bool is_clock_known, is_clock_off;
    uint64_t jumped_ms; /* the majority since says another time; 0 = it does not */

    /* Leading. */
    struct timer *roles_timer, *leave_timer;
    uint64_t roles_ms; /* when they were looked at last */
    void (*on_left)(void *node);
    GHashTable *down; /* ids of nodes that were declared down since they were last up */
    uint64_t led_since_ms;
    bool is_changing_roles;

    /* The end of a leader. */
    GArray *ends; /* struct end_witness */
    struct timer *end_timer;
    int tries; /* left */

    struct cluster_vip *vip;

    struct service service;
    struct responder *responder;
    struct browse *browse;  /* while a fresh node listens for others */
    GHashTable *neighbours; /* clusters that were named already */
    uint64_t told_index; /* the table of another counts before ours that is older; 0 = none does */
    uint64_t leader_id, term;
    uint64_t removed_by; /* who said so */
    bool is_member;      /* its row has been seen in the table */
    bool is_ready;       /* the state has been loaded, and the broker is there */
    bool is_founding, is_updating_row, is_ending_rotation;
    bool has_asked; /* the others, before it serves alone */
};

struct node_cluster *node_cluster_new(struct node *node);
void node_cluster_free(struct node_cluster *cluster);
/* Opens the port and the links when this node has certificates already. 0, or -errno with error. */
int node_cluster_start(struct node_cluster *cluster, GError **error);
/* The state is loaded: may clients be served? If not, node_serve is called when they may be. */
bool node_cluster_may_serve(struct node_cluster *cluster);
/* The state is loaded and the broker there: founds the authority when there is none yet. */
void node_cluster_serve(struct node_cluster *cluster);
/* Clients are served: an address may be taken. */
void node_cluster_ready(struct node_cluster *cluster);
void node_cluster_on_leader(struct node_cluster *cluster, uint64_t leader_id, uint64_t term);
/* This node leads and has applied all that came before. */
void node_cluster_on_leading(struct node_cluster *cluster, bool is_leading);
void node_cluster_on_members(struct node_cluster *cluster);
/* Hands leadership over, then calls `fn` with the node, on the loop, within half a second, or half
 * an election timeout when that is longer. */
void node_cluster_leave(struct node_cluster *cluster, void (*fn)(void *node));

/* ---- between its files ---- */
int cluster_open(struct node_cluster *cluster, GError **error);
/* cluster_links.c: `owner` is the cluster. */
extern const struct links_events cluster_links_events;
struct consensus *cluster_consensus(const struct node_cluster *cluster);
/* The setting: what the patience of the nodes with each other is counted in. */
uint32_t cluster_election_ms(const struct node_cluster *cluster);
int cluster_forward(void *owner, uint64_t leader_id, uint64_t term, struct bytes group);
int cluster_beat(void *owner, uint64_t node_id, struct bytes beat);
void cluster_on_beats(void *owner);
int cluster_broker_send(void *owner, uint64_t node_id, struct bytes frame);
void cluster_broker_probe(void *owner, uint64_t node_id);
void cluster_broker_look(void *owner, uint64_t node_id, struct broker_link *link);
/* What brokers say of their clients when a link comes up found no broker here until now. */
void cluster_begin_links_anew(struct node_cluster *cluster);
/* membership/authority.c: looks after authority, this node's certificate, its row in the table. */
void cluster_look_after(struct node_cluster *cluster);
void cluster_on_renew_timer(void *owner);
/* The authority of the state, with its key; NULL with an error. */
struct ca *cluster_authority(struct node_cluster *cluster, GError **error);
/* Proposes a new authority. 0, or -errno with an error. */
int cluster_rotate(struct node_cluster *cluster, GError **error);
/* Caller frees both. */
char *cluster_own_address(const struct node_cluster *cluster);
char *cluster_fingerprint_hex(const uint8_t fingerprint[CA_FINGERPRINT_BYTES]);
/* membership/files.c */
int cluster_files_save(const char *data, const struct cluster_files *files, GError **error);
bool cluster_files_exist(const char *data);
int cluster_key_load(const char *data, uint8_t key[CA_KEY_BYTES], GError **error);
/* peers.json: where the others are, for a start before the state is loaded. Caller unrefs. */
GHashTable *cluster_peers_load(const char *data);
int cluster_peers_save(const char *data, GHashTable *addresses, GError **error);
/* membership/nodes.c: `owner` is the cluster. */
void cluster_on_nodes(void *owner);
/* Who is there (0 = to all): who was away does not know those that came meanwhile. */
void cluster_tell_nodes(struct node_cluster *cluster, uint64_t node_id);
void cluster_told_nodes(struct node_cluster *cluster, uint64_t node_id, struct bytes call);
/* Time has passed: the own table may be as new as what was told. */
void cluster_nodes_look(struct node_cluster *cluster);
/* Links are to all whose address is known. */
void cluster_set_peers(struct node_cluster *cluster);
bool cluster_is_member(void *owner, uint64_t node_id);
/* Also a stranger of this cluster, when it may be a member that came while this node was away. */
bool cluster_let_in(void *owner, uint64_t node_id);
/* It was one once. */
bool cluster_was_removed(void *owner, uint64_t node_id);
/* membership/join.c */
struct join_server *cluster_join_server(struct node_cluster *cluster);
/* cluster_clock.c */
/* Something may be new: members, a link, an answered ping. */
void cluster_clock_look(struct node_cluster *cluster);
/* For a group of the log; 0 = not known yet, then it has no word in it. */
uint64_t cluster_clock_unix_ms(struct node_cluster *cluster);
/* This machine's clock before that of the cluster. */
int64_t cluster_clock_off_ms(const struct node_cluster *cluster);
/* Calls `fn` when the time of the cluster is known, or could not be learnt in a while. */
void cluster_clock_wait(struct node_cluster *cluster, void (*fn)(void *node));
void cluster_clock_on_timer(void *owner);
/* cluster_roles.c */
/* Of all members and rows, struct roles_member; caller unrefs. The view borrows them. */
GArray *cluster_members(const struct node_cluster *cluster);
struct roles_view cluster_view(const struct node_cluster *cluster, const GArray *members);
/* Its vote is not needed (roles_can_spare). */
bool cluster_can_spare(const struct node_cluster *cluster, uint64_t node_id);
void cluster_roles_look(struct node_cluster *cluster);
void cluster_roles_on_timer(void *owner);
void cluster_roles_on_beats(struct node_cluster *cluster);
void cluster_leave_on_timer(void *owner);
/* After a rescue: the others are gone for good, whatever the table says. */
void cluster_remove_others(struct node_cluster *cluster);
/* cluster_topics.c */
void cluster_topics(void *owner, broker_topic_fn *fn, void *fn_owner);
/* cluster_neighbours.c */
void cluster_look_for_neighbours(struct node_cluster *cluster);
void cluster_forget_neighbours(struct node_cluster *cluster);
/* membership/rotation.c: this node has other authorities to trust; whether a rotation is over. */
void cluster_rotation_apply(struct node_cluster *cluster);
void cluster_rotation_look(struct node_cluster *cluster);
/* membership/lone.c */
/* The only one that votes. */
bool cluster_decides_alone(const struct node_cluster *cluster);
void cluster_lone_on_up(struct node_cluster *cluster);
void cluster_lone_on_timer(void *owner);
/* membership/removed.c: `node rm` of this node, read in the table or told by another. */
void cluster_removed_look(struct node_cluster *cluster);
void cluster_removed_told(void *owner, uint64_t node_id);
void cluster_removed_on_timer(void *owner);
/* cluster_end.c */
void cluster_end_seen(struct node_cluster *cluster, uint64_t node_id);
void cluster_end_told(struct node_cluster *cluster, uint64_t node_id, struct bytes call);
void cluster_end_on_timer(void *owner);
/* cluster_api.c */
void cluster_api_init(struct node_cluster *cluster);

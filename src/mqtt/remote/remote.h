/* The broker among others: live subscribers of other nodes get what is published here, and the
 * other way round, over the links between the nodes. What is durable goes through the log and never
 * over a link. A broker without links has no `struct remote`: broker->remote is NULL.
 *
 * Seen by the files of mqtt/; mqtt/broker.h has what node/ calls (broker_peer_...). */
#pragma once

#include "mqtt/publication.h"
#include "state/propose.h"

struct broker;
struct connection;
struct interest_route;
struct publication;
struct remote;
struct routes;
struct share_choices;

struct remote *remote_new(struct broker *broker);
void remote_free(struct remote *remote); /* takes NULL */
/* The end of the broker's turn: what waits for something looks again, frames go out. */
void remote_end_of_turn(struct remote *remote);

/* ---- publishing (forward.c) ---- */
/* Where it is wanted elsewhere, for choosing members of share groups. */
const struct interest_route *remote_route(struct remote *remote, struct bytes topic);
/* To every peer that wants it. Counts them into publication->matched. Returns its number when it
 * has been sent to a peer that is to acknowledge it, for remote_is_flushed; 0 = nobody to wait for.
 */
uint64_t remote_forward(struct remote *remote, struct publication *publication,
                        const struct routes *routes, const struct share_choices *choices);
/* Have the peers that are there delivered all that was forwarded up to this number? */
bool remote_is_flushed(const struct remote *remote, uint64_t number);
/* The same, but it is enough that a peer that is frozen has it in its kernel (late.c): may its
 * publisher be told so? */
bool remote_may_acknowledge(const struct remote *remote, uint64_t number);
/* Is there any other node? */
bool remote_is_linked(const struct remote *remote);
/* May any other node have live subscribers for it? */
bool remote_is_wanted(struct remote *remote, struct bytes topic);

/* ---- share groups (shares.c) ---- */
/* Is there any share group on another node? */
bool remote_has_shares(const struct remote *remote);
/* Members of a share group on other nodes: how many live ones, and drawing a node among them. */
uint32_t remote_share_weight(struct remote *remote, struct bytes topic, struct bytes filter);
/* Adds the choice; false when there is no such node. */
bool remote_share_choose(struct remote *remote, struct bytes topic, struct bytes filter,
                         struct share_choices *choices);
/* The node that has this connection, when it is another one that is linked; adds the choice. */
bool remote_share_choose_node(struct remote *remote, uint64_t connection_number,
                              struct bytes filter, struct share_choices *choices);
/* Is the connection on another node that is linked? */
bool remote_has_connection(const struct remote *remote, uint64_t connection_number);
/* A group that the origin did not choose for (of a will): is it a node before this one that takes
 * its turn? */
bool remote_share_is_of_other(struct remote *remote, struct bytes topic, struct bytes filter);
uint64_t remote_node_id(const struct remote *remote, unsigned slot);

/* ---- clients (claims.c) ---- */
/* A client has come here: whoever has it elsewhere lets it go. */
void remote_claim(struct remote *remote, struct connection *connection, struct bytes client_id);
/* How many claims of others have been heard so far. */
uint64_t remote_claims_heard(const struct remote *remote);
/* Was that of this connection among the first `count`, and not long before? */
bool remote_has_heard(const struct remote *remote, uint64_t connection_number, uint64_t count);

/* ---- waiting for the others (sync.c) ---- */
/* Calls `fn` once every peer that is there knows of the subscriptions and claims made so far, has
 * applied the log as far as this node, and has done what it had begun for clients of its own;
 * REMOTE_SYNC_MS later at most. A peer that is frozen (late.c) is waited for only when `is_of_log`:
 * something in the log is to be known there. False when there is nobody to wait for:
 * then `fn` is not called. */
#define REMOTE_SYNC_MS 1000
bool remote_sync(struct remote *remote, bool is_of_log, void (*fn)(void *owner), void *owner);

/* ---- what an administrator says (claims.c) ---- */
/* Whichever other node this client is connected to disconnects it; false when there is nobody to
 * tell. */
bool remote_kick(struct remote *remote, struct bytes client_id);

/* ---- peers that are frozen (late.c) ---- */
/* Four such steps pass, or eight usual round trips of the link, whichever is more. */
#define REMOTE_LATE_STEP_MS 50

/* ---- slow subscribers here, publishers there (holds.c) ---- */
/* Lets the publisher be held by its node while `subscriber` is congested; `slot` names the node, or
 * REMOTE_EVERY_SLOT. */
#define REMOTE_EVERY_SLOT UINT32_MAX
void remote_hold(struct remote *remote, struct bytes publisher, struct connection *subscriber,
                 uint32_t slot);
/* A publisher here waits for links that are full, for REMOTE_HOLD_MS at most: then what it sends
 * with QoS 0 is dropped until they are not. */
#define REMOTE_HOLD_MS 50
void remote_hold_here(struct remote *remote, struct connection *publisher, uint64_t links);

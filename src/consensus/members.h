/* The log of several nodes: how they reach each other, who votes, who leads. consensus.h is the
 * rest of the contract. */
#pragma once

#include "consensus/consensus.h"

/* The answer to network.connect: one end of a socket pair (the log's from now on), or a negative
 * errno. */
void consensus_connected(struct consensus *consensus, uint64_t token, int fd);
/* This node has connected to us; `fd` as above. */
void consensus_accept(struct consensus *consensus, uint64_t node_id, int fd);
/* Other ones than the options'; the same on every node, soon. */
void consensus_set_timeouts(struct consensus *consensus, uint32_t election_ms,
                            uint32_t write_wait_ms);
/* The link to this node is there (again): what it may have lost is sent anew, oldest first. */
void consensus_reachable(struct consensus *consensus, uint64_t node_id);
void consensus_network_writable(struct consensus *consensus);
/* A group that another node has forwarded. 0, or -ENOTCONN (not leading in this term: its origin
 * hears of the new leader and sends it there), -EBADMSG, -ENOBUFS (end the link: it sends anew). */
int consensus_receive(struct consensus *consensus, uint64_t term, struct bytes group);
/* What network.beat of this node has sent. What cannot be read is ignored. */
void consensus_beat(struct consensus *consensus, uint64_t node_id, struct bytes beat);

typedef void (*consensus_done)(void *owner, int error);
/* Changes of the membership, by the leader, one at a time: 0 and `done` later, or a negative errno:
 * -ENOTCONN (not leading), -EBUSY (another is going on), -EEXIST, -ENOENT, -EALREADY (it has this
 * role). `address` is a name for people. A node is added as a spare. */
int consensus_add(struct consensus *consensus, uint64_t node_id, const char *address,
                  consensus_done done, void *owner);
int consensus_assign(struct consensus *consensus, uint64_t node_id, enum consensus_role role,
                     consensus_done done, void *owner);
int consensus_remove(struct consensus *consensus, uint64_t node_id, consensus_done done,
                     void *owner);
/* Hands leadership to a voter (0 = the one that is furthest). `done`: 0 when it is no longer ours.
 */
int consensus_transfer(struct consensus *consensus, uint64_t node_id, consensus_done done,
                       void *owner);
struct consensus_member {
    uint64_t node_id;
    enum consensus_role role;
    uint64_t match_index; /* what it has of the log; the leader alone knows it, else 0 */
    uint64_t silent_ms;   /* since its last message came; of this node 0; UINT64_MAX: none yet */
};
void consensus_for_each_member(const struct consensus *consensus,
                               void (*fn)(void *owner, const struct consensus_member *member),
                               void *owner);
/* Leading: the last round of heartbeats asks this voter for an answer. Enough for a majority are.
 */
bool consensus_is_asked(const struct consensus *consensus, uint64_t node_id);
/* It is proven that the leader's process has ended: elect at once. By one follower at a time: the
 * others' loyalty to the old leader is ignored. Returns whether an election was begun. */
bool consensus_leader_ended(struct consensus *consensus);
/* When the word of the leader that is known now was last heard, CLOCK_BOOTTIME in ms: libraft will
 * not elect another for a full timeout from then on, unless that one has ended or hands over.
 * 0 = not yet. */
uint64_t consensus_heard_ms(const struct consensus *consensus);
/* When the word of any other leader than this node was last heard, or we led ourselves; never
 * before this process began, since nothing is known of what it had promised until then. */
uint64_t consensus_heard_other_ms(const struct consensus *consensus, uint64_t node_id);
/* For choosing who goes first. */
void consensus_last_entry(const struct consensus *consensus, uint64_t *index, uint64_t *term);

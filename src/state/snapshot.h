/* The whole state as bytes. The same state gives the same bytes on every node; a message that
 * stands in many places stands there once. Checksum and length around it are consensus's. */
#pragma once

#include "base/bytes.h"
#include "consensus/consensus.h"
#include <glib.h>
#include <stdint.h>

struct state;

/* Version 1 had neither the time nor the cluster's tables. */
#define STATE_SNAPSHOT_VERSION 2
/* Bodies of messages from this size on are handed over by reference, smaller ones are copied. */
#define STATE_SNAPSHOT_REFERENCE_BYTES_MIN 256

/* Immutable: the state goes on changing while it is written to disk. Never NULL. */
struct state_snapshot;
struct state_snapshot *state_snapshot_new(const struct state *state);
/* Valid until free. In order, together they are the snapshot. */
const struct consensus_piece *state_snapshot_pieces(const struct state_snapshot *snapshot,
                                                    uint32_t *count);
uint64_t state_snapshot_bytes(const struct state_snapshot *snapshot);
/* On the loop's thread: message counts are not atomic. NULL is fine. */
void state_snapshot_free(struct state_snapshot *snapshot);

/* Replaces the whole state. -ENOTSUP (a newer version), -EBADMSG (damage); then nothing has
 * changed. Sessions that were there end for the watches; proposals that the snapshot already holds
 * end with -ECANCELED. */
int state_restore(struct state *state, struct bytes bytes, GError **error);

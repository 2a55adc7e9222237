/* What each other node says of the virtual IPs: whether it could hold them, which ones it holds,
 * and what is wrong with them there. So each node can answer who holds which, and why not.
 *
 * A state: able (1), then for each address: family (1), address (16), held (1), length of the
 * problem (1), the problem as text. What is longer, or follows in newer versions, is left aside. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct ingress;
struct peer_states;
struct virtual_address;

struct peer_states *peer_states_new(void);
void peer_states_free(struct peer_states *states);

/* Appends the state of this node. */
void peer_states_describe(GByteArray *bytes, const struct ingress *ingress);
/* Another node's; malformed ones are ignored. What it holds, nobody else does any more. */
void peer_states_told(struct peer_states *states, uint64_t node_id, struct bytes state);
/* It is not reached: nothing is known of it. */
void peer_states_forget(struct peer_states *states, uint64_t node_id);

bool peer_states_is_able(const struct peer_states *states, uint64_t node_id);
/* It has said that it could hold none. */
bool peer_states_is_unable(const struct peer_states *states, uint64_t node_id);
bool peer_states_is_any_able(const struct peer_states *states);
/* Whether it holds at least one. */
bool peer_states_is_holder(const struct peer_states *states, uint64_t node_id);
/* Who holds this one; 0 = none of the others, as far as is known. */
uint64_t peer_states_holder(const struct peer_states *states, const struct virtual_address *vip);
/* What some node says is wrong with it, for people; NULL = nothing. Borrowed until the next state.
 */
const char *peer_states_problem(const struct peer_states *states,
                                const struct virtual_address *vip);

/* Whether an address can become a virtual IP, as far as this node sees: what is refused at once
 * need not move leadership from node to node until somebody notices. */
#pragma once

struct state;

/* `address` is ADDRESS/PREFIX, `interface` a name or "". Why not, for people, caller frees; NULL =
 * it can, or is no address at all (the state says so). What is in the table already is not refused.
 */
char *candidate_refusal(const char *address, const char *interface, const struct state *state);

/* The lease on the virtual addresses (consensus.md: leadership is not a lock). The leader may hold
 * them until LEASE_SHARE of an election timeout after it *sent* the newest message that a majority
 * of the voters, itself included, has echoed; the echo of a voter says when it last heard
 * libraft's word of the leader (links.h), so it will not elect another before the lease is over. A
 * new leader holds nothing before a majority of the voters has last heard another leader more than
 * an election timeout ago: each lease needs a promise of one of them, and is over then. It need not
 * wait when the old one is known to hold nothing (its end is proven, or it said so). Pure; all
 * times are CLOCK_BOOTTIME in ms. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_VOTERS_MAX 16

struct lease_voter {
    uint64_t node_id;
    uint64_t echoed_ms; /* when it heard us last, as far as is known; 0 = not in this term */
    uint64_t other_ms;  /* when it last heard another leader; UINT64_MAX = it has not said so */
};

struct lease {
    struct lease_voter voters[LEASE_VOTERS_MAX];
    uint32_t voter_count;
    uint64_t self_id;
    uint64_t term;       /* in which we lead; 0 = we do not */
    uint64_t led_ms;     /* leading since; echoes of what was sent before do not count */
    uint64_t applied_ms; /* when the first entry of the term was; 0 = not yet */
    bool is_old_ended;   /* the leader before holds nothing */
    uint64_t election_timeout_ms;
};

void lease_init(struct lease *lease, uint64_t self_id, uint64_t election_timeout_ms);
/* Counts at once for holding; a wait that has begun stays as long as it was. */
void lease_set_election_timeout(struct lease *lease, uint64_t election_timeout_ms);
/* The voters of the newest configuration known; keeps echoes of those that stay. */
void lease_set_voters(struct lease *lease, const uint64_t *node_ids, size_t count);
/* Elected in this term. */
void lease_lead(struct lease *lease, uint64_t term, uint64_t now_ms);
/* The first entry of the own term has been applied. `is_old_ended`: the old holder's end is proven,
 * or there was none: nothing need be waited for. */
void lease_applied(struct lease *lease, uint64_t now_ms, bool is_old_ended);
/* A voter, itself included, last heard another leader no later than this. */
void lease_other(struct lease *lease, uint64_t node_id, uint64_t other_ms);
/* Leads no more, or hands over: the address goes at once. */
void lease_lose(struct lease *lease);
/* A voter heard us at this time or later, and will elect nobody for a timeout from then on. */
void lease_echo(struct lease *lease, uint64_t node_id, uint64_t heard_ms);

/* Nobody else can have a lease any more. */
bool lease_is_free(const struct lease *lease, uint64_t now_ms);
/* Until when the addresses may be held; 0 = not at all now. Never more than LEASE_SHARE of an
 * election timeout from now. */
uint64_t lease_until_ms(const struct lease *lease, uint64_t now_ms);
/* When to look again if nothing happens: the end of waiting or of the lease; 0 = no need. */
uint64_t lease_next_ms(const struct lease *lease, uint64_t now_ms);

/* See lease.h. The echoes of the voters are sorted by when they were sent: the newest that a
 * majority has reached is where the lease begins. The leader echoes itself at once. */
#include "cluster/lease.h"
#include <assert.h>
#include <string.h>

/* Three quarters of an election timeout: the rest is for clocks that run at different speeds and
 * for what it takes to let the address go. A new leader counts a whole one. */
#define SHARE_NUMERATOR   3
#define SHARE_DENOMINATOR 4

static uint64_t share_ms(const struct lease *lease)
{
    return lease->election_timeout_ms * SHARE_NUMERATOR / SHARE_DENOMINATOR;
}

void lease_init(struct lease *lease, uint64_t self_id, uint64_t election_timeout_ms)
{
    assert(self_id != 0 && election_timeout_ms > 0);
    *lease = (struct lease){.self_id = self_id, .election_timeout_ms = election_timeout_ms};
}

/* Others may still count with the old one: who waits takes the longer one, so the wait that has
 * begun is never cut short. */
void lease_set_election_timeout(struct lease *lease, uint64_t election_timeout_ms)
{
    assert(election_timeout_ms > 0);
    lease->election_timeout_ms = election_timeout_ms;
}

static struct lease_voter *find(struct lease *lease, uint64_t node_id)
{
    for (uint32_t i = 0; i < lease->voter_count; i++) {
        if (lease->voters[i].node_id == node_id) {
            return &lease->voters[i];
        }
    }
    return NULL;
}

void lease_set_voters(struct lease *lease, const uint64_t *node_ids, size_t count)
{
    struct lease_voter voters[LEASE_VOTERS_MAX];

    assert(count <= LEASE_VOTERS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct lease_voter *known = find(lease, node_ids[i]);
        voters[i] = known ? *known : (struct lease_voter){node_ids[i], 0, UINT64_MAX};
    }
    memcpy(lease->voters, voters, count * sizeof *voters);
    lease->voter_count = (uint32_t)count;
}

void lease_lead(struct lease *lease, uint64_t term, uint64_t now_ms)
{
    assert(term > 0);
    if (lease->term == term) {
        return;
    }
    lease->term = term;
    lease->led_ms = now_ms;
    lease->applied_ms = 0;
    for (uint32_t i = 0; i < lease->voter_count; i++) {
        lease->voters[i].echoed_ms = 0;
        lease->voters[i].other_ms = UINT64_MAX;
    }
}

void lease_applied(struct lease *lease, uint64_t now_ms, bool is_old_ended)
{
    if (lease->term != 0 && lease->applied_ms == 0) {
        lease->applied_ms = now_ms;
        lease->is_old_ended = is_old_ended;
    }
}

void lease_other(struct lease *lease, uint64_t node_id, uint64_t other_ms)
{
    struct lease_voter *voter = find(lease, node_id);

    if (voter && lease->term != 0) {
        voter->other_ms = other_ms;
    }
}

void lease_lose(struct lease *lease)
{
    lease->term = 0;
    lease->applied_ms = 0;
}

void lease_echo(struct lease *lease, uint64_t node_id, uint64_t heard_ms)
{
    struct lease_voter *voter = find(lease, node_id);

    if (voter && lease->term != 0 && heard_ms >= lease->led_ms && heard_ms > voter->echoed_ms) {
        voter->echoed_ms = heard_ms;
    }
}

/* When the newest message that a majority has was sent; 0 = there is none. */
static uint64_t majority_ms(const struct lease *lease, uint64_t now_ms)
{
    uint64_t sorted[LEASE_VOTERS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < lease->voter_count; i++) {
        const struct lease_voter *voter = &lease->voters[i];
        uint64_t at_ms = voter->node_id == lease->self_id ? now_ms : voter->echoed_ms;
        uint32_t place = count++;
        for (; place > 0 && sorted[place - 1] < at_ms; place--) {
            sorted[place] = sorted[place - 1];
        }
        sorted[place] = at_ms;
    }
    return count > 0 ? sorted[count / 2] : 0;
}

/* From when on nobody else can have a lease; 0 = not known yet. */
static uint64_t free_from_ms(const struct lease *lease)
{
    uint64_t sorted[LEASE_VOTERS_MAX];
    uint32_t count = 0;

    if (lease->term == 0 || lease->applied_ms == 0) {
        return 0;
    }
    if (lease->is_old_ended) {
        return lease->applied_ms;
    }
    for (uint32_t i = 0; i < lease->voter_count; i++) {
        uint32_t place = count++;
        for (; place > 0 && sorted[place - 1] > lease->voters[i].other_ms; place--) {
            sorted[place] = sorted[place - 1];
        }
        sorted[place] = lease->voters[i].other_ms;
    }
    uint64_t other_ms = count > 0 ? sorted[count / 2] : UINT64_MAX;
    if (other_ms == UINT64_MAX) {
        return 0;
    }
    uint64_t over_ms = other_ms + lease->election_timeout_ms;
    return over_ms > lease->applied_ms ? over_ms : lease->applied_ms;
}

bool lease_is_free(const struct lease *lease, uint64_t now_ms)
{
    uint64_t from_ms = free_from_ms(lease);

    return from_ms != 0 && now_ms >= from_ms;
}

uint64_t lease_until_ms(const struct lease *lease, uint64_t now_ms)
{
    uint64_t sent_ms = majority_ms(lease, now_ms);

    if (!lease_is_free(lease, now_ms) || sent_ms == 0) {
        return 0;
    }
    uint64_t until_ms = (sent_ms < now_ms ? sent_ms : now_ms) + share_ms(lease);
    return until_ms > now_ms ? until_ms : 0;
}

uint64_t lease_next_ms(const struct lease *lease, uint64_t now_ms)
{
    uint64_t from_ms = free_from_ms(lease);

    return from_ms == 0 || now_ms < from_ms ? from_ms : lease_until_ms(lease, now_ms);
}

/* The virtual IPs at this node: asks the keeper for those of the table while the lease lasts, and
 * knows what came of it. Who has the lease is the owner's business (cluster/lease.h). */
#pragma once

#include "keeper/message.h"
#include "state/cluster_tables.h"
#include <stdbool.h>
#include <stdint.h>

struct ingress;
struct loop;

struct ingress_events {
    /* An address was taken: announce it to whom it concerns (tickles). */
    void (*on_held)(void *owner, const struct virtual_address *vip);
    /* What is held, or why not, has changed. */
    void (*on_changed)(void *owner);
};

/* Takes the ends of the keeper's pairs; -1: there is none, nothing can be held. */
struct ingress *ingress_new(struct loop *loop, struct keeper_ends keeper,
                            const struct ingress_events *events, void *owner);
void ingress_free(struct ingress *ingress);
/* The daemon is up: a crash from now on is mended by the keeper. */
void ingress_ready(struct ingress *ingress);
/* The table of the state. An address that is new in it while `is_new_looked_at` is looked for on
 * the LAN for longer: nobody has ever held it for this cluster. */
void ingress_set(struct ingress *ingress, const struct state *state, bool is_new_looked_at);
/* The lease lasts until (CLOCK_BOOTTIME); 0 = over, everything is given up at once. */
void ingress_lease(struct ingress *ingress, uint64_t until_ms);
/* Gives everything up; `fn` comes when the keeper has done so, or does not answer (not certain). */
void ingress_give_up(struct ingress *ingress, void (*fn)(void *owner, bool is_certain),
                     void *owner);

/* The keeper is there and answers, and could take at least one of what it was asked for. */
bool ingress_is_able(const struct ingress *ingress);
bool ingress_holds_any(const struct ingress *ingress);
bool ingress_holds(const struct ingress *ingress, const struct virtual_address *vip);
/* An address of ours, as bytes: one that is held now. */
bool ingress_has(const struct ingress *ingress, const uint8_t *address, bool is_ipv6);
/* Of each address of the table. */
struct ingress_status {
    const uint8_t *address; /* IPv4: the first four bytes */
    bool is_ipv6, is_held;
    const char *problem; /* NULL = none; both borrowed during the call */
};
void ingress_for_each(const struct ingress *ingress,
                      void (*fn)(void *owner, const struct ingress_status *status), void *owner);
/* For people; NULL = none. Borrowed until the next turn. */
const char *ingress_problem(const struct ingress *ingress, const struct virtual_address *vip);

/* A link's socket: kept open by the keeper until the addresses are gone. */
void ingress_guard(struct ingress *ingress, uint32_t number, int fd);
void ingress_unguard(struct ingress *ingress, uint32_t number);
/* Tells a client of an address of ours that its connection is gone. */
struct ingress_client;
void ingress_tickle(struct ingress *ingress, const struct ingress_client *client);

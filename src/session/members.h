/* The subscriptions of one filter, or of one share group: an array in which each knows its place,
 * so that one leaves in constant time whether there are two or ten thousand. From a certain number
 * on, an index finds the one of a session. The order changes when one leaves (the last takes its
 * place), the same way on every node. */
#pragma once

#include "session/session.h"

struct members {
    struct subscription **items;
    uint32_t count, capacity;
    uint32_t *index; /* NULL while short; places + 1 by hash of the session, 0 = free; 2 or more
                        slots a member */
    uint32_t index_mask;
};

void members_deinit(struct members *members);
/* Sets subscription.place. */
void members_add(struct members *members, struct subscription *subscription);
void members_remove(struct members *members, struct subscription *subscription);
/* NULL when the session has none here. */
struct subscription *members_find(const struct members *members, const struct session *session);

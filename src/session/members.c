/* See members.h. The index is open addressing with linear probing; on removal the slots behind move
 * up, so that no marks of deleted ones pile up. */
#include "session/members.h"
#include <assert.h>
#include <glib.h>

#define INDEX_FROM 16 /* below it, looking at each is as fast */

static uint32_t hash_of(const struct session *session)
{
    return (uint32_t)(((uintptr_t)session >> 4) * 0x9e3779b97f4a7c15u >> 32);
}

void members_deinit(struct members *members)
{
    g_free(members->items);
    g_free(members->index);
    *members = (struct members){0};
}

static uint32_t *index_slot(const struct members *members, const struct session *session)
{
    uint32_t at = hash_of(session) & members->index_mask;

    while (members->index[at] != 0 && members->items[members->index[at] - 1]->session != session) {
        at = (at + 1) & members->index_mask;
    }
    return &members->index[at];
}

static void index_build(struct members *members)
{
    uint32_t slots = members->capacity * 2;

    g_free(members->index);
    members->index = g_new0(uint32_t, slots);
    members->index_mask = slots - 1;
    for (uint32_t i = 0; i < members->count; i++) {
        *index_slot(members, members->items[i]->session) = i + 1;
    }
}

static void index_remove(struct members *members, const struct session *session)
{
    uint32_t mask = members->index_mask;
    uint32_t hole = (uint32_t)(index_slot(members, session) - members->index);

    for (uint32_t at = (hole + 1) & mask; members->index[at] != 0; at = (at + 1) & mask) {
        uint32_t home = hash_of(members->items[members->index[at] - 1]->session) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            members->index[hole] = members->index[at];
            hole = at;
        }
    }
    members->index[hole] = 0;
}

static void resize(struct members *members, uint32_t capacity)
{
    members->items = g_renew(struct subscription *, members->items, capacity);
    members->capacity = capacity;
    if (capacity > INDEX_FROM) {
        index_build(members);
    } else {
        g_clear_pointer(&members->index, g_free);
    }
}

void members_add(struct members *members, struct subscription *subscription)
{
    if (members->count == members->capacity) {
        resize(members, members->capacity > 0 ? members->capacity * 2 : 2);
    }
    subscription->place = members->count;
    members->items[members->count++] = subscription;
    if (members->index) {
        *index_slot(members, subscription->session) = subscription->place + 1;
    }
}

void members_remove(struct members *members, struct subscription *subscription)
{
    uint32_t place = subscription->place;
    assert(place < members->count && members->items[place] == subscription);

    if (members->index) {
        index_remove(members, subscription->session);
    }
    struct subscription *last = members->items[--members->count];
    if (last != subscription) {
        if (members->index) {
            *index_slot(members, last->session) = place + 1;
        }
        members->items[place] = last;
        last->place = place;
    }
    if (members->capacity > 2 && members->count <= members->capacity / 4) {
        resize(members, members->capacity / 2);
    }
}

struct subscription *members_find(const struct members *members, const struct session *session)
{
    if (members->index) {
        uint32_t place = *index_slot(members, session);
        return place != 0 ? members->items[place - 1] : NULL;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->items[i]->session == session) {
            return members->items[i];
        }
    }
    return NULL;
}

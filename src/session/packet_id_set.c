/* A sorted array: clients count their packet ids up, so that adding is appending and removing is at
 * the front of a few. */
#include "session/session.h"
#include <glib.h>

#define CAPACITY_FIRST 8 /* 16 bytes: kept when empty, so that one at a time allocates nothing */

/* Where it is, or would be. */
static uint32_t place_of(const struct packet_id_set *set, uint16_t id)
{
    uint32_t low = 0, high = set->count;

    if (high > 0 && set->ids[high - 1] < id) {
        return high;
    }
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (set->ids[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool packet_id_set_has(const struct packet_id_set *set, uint16_t id)
{
    uint32_t place = place_of(set, id);
    return place < set->count && set->ids[place] == id;
}

bool packet_id_set_add(struct packet_id_set *set, uint16_t id)
{
    uint32_t place = place_of(set, id);

    if (place < set->count && set->ids[place] == id) {
        return false;
    }
    if (set->count == set->capacity) {
        set->capacity = set->capacity > 0 ? set->capacity * 2 : CAPACITY_FIRST;
        set->ids = g_renew(uint16_t, set->ids, set->capacity);
    }
    memmove(set->ids + place + 1, set->ids + place, (set->count - place) * sizeof *set->ids);
    set->ids[place] = id;
    set->count++;
    return true;
}

bool packet_id_set_remove(struct packet_id_set *set, uint16_t id)
{
    uint32_t place = place_of(set, id);

    if (place >= set->count || set->ids[place] != id) {
        return false;
    }
    set->count--;
    memmove(set->ids + place, set->ids + place + 1, (set->count - place) * sizeof *set->ids);
    if (set->count == 0 && set->capacity > CAPACITY_FIRST) {
        g_clear_pointer(&set->ids, g_free);
        set->capacity = 0;
    }
    return true;
}

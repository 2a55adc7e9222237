/* See throttle.h. An address that is quiet for ten minutes is forgotten; with too many addresses
 * all that are quiet go first, then everything: a flood from many addresses must not make memory
 * grow. */
#include "access/throttle.h"
#include <glib.h>

struct attempts {
    uint64_t last_ms, next_ms;
    uint32_t failures;
};

struct throttle {
    GHashTable *addresses; /* text -> attempts, both owned */
};

struct throttle *throttle_new(void)
{
    struct throttle *throttle = g_new0(struct throttle, 1);

    throttle->addresses = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return throttle;
}

void throttle_free(struct throttle *throttle)
{
    g_hash_table_unref(throttle->addresses);
    g_free(throttle);
}

uint64_t throttle_delay_ms(struct throttle *throttle, const char *address, uint64_t now_ms,
                           uint32_t delay_ms_max)
{
    struct attempts *attempts = g_hash_table_lookup(throttle->addresses, address);

    if (!attempts || now_ms - attempts->last_ms > THROTTLE_FORGET_MS) {
        return 0;
    }
    uint64_t step_ms = (uint64_t)THROTTLE_FIRST_MS << MIN(attempts->failures - 1, 20);
    step_ms = MIN(step_ms, delay_ms_max);
    uint64_t start_ms = MAX(now_ms, attempts->next_ms);
    /* A queue of attempts may not get longer than the maximum: what comes then waits that long. */
    uint64_t delay_ms = MIN(start_ms + step_ms - now_ms, delay_ms_max);
    attempts->next_ms = now_ms + delay_ms;
    return delay_ms;
}

static gboolean is_quiet(gpointer key, gpointer value, gpointer now_ms)
{
    return *(const uint64_t *)now_ms - ((const struct attempts *)value)->last_ms >
           THROTTLE_FORGET_MS;
}

void throttle_failed(struct throttle *throttle, const char *address, uint64_t now_ms)
{
    struct attempts *attempts = g_hash_table_lookup(throttle->addresses, address);

    if (!attempts) {
        if (g_hash_table_size(throttle->addresses) >= THROTTLE_ADDRESSES_MAX &&
            g_hash_table_foreach_remove(throttle->addresses, is_quiet, &now_ms) == 0) {
            g_hash_table_remove_all(throttle->addresses);
        }
        attempts = g_new0(struct attempts, 1);
        g_hash_table_insert(throttle->addresses, g_strdup(address), attempts);
    }
    attempts->failures =
        now_ms - attempts->last_ms > THROTTLE_FORGET_MS ? 1 : attempts->failures + 1;
    attempts->last_ms = now_ms;
}

void throttle_succeeded(struct throttle *throttle, const char *address)
{
    g_hash_table_remove(throttle->addresses, address);
}

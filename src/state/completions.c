/* A growing ring. Taken from its front as results come, from its end when groups are refused. */
#include "state/completions.h"
#include <glib.h>

void completions_init(struct completions *completions)
{
    *completions = (struct completions){0};
}

void completions_deinit(struct completions *completions)
{
    g_free(completions->items);
    completions_init(completions);
}

static struct waiting *item_at(const struct completions *completions, uint32_t at)
{
    return &completions->items[(completions->first + at) & (completions->capacity - 1)];
}

static void grow(struct completions *completions)
{
    uint32_t capacity = MAX(completions->capacity * 2, 64);
    struct waiting *items = g_new(struct waiting, capacity);
    for (uint32_t i = 0; i < completions->count; i++) {
        items[i] = *item_at(completions, i);
    }
    g_free(completions->items);
    completions->items = items;
    completions->capacity = capacity;
    completions->first = 0;
}

void completions_add(struct completions *completions, uint64_t sequence,
                     const struct state_completion *completion)
{
    g_assert(completions->count == 0 ||
             item_at(completions, completions->count - 1)->sequence < sequence);
    if (completions->count == completions->capacity) {
        grow(completions);
    }
    completions->count++;
    *item_at(completions, completions->count - 1) = (struct waiting){sequence, *completion};
}

bool completions_take(struct completions *completions, uint64_t sequence, struct waiting *out)
{
    if (completions->count == 0 || item_at(completions, 0)->sequence > sequence) {
        return false;
    }
    *out = *item_at(completions, 0);
    completions->first = (completions->first + 1) & (completions->capacity - 1);
    completions->count--;
    return true;
}

uint64_t completions_first(const struct completions *completions)
{
    return completions->count > 0 ? item_at(completions, 0)->sequence : UINT64_MAX;
}

void completions_fail(struct completions *completions, uint64_t first_sequence, int error)
{
    uint32_t kept = completions->count;
    while (kept > 0 && item_at(completions, kept - 1)->sequence >= first_sequence) {
        kept--;
    }
    uint32_t failed_count = completions->count - kept;
    g_autofree struct waiting *failed = g_new(struct waiting, failed_count);
    for (uint32_t i = 0; i < failed_count; i++) {
        failed[i] = *item_at(completions, kept + i);
    }
    completions->count = kept;
    struct state_result result = {.error = error};
    for (uint32_t i = 0; i < failed_count; i++) {
        const struct state_completion *completion = &failed[i].completion;
        completion->fn(completion->owner, completion->token, &result);
    }
}

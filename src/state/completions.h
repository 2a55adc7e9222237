/* Who waits for the result of which proposal of this life: a queue in order of sequence numbers. As
 * long as the log's backlog is bounded, so is it. Pure. */
#pragma once

#include "state/propose.h"

struct waiting {
    uint64_t sequence;
    struct state_completion completion;
};

struct completions {
    struct waiting *items; /* ring; capacity is a power of two */
    uint32_t capacity, first, count;
};

void completions_init(struct completions *completions);
void completions_deinit(struct completions *completions);
/* `sequence` is higher than all before. */
void completions_add(struct completions *completions, uint64_t sequence,
                     const struct state_completion *completion);
/* The oldest one up to `sequence` leaves the queue; false when there is none. */
bool completions_take(struct completions *completions, uint64_t sequence, struct waiting *out);
/* The sequence number of the oldest; UINT64_MAX when there is none. */
uint64_t completions_first(const struct completions *completions);
/* Those from `first_sequence` on leave the queue, each gets `error`. What they propose from inside
 * is not touched. */
void completions_fail(struct completions *completions, uint64_t first_sequence, int error);

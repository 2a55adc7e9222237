/* Whose clock counts when the clocks of the nodes differ: that of the majority. One box whose clock
 * is set wrong, or jumps, then ends no session and no message of the others early, and keeps none
 * for too long. Pure.
 *
 * Clocks are given as how far each is before ours, ours included (0). Where an even number of them
 * leaves two in the middle, the one counts that is nearer to the time as it has been counted so far
 * (by a clock that does not jump); where nothing was counted yet, the earlier one, since what has
 * ended too early does not come back. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CALENDAR_CLOCKS_MAX 128

/* How far the time that counts is before our clock. `counted_ms`: the same of the time as counted
 * so far; NULL = there is none. `count` > 0. */
int64_t calendar_choose(const int64_t *clocks_ms, size_t count, const int64_t *counted_ms);

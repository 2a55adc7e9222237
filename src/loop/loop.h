/* The one event loop of the daemon: libuv hidden behind what the project needs. Single-threaded; a
 * callback never runs from inside the call that asked for it. Objects are embedded in their owner
 * (init/deinit); libuv's late close is hidden here, so memory may be freed as soon as deinit
 * returns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct timer;

/* Returns NULL when the kernel refuses. */
struct loop *loop_new(void);
/* Runs until what lingers (closing streams) has come to its end, then asserts that nothing is left.
 */
void loop_free(struct loop *loop);
/* Until loop_stop, or until nothing is left that could happen. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Monotonic milliseconds, as of the start of this turn of the loop: costs no system call. */
uint64_t loop_now_ms(const struct loop *loop);
/* Calendar time, milliseconds since 1970-01-01 UTC: the machine's, until somebody who knows better
 * has set it. From then on it is counted from what was set, and does not jump with the machine's.
 */
uint64_t loop_unix_ms(const struct loop *loop);
/* 0 = the machine's counts again. */
void loop_set_unix_ms(struct loop *loop, uint64_t now_unix_ms);
/* One large buffer for whoever reads next: its content lasts until the reader returns to the loop.
 */
uint8_t *loop_read_buffer(struct loop *loop, size_t *length);
/* Blocks of LOOP_BLOCK_BYTES for output, of which the loop keeps some for the next taker: a busy
 * stream takes and gives several in each turn, and malloc would hand them to the kernel and back.
 */
#define LOOP_BLOCK_BYTES ((size_t)64 * 1024)
#define LOOP_BLOCKS_KEPT 64
void *loop_block_take(struct loop *loop);
void loop_block_give(struct loop *loop, void *block);
/* For libraries that must be given it (libraft): a `uv_loop_t *`. */
void *loop_native(struct loop *loop);

/* One-shot timers. `timer_start` on a running timer moves it. */
struct timer *timer_new(struct loop *loop, void (*fn)(void *owner), void *owner);
void timer_free(struct timer *timer);
void timer_start(struct timer *timer, uint64_t delay_ms);
void timer_stop(struct timer *timer);
bool timer_is_active(const struct timer *timer);

/* Slow work off the loop, in libuv's thread pool (disk, PBKDF2, compression). */
#pragma once

struct loop;

/* Runs `work(owner)` on a pool thread, then `done(owner)` on the loop. Both run exactly once; there
 * is no cancelling, so `owner` must live until `done`. */
void work_submit(struct loop *loop, void (*work)(void *owner), void (*done)(void *owner),
                 void *owner);
/* Turns the loop until all work is done and told: before what its callbacks use is freed. */
void work_finish(struct loop *loop);

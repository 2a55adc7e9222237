/* Inside of loop/: what its files share. */
#pragma once

#include "base/list.h"
#include "loop/loop.h"
#include <uv.h>

struct watches;

/* watch.c */
void watches_free(struct loop *loop);

struct loop {
    uv_loop_t uv;
    uv_check_t check;               /* after the poll: the end of a turn */
    uv_prepare_t prepare;           /* before the poll: for what timers and others left */
    uint8_t *read_buffer;           /* made with the first read */
    struct watches *watches;        /* made with the first one */
    struct list deferred;           /* of deferred.link */
    void *blocks[LOOP_BLOCKS_KEPT]; /* free ones */
    unsigned block_count;
    uint64_t unix_begun_ms; /* calendar time at 0 of clock_now_ms; 0 = the machine says it */
    unsigned work_count;    /* on pool threads, or done and not told yet */
    bool is_stopped;
};

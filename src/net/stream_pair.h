/* Two connected streams in this process: a bridge's way to the own broker; one of which only the
 * descriptor is seen: libraft's. */
#pragma once

struct loop;
struct stream;

/* Returns 0 or a negative errno; both must be started or reset. */
int stream_pair_new(struct loop *loop, struct stream **a, struct stream **b);
/* A stream and the descriptor at its other end (non-blocking, the caller's): for a library that
 * wants a socket of its own. Returns 0 or a negative errno. */
int stream_pair_with_fd(struct loop *loop, struct stream **stream, int *fd);

/* Two connected streams in this process: a bridge's way to the own broker. */
#pragma once

struct loop;
struct stream;

/* Returns 0 or a negative errno; both must be started or reset. */
int stream_pair_new(struct loop *loop, struct stream **a, struct stream **b);

/* The command line of a simulation: `PROGRAM SEED [STEPS [CLIENT]]` runs one seed and prints what
 * happens (the packets of CLIENT too), `PROGRAM FROM-TO [STEPS]` runs many, each in a process of
 * its own, and says how the first that fails is replayed. Without arguments a new seed is taken. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct seeds_run {
    guint32 seed;
    uint64_t steps;
    int traced;   /* client; -1 = none */
    bool is_told; /* what happens is printed */
};

/* `steps` is the number of steps when none is given. */
int seeds_main(int argc, char **argv, const char *program, uint64_t steps,
               void (*run)(const struct seeds_run *run));

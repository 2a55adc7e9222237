/* What a process and its children used: CPU time to the nanosecond, resident memory. Zero for what
 * cannot be read. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct usage {
    uint64_t cpu_ns;
    uint64_t rss_bytes; /* resident */
    uint64_t pss_bytes; /* resident, shared pages counted in part */
    uint64_t context_switches;
    uint64_t written_bytes; /* to storage */
};

/* `pid` and all its descendants. */
void usage_read(pid_t pid, struct usage *usage);
/* CPU time alone: cheap enough for the middle of a measurement. */
uint64_t usage_cpu_ns(pid_t pid);

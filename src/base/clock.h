/* The two clocks. Pure code never calls them: it is handed `now`. */
#pragma once

#include <stdint.h>

/* Milliseconds of CLOCK_BOOTTIME: monotonic, counts suspend. */
uint64_t clock_now_ms(void);

/* Microseconds of the same clock, for latencies. */
uint64_t clock_now_us(void);

/* Calendar time, milliseconds since 1970-01-01 UTC; may jump. */
uint64_t clock_unix_ms(void);

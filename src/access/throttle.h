/* Slows logins down by address after failures: each next one from there waits longer, up to a
 * maximum. Pure: `now` is handed in. */
#pragma once

#include <stdint.h>

#define THROTTLE_FIRST_MS      100
#define THROTTLE_ADDRESSES_MAX 4096
#define THROTTLE_FORGET_MS     (10 * 60 * 1000)

struct throttle;

struct throttle *throttle_new(void);
void throttle_free(struct throttle *throttle);
/* How long this attempt must wait. Attempts at the same time are put one behind the other. */
uint64_t throttle_delay_ms(struct throttle *throttle, const char *address, uint64_t now_ms,
                           uint32_t delay_ms_max);
void throttle_failed(struct throttle *throttle, const char *address, uint64_t now_ms);
void throttle_succeeded(struct throttle *throttle, const char *address);

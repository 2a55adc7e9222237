/* For tests: random commands of every kind from a seed, few clients and topics so that they meet.
 */
#pragma once

#include "state/fixture.h"

struct random_log {
    struct fixture *fixture;
    uint64_t state;
    uint32_t connections;
};

void random_log_init(struct random_log *log, struct fixture *fixture, uint64_t seed);
/* Proposes one; sometimes time goes on and the group ends. */
void random_log_step(struct random_log *log);

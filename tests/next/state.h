/* The command of the next version (README.md). */
#pragma once

#include "state/propose.h"

/* The setting has its default again. */
int state_propose_setting_reset(struct state *state, const char *key,
                                const struct state_completion *completion);

/* Which addresses this machine has, for telling others where it is. */
#pragma once

#include <stdbool.h>

/* The first one by which a neighbour could reach it: IPv4 before IPv6, nothing of loopback, links,
 * and what containers bring. NULL when there is none; caller frees. */
char *local_address_find(void);
/* Whether an interface has this numeric address now. */
bool local_address_is_own(const char *text);

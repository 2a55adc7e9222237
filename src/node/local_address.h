/* Which addresses this machine has, for telling others where it is. */
#pragma once

#include <stdbool.h>

struct ifaddrs;
struct state;

/* The first one by which a neighbour could reach it: IPv4 before IPv6, nothing of loopback, links,
 * what containers bring, and the virtual IPs of `state`, which move on. NULL when there is none;
 * caller frees. */
char *local_address_find(const struct state *state);
/* The same of those of getifaddrs(3). */
char *local_address_choose(const struct ifaddrs *all, const struct state *state);
/* Whether an interface has this numeric address now. */
bool local_address_is_own(const char *text);

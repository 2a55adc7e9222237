/* The TCP connections of this machine, as the kernel knows them (sock_diag). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ingress_client;

/* Established ones whose local address is this one. 0, or a negative errno. Blocks for as long as
 * the kernel needs (10 µs for a hundred). */
int sockets_for_each(const uint8_t *address, bool is_ipv6,
                     void (*fn)(void *owner, const struct ingress_client *client), void *owner);

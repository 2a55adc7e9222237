/* Addresses in the kernel. IPv4 sits on a TUN device whose descriptor this process alone holds: it
 * ends with it. IPv6 does not answer for addresses of other interfaces: it sits on the LAN's own,
 * with a lifetime. All carry a lifetime and our mark (IFA_PROTO). */
#pragma once

#include "keeper/message.h"

struct addresses {
    int tun_fd;     /* -1 = not yet: nothing is made before an address is held */
    int netlink_fd; /* -1 = closed */
    unsigned tun_index;
    uint32_t sequence;
};

void addresses_init(struct addresses *addresses);
void addresses_deinit(struct addresses *addresses);
/* Removes what an earlier life may have left. 0, or a negative errno. */
int addresses_clean(struct addresses *addresses);
/* There for `lifetime_s` from now; prolongs. `lan_index`: the interface of the LAN. */
int addresses_put(struct addresses *addresses, const struct keeper_address *address,
                  unsigned lan_index, uint32_t lifetime_s);
int addresses_take(struct addresses *addresses, const struct keeper_address *address,
                   unsigned lan_index);

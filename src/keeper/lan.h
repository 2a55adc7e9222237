/* One address on its LAN: which interface, a packet socket that sees only what concerns the
 * address, what is sent by it. */
#pragma once

#include "keeper/message.h"
#include <stdbool.h>
#include <stdint.h>

struct lan {
    int fd;         /* -1 = closed */
    unsigned index; /* of the interface */
    uint8_t mac[6];
};

/* The interface that is named, or the first that is up and in the network of the address; 0 = none.
 */
unsigned lan_find_interface(const struct keeper_address *address);
/* 0, or -ENODEV: no interface of this box is in the network of the address, or not the one that is
 * named; -EPERM: no right to. */
int lan_open(struct lan *lan, const struct keeper_address *address);
void lan_close(struct lan *lan);
void lan_probe(const struct lan *lan, const struct keeper_address *address);
void lan_announce(const struct lan *lan, const struct keeper_address *address);
/* Reads what has come; true when somebody else has the address, `mac` says who. */
bool lan_read_conflict(const struct lan *lan, const struct keeper_address *address, uint8_t *mac);
/* Sends a tickle (frame.h) by the routing table. */
int lan_tickle(const struct keeper_message *message);

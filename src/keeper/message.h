/* What daemon and keeper say to each other over two SOCK_SEQPACKET pairs: one message, one struct
 * of fixed size, nothing to parse. The keeper reads nothing else; it checks each field all the
 * same.
 *
 *   daemon                                keeper
 *   READY                                 restarts it from now on when it crashes
 *   HOLD address until probe   ------>    looks whether the address is free, takes it
 *                              <------    HELD until | CONFLICT mac | FAILED errno
 *   RELEASE address            ------>    takes it away
 *                              <------    RELEASED, also when the lease ended
 *   GUARD id + descriptor                 keeps the link open until the addresses are gone
 *   UNGUARD id
 *   TICKLE address port peer              sends the peer a bare ACK from the address
 *                              <------    UNSURE: the daemon has missed a message, HOLD again
 *
 * and over the second pair, which wakes nobody: it is read when something is due, in the end the
 * lease. That it was read says that the keeper lives.
 *
 *   RENEW until                ------>    prolongs all that is held */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#define KEEPER_ADDRESSES_MAX 16
#define KEEPER_GUARDS_MAX    512
#define KEEPER_STATUS_FINAL  3 /* a daemon that ends so is not started again */

enum keeper_message_type {
    KEEPER_READY = 1,
    KEEPER_HOLD,
    KEEPER_RELEASE,
    KEEPER_GUARD,
    KEEPER_UNGUARD,
    KEEPER_TICKLE,
    KEEPER_HELD,
    KEEPER_RELEASED,
    KEEPER_FAILED,
    KEEPER_CONFLICT,
    KEEPER_RENEW,
    KEEPER_UNSURE,
};

/* Of this process; -1 = none. */
struct keeper_ends {
    int pair, renewals;
};

struct keeper_address {
    uint8_t bytes[16];           /* network order; IPv4 in the first four */
    uint8_t prefix, is_ipv6;     /* 0 or 1 */
    char interface[IF_NAMESIZE]; /* empty: the one whose network it is in */
};

struct keeper_message {
    uint32_t type;
    /* GUARD, UNGUARD: which; FAILED: errno; HOLD: how long to look whether somebody has the
     * address, in ms; RENEW: how long before until_ms it was sent. */
    uint32_t number;
    uint64_t until_ms; /* HOLD, RENEW, HELD: CLOCK_BOOTTIME */
    struct keeper_address address;
    uint8_t peer[16]; /* TICKLE: the client; CONFLICT: the first six bytes are who has it */
    uint16_t port, peer_port;
};

/* Which addresses this box holds, and until when: a function of (what was asked, what was seen,
 * now); what it does to the machine goes through hold_ops. All times are CLOCK_BOOTTIME in ms.
 *
 *   FREE --ask--> PROBING --nobody has it--> HELD --lease over, release--> FREE
 *                    +-----somebody has it-----------------------------------^   */
#pragma once

#include "keeper/message.h"

enum hold_state { HOLD_FREE, HOLD_PROBING, HOLD_HELD };

struct hold {
    struct keeper_address address;
    enum hold_state state;
    uint64_t until_ms;    /* the lease */
    uint64_t probed_ms;   /* PROBING: free when nobody has answered until then */
    uint64_t kernel_ms;   /* HELD: until when the kernel keeps it by itself */
    uint64_t say_ms;      /* the next probe or announcement; 0 = none any more */
    unsigned said;        /* probes or announcements sent */
    uint64_t conflict_ms; /* HELD: last time that somebody else said that it was his */
};

/* What it does to the machine. 0, or a negative errno. */
struct hold_ops {
    /* Begins to listen on the LAN for others who have it. */
    int (*open)(void *owner, unsigned at, const struct keeper_address *address);
    void (*close)(void *owner, unsigned at);
    void (*probe)(void *owner, unsigned at, const struct keeper_address *address);
    /* Whether a frame has come by which somebody else says that he has it; `mac` says who. */
    bool (*is_claimed)(void *owner, unsigned at, const struct keeper_address *address,
                       uint8_t *mac);
    void (*announce)(void *owner, unsigned at, const struct keeper_address *address);
    /* Puts it there for `lifetime_s`; again: prolongs. */
    int (*put)(void *owner, unsigned at, const struct keeper_address *address, uint32_t lifetime_s);
    void (*take)(void *owner, unsigned at, const struct keeper_address *address);
    /* To the daemon. */
    void (*tell)(void *owner, const struct keeper_message *message);
};

struct holds {
    struct hold table[KEEPER_ADDRESSES_MAX];
    const struct hold_ops *ops;
    void *owner;
};

/* A HOLD or RELEASE of the daemon's. */
void holds_ask(struct holds *holds, const struct keeper_message *message, uint64_t now_ms);
/* A RENEW: what is held is held until then. It was sent before the lease ended that it prolongs:
 * one of a later lease tells nothing about who had the address between the two. Less than is known
 * already is nothing. */
void holds_renew(struct holds *holds, const struct keeper_message *message, uint64_t now_ms);
/* Somebody else has, or wants, the address of this entry. */
void holds_conflict(struct holds *holds, unsigned at, const uint8_t *mac, uint64_t now_ms);
/* What is due. */
void holds_tick(struct holds *holds, uint64_t now_ms);
/* When something will be due; 0 = never. */
uint64_t holds_next_ms(const struct holds *holds);
/* The daemon is gone: everything is taken away at once, and nobody is told. */
void holds_drop(struct holds *holds);
bool holds_has(const struct holds *holds, const uint8_t *address, bool is_ipv6);

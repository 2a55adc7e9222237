/* See hold.h. */
#include "keeper/hold.h"
#include <errno.h>
#include <string.h>

#define PROBES          3
#define PROBE_MS_MAX    10000
#define KERNEL_LEAST_S  2     /* above what is left of the lease, rounded up: the net beneath */
#define KERNEL_RENEW_MS 900   /* at least so much of it must be left */
#define DEFEND_MS       10000 /* RFC 5227, 2.4 */
#define ANNOUNCEMENTS   5

/* After the first announcement: for those who missed it. */
static const uint64_t announce_after_ms[ANNOUNCEMENTS] = {0, 30, 200, 1000, 3000};

static bool is_same(const struct keeper_address *a, const uint8_t *bytes, bool is_ipv6)
{
    return a->is_ipv6 == is_ipv6 && memcmp(a->bytes, bytes, is_ipv6 ? 16 : 4) == 0;
}

static struct hold *find(struct holds *holds, const struct keeper_address *address)
{
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        struct hold *hold = &holds->table[i];
        if (hold->state != HOLD_FREE && is_same(&hold->address, address->bytes, address->is_ipv6)) {
            return hold;
        }
    }
    return NULL;
}

static struct hold *find_free(struct holds *holds)
{
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        if (holds->table[i].state == HOLD_FREE) {
            return &holds->table[i];
        }
    }
    return NULL;
}

static unsigned place(const struct holds *holds, const struct hold *hold)
{
    return (unsigned)(hold - holds->table);
}

static void tell(struct holds *holds, enum keeper_message_type type,
                 const struct keeper_address *address, uint32_t number, uint64_t until_ms)
{
    struct keeper_message message = {
        .type = type, .number = number, .until_ms = until_ms, .address = *address};
    holds->ops->tell(holds->owner, &message);
}

/* Takes it away, and tells with which message. */
static void end(struct holds *holds, struct hold *hold, enum keeper_message_type type, int error)
{
    if (hold->state == HOLD_HELD) {
        holds->ops->take(holds->owner, place(holds, hold), &hold->address);
    }
    hold->state = HOLD_FREE;
    holds->ops->close(holds->owner, place(holds, hold));
    if (type != 0) {
        tell(holds, type, &hold->address, (uint32_t)error, 0);
    }
}

static int put(struct holds *holds, struct hold *hold, uint64_t now_ms)
{
    uint64_t left_ms = hold->until_ms - now_ms;
    uint32_t lifetime_s = (uint32_t)(left_ms / 1000) + KERNEL_LEAST_S;
    int r = holds->ops->put(holds->owner, place(holds, hold), &hold->address, lifetime_s);

    hold->kernel_ms = now_ms + (uint64_t)lifetime_s * 1000;
    return r;
}

/* A keeper that was frozen for so long that the kernel has let go does not put it back: the lease
 * of a node that votes alone is long, and another box may have got vote and address meanwhile. */
static void prolong(struct holds *holds, struct hold *hold, uint64_t until_ms, uint64_t now_ms)
{
    if (hold->state == HOLD_HELD && now_ms >= hold->kernel_ms) {
        end(holds, hold, KEEPER_RELEASED, 0);
        return;
    }
    hold->until_ms = until_ms;
    bool is_over = until_ms <= now_ms; /* there may be another behind it; else holds_tick ends it */
    if (hold->state == HOLD_HELD && !is_over && hold->kernel_ms < until_ms + KERNEL_RENEW_MS) {
        int r = put(holds, hold, now_ms);
        if (r < 0) {
            end(holds, hold, KEEPER_FAILED, -r);
        }
    }
}

void holds_renew(struct holds *holds, const struct keeper_message *message, uint64_t now_ms)
{
    uint64_t until_ms = message->until_ms;

    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        struct hold *hold = &holds->table[i];
        bool was_in_time = until_ms < hold->until_ms + message->number;
        if (hold->state == HOLD_HELD && was_in_time && until_ms > hold->until_ms) {
            prolong(holds, hold, until_ms, now_ms);
        }
    }
}

static void begin(struct holds *holds, const struct keeper_message *message, uint64_t now_ms)
{
    struct hold *hold = find_free(holds);
    if (!hold) {
        tell(holds, KEEPER_FAILED, &message->address, ENOSPC, 0);
        return;
    }
    uint64_t probe_ms = message->number < PROBE_MS_MAX ? message->number : PROBE_MS_MAX;
    *hold = (struct hold){.address = message->address,
                          .until_ms = message->until_ms,
                          .probed_ms = now_ms + probe_ms,
                          .say_ms = now_ms};
    int r = holds->ops->open(holds->owner, place(holds, hold), &hold->address);
    if (r < 0) {
        tell(holds, KEEPER_FAILED, &message->address, (uint32_t)-r, 0);
        return;
    }
    hold->state = HOLD_PROBING;
    holds_tick(holds, now_ms);
}

void holds_ask(struct holds *holds, const struct keeper_message *message, uint64_t now_ms)
{
    struct hold *hold = find(holds, &message->address);

    if (message->type == KEEPER_RELEASE) {
        if (hold) {
            end(holds, hold, KEEPER_RELEASED, 0);
        } else {
            tell(holds, KEEPER_RELEASED, &message->address, 0, 0);
        }
    } else if (message->until_ms <= now_ms) { /* it lay in the socket for too long */
        if (hold) {
            end(holds, hold, KEEPER_RELEASED, 0);
        }
    } else if (hold) {
        prolong(holds, hold, message->until_ms, now_ms);
        if (hold->state == HOLD_HELD) {
            tell(holds, KEEPER_HELD, &hold->address, 0, hold->until_ms);
        }
    } else {
        begin(holds, message, now_ms);
    }
}

void holds_conflict(struct holds *holds, unsigned at, const uint8_t *mac, uint64_t now_ms)
{
    struct hold *hold = &holds->table[at];
    struct keeper_message message = {.type = KEEPER_CONFLICT, .address = hold->address};

    if (hold->state == HOLD_FREE) {
        return;
    }
    memcpy(message.peer, mac, 6);
    if (hold->state == HOLD_PROBING) {
        end(holds, hold, 0, 0);
    } else {
        if (hold->conflict_ms != 0 && now_ms - hold->conflict_ms < DEFEND_MS) {
            return;
        }
        hold->conflict_ms = now_ms;
        holds->ops->announce(holds->owner, at, &hold->address); /* it stays ours */
    }
    holds->ops->tell(holds->owner, &message);
}

static void say(struct holds *holds, struct hold *hold, uint64_t now_ms)
{
    unsigned at = place(holds, hold);

    hold->said++;
    if (hold->state == HOLD_PROBING) {
        holds->ops->probe(holds->owner, at, &hold->address);
        hold->say_ms = hold->said < PROBES ? now_ms + (hold->probed_ms - now_ms) / PROBES : 0;
    } else {
        holds->ops->announce(holds->owner, at, &hold->address);
        hold->say_ms = hold->said < ANNOUNCEMENTS ? now_ms + announce_after_ms[hold->said] : 0;
    }
}

/* On a busy box this comes late: the answer to a probe lies in the socket then, unread. */
static void take(struct holds *holds, struct hold *hold, uint64_t now_ms)
{
    uint8_t mac[6];

    if (holds->ops->is_claimed(holds->owner, place(holds, hold), &hold->address, mac)) {
        holds_conflict(holds, place(holds, hold), mac, now_ms);
        return;
    }
    int r = put(holds, hold, now_ms);
    if (r < 0) {
        end(holds, hold, KEEPER_FAILED, -r);
        return;
    }
    hold->state = HOLD_HELD;
    hold->said = 0;
    say(holds, hold, now_ms);
    tell(holds, KEEPER_HELD, &hold->address, 0, hold->until_ms);
}

void holds_tick(struct holds *holds, uint64_t now_ms)
{
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        struct hold *hold = &holds->table[i];
        if (hold->state == HOLD_FREE) {
            continue;
        }
        if (now_ms >= hold->until_ms) {
            end(holds, hold, KEEPER_RELEASED, 0);
        } else if (hold->state == HOLD_PROBING && now_ms >= hold->probed_ms) {
            take(holds, hold, now_ms);
        } else if (hold->say_ms != 0 && now_ms >= hold->say_ms) {
            say(holds, hold, now_ms);
        }
    }
}

uint64_t holds_next_ms(const struct holds *holds)
{
    uint64_t next_ms = UINT64_MAX;

    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        const struct hold *hold = &holds->table[i];
        if (hold->state == HOLD_FREE) {
            continue;
        }
        next_ms = hold->until_ms < next_ms ? hold->until_ms : next_ms;
        next_ms = hold->say_ms != 0 && hold->say_ms < next_ms ? hold->say_ms : next_ms;
        if (hold->state == HOLD_PROBING && hold->probed_ms < next_ms) {
            next_ms = hold->probed_ms;
        }
    }
    return next_ms == UINT64_MAX ? 0 : next_ms;
}

void holds_drop(struct holds *holds)
{
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        if (holds->table[i].state != HOLD_FREE) {
            end(holds, &holds->table[i], 0, 0);
        }
    }
}

bool holds_has(const struct holds *holds, const uint8_t *address, bool is_ipv6)
{
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        const struct hold *hold = &holds->table[i];
        if (hold->state == HOLD_HELD && is_same(&hold->address, address, is_ipv6)) {
            return true;
        }
    }
    return false;
}

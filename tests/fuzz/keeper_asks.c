/* Fuzzes what a daemon, which has no rights, asks of its keeper, which has them (keeper/hold.h):
 * the input is messages, the time that passes before each, and what the machine answers. Whatever
 * is asked, an address never outlives its lease, and what was put is taken away. */
#include "keeper/hold.h"
#include <assert.h>
#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define LIFETIME_S_MAX 2 /* beyond the lease, and its last second */

struct machine {
    struct holds holds;
    uint64_t now_ms;
    uint8_t answers; /* bits: what fails, or is claimed */
    bool is_open[KEEPER_ADDRESSES_MAX], is_there[KEEPER_ADDRESSES_MAX];
};

enum answer { FAIL_OPEN = 1, FAIL_PUT = 2, CLAIMED = 4, CONFLICT = 8 };

static int on_open(void *owner, unsigned at, const struct keeper_address *address)
{
    struct machine *machine = owner;

    assert(!machine->is_open[at]);
    machine->is_open[at] = !(machine->answers & FAIL_OPEN);
    return machine->answers & FAIL_OPEN ? -1 : 0;
}

static void on_close(void *owner, unsigned at)
{
    struct machine *machine = owner;

    assert(machine->is_open[at] && !machine->is_there[at]);
    machine->is_open[at] = false;
}

static void on_say(void *owner, unsigned at, const struct keeper_address *address)
{
    const struct machine *machine = owner;

    assert(machine->is_open[at]);
}

static bool on_claimed(void *owner, unsigned at, const struct keeper_address *address, uint8_t *mac)
{
    const struct machine *machine = owner;

    memset(mac, 2, 6);
    return machine->answers & CLAIMED;
}

static int on_put(void *owner, unsigned at, const struct keeper_address *address,
                  uint32_t lifetime_s)
{
    struct machine *machine = owner;
    uint64_t until_ms = machine->holds.table[at].until_ms;

    assert(machine->is_open[at] && until_ms > machine->now_ms);
    assert(lifetime_s <= (until_ms - machine->now_ms) / 1000 + LIFETIME_S_MAX);
    if (machine->answers & FAIL_PUT) {
        return -1;
    }
    machine->is_there[at] = true;
    return 0;
}

static void on_take(void *owner, unsigned at, const struct keeper_address *address)
{
    struct machine *machine = owner;

    machine->is_there[at] = false;
}

static void on_tell(void *owner, const struct keeper_message *message)
{
    assert(message->type >= KEEPER_HELD && message->type <= KEEPER_UNSURE);
}

static const struct hold_ops ops = {on_open, on_close, on_say,  on_claimed,
                                    on_say,  on_put,   on_take, on_tell};

static void check(const struct machine *machine)
{
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        const struct hold *hold = &machine->holds.table[i];
        assert(machine->is_there[i] == (hold->state == HOLD_HELD));
        assert(machine->is_open[i] == (hold->state != HOLD_FREE));
        assert(hold->state == HOLD_FREE || hold->until_ms > machine->now_ms);
    }
}

static void play(struct machine *machine, uint16_t wait_ms, const struct keeper_message *message)
{
    machine->now_ms += wait_ms;
    holds_tick(&machine->holds, machine->now_ms);
    check(machine);
    if (message->type == KEEPER_RENEW) {
        holds_renew(&machine->holds, message, machine->now_ms);
    } else {
        holds_ask(&machine->holds, message, machine->now_ms);
    }
    if (machine->answers & CONFLICT) {
        holds_conflict(&machine->holds, message->number % KEEPER_ADDRESSES_MAX,
                       (const uint8_t *)"\2\2\2\2\2\2", machine->now_ms);
    }
    holds_tick(&machine->holds, machine->now_ms);
    check(machine);
}

/* Small: wait (2), answers (1), type (1), number (2), lease in ms from now (2), address (1). */
#define STEP_BYTES 9

static unsigned get_u16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct machine machine = {.now_ms = 1000, .holds = {.ops = &ops}};

    machine.holds.owner = &machine;
    for (size_t at = 0; at + STEP_BYTES <= size; at += STEP_BYTES) {
        const uint8_t *step = input + at;
        uint64_t until_ms = machine.now_ms + get_u16(step + 6);
        bool is_wild = step[2] & 0x80;
        struct keeper_message message = {
            .type = (uint32_t[]){KEEPER_HOLD, KEEPER_RELEASE, KEEPER_RENEW}[step[3] % 3],
            .number = get_u16(step + 4),
            .until_ms = is_wild ? UINT64_MAX - until_ms : until_ms,
            .address = {.bytes = {step[8] >> 1}, .is_ipv6 = step[8] & 1}};
        machine.answers = step[2];
        play(&machine, (uint16_t)get_u16(step), &message);
    }
    holds_drop(&machine.holds);
    for (unsigned i = 0; i < KEEPER_ADDRESSES_MAX; i++) {
        assert(!machine.is_there[i] && !machine.is_open[i]);
    }
    return 0;
}

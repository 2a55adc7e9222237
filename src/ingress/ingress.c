/* See ingress.h. One entry for each address of the table:
 *
 *   IDLE --lease--> ASKED --HELD--> HELD --RELEASED--> IDLE
 *                     +--CONFLICT, FAILED--> IDLE, asked again after a moment
 *
 * What is held is renewed without an answer: that the keeper has read it is answer enough, and it
 * reads when the lease that it knows of ends. One that is late by KEEPER_SILENT_MS with an answer,
 * or with reading by KEEPER_LATE_MS, is frozen: this node cannot hold anything, and its owner lets
 * another one lead. */
#include "ingress/ingress.h"
#include "base/clock.h"
#include "base/log.h"
#include "ingress/clients.h"
#include "ingress/keeper_client.h"
#include "loop/loop.h"
#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <string.h>

#define LOOK_MS          12  /* whether somebody has an address that moves */
#define LOOK_NEW_MS      400 /* or one that is new */
#define CONFLICT_WAIT_MS 150
#define FAILED_WAIT_MS   2000
#define KEEPER_SILENT_MS 400
#define KEEPER_LATE_MS   250
#define GIVE_UP_MS       300
#define FORGET_MS        30000        /* then it is tried again, or was long ago; */
#define FORGET_MS_MAX    (30 * 60000) /* later each time, until one could be held */

enum entry_state { ENTRY_IDLE, ENTRY_ASKED, ENTRY_HELD };

struct entry {
    struct keeper_address address;
    struct virtual_address vip; /* strings owned */
    enum entry_state state;
    uint64_t asked_ms; /* the oldest question that was not answered; 0 = none */
    uint64_t retry_ms; /* not asked before */
    char *problem;
    bool has_failed; /* it is this node that cannot */
    bool is_new, is_wanted;
};

struct ingress {
    struct loop *loop;
    struct keeper_client *keeper; /* NULL = none */
    const struct ingress_events *events;
    void *owner;
    GPtrArray *entries; /* struct entry, owned */
    struct timer *give_up_timer, *forget_timer;
    void (*given_up)(void *owner, bool is_certain);
    void *given_up_owner;
    uint64_t until_ms, forget_ms;
    uint64_t read_by_ms; /* when the keeper will read the oldest renewal; 0 = it has read all */
    bool is_silent;      /* the keeper */
    bool is_unsure;      /* what it holds: it says so, or may have seen the lease end */
};

static void entry_free(void *memory)
{
    struct entry *entry = memory;

    g_free(entry->vip.address);
    g_free(entry->vip.interface);
    g_free(entry->problem);
    g_free(entry);
}

static struct entry *entry_at(const struct ingress *ingress, guint at)
{
    return g_ptr_array_index(ingress->entries, at);
}

static struct entry *find(const struct ingress *ingress, const struct keeper_address *address)
{
    for (guint i = 0; i < ingress->entries->len; i++) {
        struct entry *entry = entry_at(ingress, i);
        if (entry->address.is_ipv6 == address->is_ipv6 &&
            memcmp(entry->address.bytes, address->bytes, address->is_ipv6 ? 16 : 4) == 0) {
            return entry;
        }
    }
    return NULL;
}

static void address_from(struct keeper_address *address, const struct virtual_address *vip)
{
    *address = (struct keeper_address){.prefix = vip->prefix, .is_ipv6 = vip->is_ipv6};
    inet_pton(vip->is_ipv6 ? AF_INET6 : AF_INET, vip->address, address->bytes);
    g_strlcpy(address->interface, vip->interface, sizeof address->interface);
}

static struct entry *find_vip(const struct ingress *ingress, const struct virtual_address *vip)
{
    struct keeper_address address;

    address_from(&address, vip);
    return find(ingress, &address);
}

/* True when it was not so before. */
static bool set_problem(struct entry *entry, const char *problem)
{
    bool is_new = g_strcmp0(entry->problem, problem) != 0;

    if (is_new) {
        g_free(entry->problem);
        entry->problem = g_strdup(problem);
    }
    return is_new;
}

/* ---- asking ---- */

static void ask(struct ingress *ingress, struct entry *entry, enum keeper_message_type type,
                uint64_t now_ms)
{
    struct keeper_message message = {.type = type,
                                     .number = entry->is_new ? LOOK_NEW_MS : LOOK_MS,
                                     .until_ms = ingress->until_ms,
                                     .address = entry->address};

    if (entry->asked_ms == 0) {
        entry->asked_ms = now_ms;
    }
    keeper_client_send(ingress->keeper, &message);
}

static void release(struct ingress *ingress, struct entry *entry)
{
    if (entry->state != ENTRY_IDLE && ingress->keeper) {
        ask(ingress, entry, KEEPER_RELEASE, clock_now_ms());
    }
}

static void look_whether_it_answers(struct ingress *ingress, uint64_t now_ms)
{
    bool is_silent = ingress->read_by_ms != 0 && now_ms > ingress->read_by_ms + KEEPER_LATE_MS;

    for (guint i = 0; i < ingress->entries->len; i++) {
        const struct entry *entry = entry_at(ingress, i);
        uint64_t looking_ms = entry->state != ENTRY_ASKED ? 0
                              : entry->is_new             ? LOOK_NEW_MS
                                                          : LOOK_MS;
        is_silent |=
            entry->asked_ms != 0 && now_ms > entry->asked_ms + KEEPER_SILENT_MS + looking_ms;
    }
    if (is_silent != ingress->is_silent) {
        ingress->is_silent = is_silent;
        if (is_silent) {
            log_error("the keeper does not answer: another node should hold the virtual IP", "%s",
                      "");
        }
        ingress->events->on_changed(ingress->owner);
    }
}

/* Nobody answers what renews; so it is looked at before the next one is sent. */
static void note_what_was_read(struct ingress *ingress)
{
    if (ingress->read_by_ms != 0 && keeper_client_is_read(ingress->keeper)) {
        ingress->read_by_ms = 0;
    }
}

static void renew(struct ingress *ingress, uint64_t known_until_ms, uint64_t now_ms)
{
    if (ingress->read_by_ms == 0) {
        ingress->read_by_ms = known_until_ms;
    }
    keeper_client_renew(ingress->keeper, ingress->until_ms, now_ms);
}

/* A lease that has become shorter is nothing for a renewal, which is read when the longer one ends.
 */
void ingress_lease(struct ingress *ingress, uint64_t until_ms)
{
    uint64_t now_ms = clock_now_ms(), known_until_ms = ingress->until_ms;
    bool is_renewal = until_ms >= known_until_ms && now_ms < known_until_ms && !ingress->is_unsure;

    ingress->until_ms = until_ms;
    if (!ingress->keeper) {
        return;
    }
    note_what_was_read(ingress);
    is_renewal &= ingress_holds_any(ingress);
    ingress->is_unsure = false;
    for (guint i = 0; i < ingress->entries->len; i++) {
        struct entry *entry = entry_at(ingress, i);
        if (until_ms == 0) {
            release(ingress, entry);
        } else if (now_ms >= entry->retry_ms && (entry->state != ENTRY_HELD || !is_renewal)) {
            entry->state = MAX(entry->state, ENTRY_ASKED);
            ask(ingress, entry, KEEPER_HOLD, now_ms);
        }
    }
    if (is_renewal) {
        renew(ingress, known_until_ms, now_ms);
    }
    look_whether_it_answers(ingress, now_ms);
}

/* ---- what the keeper says ---- */

static bool is_anything_out(const struct ingress *ingress)
{
    for (guint i = 0; i < ingress->entries->len; i++) {
        if (entry_at(ingress, i)->state != ENTRY_IDLE) {
            return true;
        }
    }
    return false;
}

static void look_whether_given_up(struct ingress *ingress)
{
    if (ingress->given_up && !is_anything_out(ingress)) {
        timer_start(ingress->give_up_timer, 0);
    }
}

static void on_held(struct ingress *ingress, struct entry *entry)
{
    bool is_new = entry->state != ENTRY_HELD;

    entry->state = ENTRY_HELD;
    if (is_new) {
        entry->is_new = entry->has_failed = false;
        ingress->forget_ms = FORGET_MS;
        set_problem(entry, NULL);
        log_info("virtual IP taken", "address=%s", entry->vip.address);
        ingress->events->on_held(ingress->owner, &entry->vip);
        ingress->events->on_changed(ingress->owner);
    }
}

static void on_lost(struct ingress *ingress, struct entry *entry, const char *problem,
                    uint64_t wait_ms)
{
    bool was_held = entry->state == ENTRY_HELD;
    bool is_news = set_problem(entry, problem);

    entry->state = ENTRY_IDLE;
    entry->retry_ms = wait_ms ? clock_now_ms() + wait_ms : 0;
    if (was_held) {
        log_info("virtual IP released", "address=%s", entry->vip.address);
    }
    if (problem && is_news) {
        log_warning("virtual IP not held", "address=%s error=\"%s\"", entry->vip.address, problem);
    }
    if (problem) {
        timer_start(ingress->forget_timer, ingress->forget_ms);
    }
    if (was_held || is_news) {
        ingress->events->on_changed(ingress->owner);
    }
}

static void on_conflict(struct ingress *ingress, struct entry *entry, const uint8_t *mac)
{
    g_autofree char *problem =
        g_strdup_printf("another host (%02x:%02x:%02x:%02x:%02x:%02x) answers for it", mac[0],
                        mac[1], mac[2], mac[3], mac[4], mac[5]);

    if (entry->state != ENTRY_HELD) {
        on_lost(ingress, entry, problem, CONFLICT_WAIT_MS);
    } else if (set_problem(entry, problem)) {
        log_warning("virtual IP claimed by another host too", "address=%s error=\"%s\"",
                    entry->vip.address, problem);
        timer_start(ingress->forget_timer, ingress->forget_ms);
        ingress->events->on_changed(ingress->owner);
    }
}

static void on_forget_timer(void *owner)
{
    struct ingress *ingress = owner;

    ingress->forget_ms = MIN(ingress->forget_ms * 2, FORGET_MS_MAX);
    for (guint i = 0; i < ingress->entries->len; i++) {
        set_problem(entry_at(ingress, i), NULL);
        entry_at(ingress, i)->has_failed = false;
    }
    ingress->events->on_changed(ingress->owner);
}

static const char *describe_failure(const struct entry *entry, uint32_t error)
{
    return error == ENODEV && entry->vip.interface[0]
               ? "this node has no such network interface, or it is down"
           : error == ENODEV ? "no network interface of this node is in its network"
           : error == EPERM  ? "this node has not the rights for it"
                             : g_strerror((int)error);
}

static void on_message(void *owner, const struct keeper_message *message)
{
    struct ingress *ingress = owner;
    struct entry *entry = find(ingress, &message->address);

    ingress->is_unsure |= message->type == KEEPER_UNSURE;
    if (!entry || message->type == KEEPER_UNSURE) {
        return;
    }
    entry->asked_ms = 0;
    if (message->type == KEEPER_HELD) {
        on_held(ingress, entry);
    } else if (message->type == KEEPER_RELEASED) {
        on_lost(ingress, entry, NULL, 0);
    } else if (message->type == KEEPER_CONFLICT) {
        on_conflict(ingress, entry, message->peer);
    } else if (message->type == KEEPER_FAILED) {
        entry->has_failed = true;
        on_lost(ingress, entry, describe_failure(entry, message->number), FAILED_WAIT_MS);
    }
    look_whether_it_answers(ingress, clock_now_ms());
    look_whether_given_up(ingress);
}

/* ---- the table ---- */

static void add(struct ingress *ingress, const struct virtual_address *vip, bool is_new)
{
    struct entry *entry = g_new0(struct entry, 1);

    address_from(&entry->address, vip);
    entry->vip = *vip;
    entry->vip.address = g_strdup(vip->address);
    entry->vip.interface = g_strdup(vip->interface);
    entry->is_new = is_new;
    entry->is_wanted = true;
    g_ptr_array_add(ingress->entries, entry);
}

/* What is no longer in the table, or on another interface there. */
static void remove_unwanted(struct ingress *ingress)
{
    for (guint i = ingress->entries->len; i-- > 0;) {
        struct entry *entry = entry_at(ingress, i);
        if (!entry->is_wanted) {
            release(ingress, entry);
            g_ptr_array_remove_index(ingress->entries, i);
        }
    }
}

void ingress_set(struct ingress *ingress, const struct state *state, bool is_new_looked_at)
{
    for (guint i = 0; i < ingress->entries->len; i++) {
        entry_at(ingress, i)->is_wanted = false;
    }
    for (uint32_t i = 0; i < state_vip_count(state); i++) {
        struct entry *entry = find_vip(ingress, state_vip_at(state, i));
        if (entry && strcmp(entry->vip.interface, state_vip_at(state, i)->interface) == 0) {
            entry->is_wanted = true;
        }
    }
    remove_unwanted(ingress);
    for (uint32_t i = 0; i < state_vip_count(state); i++) {
        if (!find_vip(ingress, state_vip_at(state, i))) {
            add(ingress, state_vip_at(state, i), is_new_looked_at);
        }
    }
    ingress->events->on_changed(ingress->owner);
}

/* ---- life ---- */

static void on_give_up_timer(void *owner)
{
    struct ingress *ingress = owner;
    void (*fn)(void *owner, bool is_certain) = ingress->given_up;

    ingress->given_up = NULL;
    if (fn) {
        fn(ingress->given_up_owner, !is_anything_out(ingress));
    }
}

void ingress_give_up(struct ingress *ingress, void (*fn)(void *owner, bool is_certain), void *owner)
{
    ingress->given_up = fn;
    ingress->given_up_owner = owner;
    ingress_lease(ingress, 0);
    timer_start(ingress->give_up_timer, is_anything_out(ingress) ? GIVE_UP_MS : 0);
}

struct ingress *ingress_new(struct loop *loop, struct keeper_ends keeper,
                            const struct ingress_events *events, void *owner)
{
    struct ingress *ingress = g_new0(struct ingress, 1);

    ingress->loop = loop;
    ingress->events = events;
    ingress->owner = owner;
    ingress->forget_ms = FORGET_MS;
    ingress->entries = g_ptr_array_new_with_free_func(entry_free);
    ingress->give_up_timer = timer_new(loop, on_give_up_timer, ingress);
    ingress->forget_timer = timer_new(loop, on_forget_timer, ingress);
    ingress->keeper = keeper.pair < 0 ? NULL : keeper_client_new(loop, keeper, on_message, ingress);
    return ingress;
}

void ingress_free(struct ingress *ingress)
{
    if (ingress) {
        timer_free(ingress->give_up_timer);
        timer_free(ingress->forget_timer);
        keeper_client_free(ingress->keeper);
        g_ptr_array_unref(ingress->entries);
        g_free(ingress);
    }
}

void ingress_ready(struct ingress *ingress)
{
    struct keeper_message message = {.type = KEEPER_READY};

    if (ingress->keeper) {
        keeper_client_send(ingress->keeper, &message);
    }
}

/* ---- looking ---- */

/* One address that cannot be held, perhaps nowhere, is no reason to move the others. */
bool ingress_is_able(const struct ingress *ingress)
{
    bool has_failed = false, has_other = false;

    for (guint i = 0; i < ingress->entries->len; i++) {
        has_failed |= entry_at(ingress, i)->has_failed;
        has_other |= !entry_at(ingress, i)->has_failed;
    }
    return ingress->keeper && !ingress->is_silent && (!has_failed || has_other);
}

bool ingress_holds_any(const struct ingress *ingress)
{
    for (guint i = 0; i < ingress->entries->len; i++) {
        if (entry_at(ingress, i)->state == ENTRY_HELD) {
            return true;
        }
    }
    return false;
}

bool ingress_holds(const struct ingress *ingress, const struct virtual_address *vip)
{
    const struct entry *entry = find_vip(ingress, vip);

    return entry && entry->state == ENTRY_HELD;
}

bool ingress_has(const struct ingress *ingress, const uint8_t *address, bool is_ipv6)
{
    struct keeper_address wanted = {.is_ipv6 = is_ipv6};

    memcpy(wanted.bytes, address, is_ipv6 ? 16 : 4);
    const struct entry *entry = find(ingress, &wanted);
    return entry && entry->state == ENTRY_HELD;
}

void ingress_for_each(const struct ingress *ingress,
                      void (*fn)(void *owner, const struct ingress_status *status), void *owner)
{
    for (guint i = 0; i < ingress->entries->len; i++) {
        const struct entry *entry = entry_at(ingress, i);
        struct ingress_status status = {entry->address.bytes, entry->address.is_ipv6,
                                        entry->state == ENTRY_HELD, entry->problem};
        fn(owner, &status);
    }
}

const char *ingress_problem(const struct ingress *ingress, const struct virtual_address *vip)
{
    const struct entry *entry = find_vip(ingress, vip);

    return entry ? entry->problem : NULL;
}

/* ---- links and clients ---- */

void ingress_guard(struct ingress *ingress, uint32_t number, int fd)
{
    struct keeper_message message = {.type = KEEPER_GUARD, .number = number};

    if (ingress->keeper && !keeper_client_send_descriptor(ingress->keeper, &message, fd)) {
        log_debug("a link is not guarded: its end proves nothing", "number=%u", number);
    }
}

void ingress_unguard(struct ingress *ingress, uint32_t number)
{
    struct keeper_message message = {.type = KEEPER_UNGUARD, .number = number};

    if (ingress->keeper) {
        keeper_client_send(ingress->keeper, &message);
    }
}

void ingress_tickle(struct ingress *ingress, const struct ingress_client *client)
{
    struct keeper_message message = {.type = KEEPER_TICKLE,
                                     .port = client->port,
                                     .peer_port = client->peer_port,
                                     .address = {.is_ipv6 = client->is_ipv6}};

    memcpy(message.address.bytes, client->vip, sizeof client->vip);
    memcpy(message.peer, client->peer, sizeof client->peer);
    if (ingress->keeper) {
        keeper_client_send(ingress->keeper, &message);
    }
}

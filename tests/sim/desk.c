/* The keeper of a box; see box.h. Instead of keeper/keeper.c and ingress/keeper_client.c: the same
 * order of things, without sockets. What it says to the kernel is `until_ms`. */
#include "desk.h"
#include "base/clock.h"
#include "box.h"
#include "crowd.h"
#include "ingress/keeper_client.h"
#include "loop/loop.h"
#include "mqtt/test_virtual_loop.h"
#include <string.h>

#define LAN_MS       1  /* an answer to a probe */
#define RENEWALS_MAX 11 /* what the kernel keeps in such a socket */

struct keeper_client {
    struct box *box;
    void (*on_message)(void *owner, const struct keeper_message *message);
    void *owner;
    GQueue told; /* of struct keeper_message, owned: in the socket pair */
};

static struct box *boxes_by_number; /* a daemon is given a number for a descriptor */

static uint64_t now_ms(const struct box *box)
{
    return loop_now_ms(box->clock);
}

bool box_holds(const struct box *box)
{
    return box->has_power && box->desk.until_ms > now_ms(box);
}

/* ---- the LAN: kernels answer, whatever has been stopped ---- */

static void ask_lan(struct box *box)
{
    struct boxes *boxes = box->boxes;

    for (unsigned i = 0; i < boxes->count; i++) {
        if (i != box->at && box_holds(&boxes->all[i]) && net_is_reachable(boxes->net, i, box->at)) {
            struct conflict *conflict = g_new(struct conflict, 1);
            conflict->due_ms = boxes->net->now_ms + LAN_MS;
            g_queue_push_tail(&box->desk.conflicts, conflict);
        }
    }
}

/* ---- what hold.c asks for ---- */

static int on_open(void *owner, unsigned at, const struct keeper_address *address)
{
    return 0;
}

static void on_close(void *owner, unsigned at)
{
    struct box *box = owner;

    g_queue_clear_full(&box->desk.conflicts, g_free);
}

static void on_probe(void *owner, unsigned at, const struct keeper_address *address)
{
    ask_lan(owner);
}

/* The next answer of the LAN that has come. */
static bool on_is_claimed(void *owner, unsigned at, const struct keeper_address *address,
                          uint8_t *mac)
{
    struct box *box = owner;
    const struct conflict *conflict = g_queue_peek_head(&box->desk.conflicts);

    if (!conflict || conflict->due_ms > box->boxes->net->now_ms) {
        return false;
    }
    memset(mac, 2, 6);
    g_free(g_queue_pop_head(&box->desk.conflicts));
    return true;
}

static void on_announce(void *owner, unsigned at, const struct keeper_address *address)
{
}

static void judge(const struct box *box, const struct box *other)
{
    bool is_excused = other->desk.is_stopped && other->was_cut;

    if (other != box && box_holds(other) && !is_excused) {
        crowd_broken("boxes %u and %u both hold the address at %" G_GUINT64_FORMAT " ms",
                     other->at + 1, box->at + 1, box->boxes->net->now_ms);
    }
}

static int on_put(void *owner, unsigned at, const struct keeper_address *address,
                  uint32_t lifetime_s)
{
    struct box *box = owner;

    box->boxes->failovers += box->desk.until_ms <= now_ms(box);
    box->desk.until_ms = now_ms(box) + lifetime_s * 1000ull;
    for (unsigned i = 0; i < box->boxes->count; i++) {
        judge(box, &box->boxes->all[i]);
    }
    return 0;
}

static void on_take(void *owner, unsigned at, const struct keeper_address *address)
{
    ((struct box *)owner)->desk.until_ms = 0;
}

static void on_tell(void *owner, const struct keeper_message *message)
{
    struct box *box = owner;

    if (box->client) {
        g_queue_push_tail(&box->client->told, g_memdup2(message, sizeof *message));
    }
}

static const struct hold_ops hold_ops = {on_open,     on_close, on_probe, on_is_claimed,
                                         on_announce, on_put,   on_take,  on_tell};

/* ---- the daemon's end ---- */

struct keeper_client *keeper_client_new(struct loop *loop, struct keeper_ends ends,
                                        void (*on_message)(void *owner,
                                                           const struct keeper_message *message),
                                        void *owner)
{
    struct keeper_client *client = g_new0(struct keeper_client, 1);

    client->box = &boxes_by_number[ends.pair];
    client->on_message = on_message;
    client->owner = owner;
    g_queue_init(&client->told);
    client->box->client = client;
    return client;
}

void keeper_client_free(struct keeper_client *client)
{
    if (client) {
        client->box->client = NULL;
        g_queue_clear_full(&client->told, g_free);
        g_free(client);
    }
}

static void ask(struct box *box, const struct keeper_message *message, int number)
{
    struct asked asked = {*message, number};

    if (box->desk.is_alive && !box->is_dying) {
        g_queue_push_tail(&box->desk.asked, g_memdup2(&asked, sizeof asked));
    }
}

void keeper_client_send(struct keeper_client *client, const struct keeper_message *message)
{
    ask(client->box, message, 0);
}

void keeper_client_renew(struct keeper_client *client, uint64_t until_ms, uint64_t now_ms)
{
    struct desk *desk = &client->box->desk;
    struct keeper_message renewal = {
        .type = KEEPER_RENEW, .number = (uint32_t)(until_ms - now_ms), .until_ms = until_ms};

    if (desk->is_alive && !client->box->is_dying && desk->renewals->len < RENEWALS_MAX) {
        g_array_append_val(desk->renewals, renewal);
    }
}

bool keeper_client_is_read(const struct keeper_client *client)
{
    return client->box->desk.renewals->len == 0;
}

bool keeper_client_send_descriptor(struct keeper_client *client,
                                   const struct keeper_message *message, int fd)
{
    ask(client->box, message, fd);
    return true;
}

void desk_tell(struct box *box)
{
    struct keeper_message *message;

    while (box->client && (message = g_queue_pop_head(&box->client->told)) != NULL) {
        box->client->on_message(box->client->owner, message);
        g_free(message);
    }
}

/* ---- the keeper ---- */

static void read_renewals(struct box *box)
{
    struct desk *desk = &box->desk;

    for (guint i = 0; i < desk->renewals->len; i++) {
        holds_renew(&desk->holds, &g_array_index(desk->renewals, struct keeper_message, i),
                    now_ms(box));
    }
    g_array_set_size(desk->renewals, 0);
}

static void tick(struct box *box)
{
    read_renewals(box);
    holds_tick(&box->desk.holds, now_ms(box));
}

static void handle(struct box *box, const struct asked *asked)
{
    struct desk *desk = &box->desk;

    enum keeper_message_type type = asked->message.type;

    if (type == KEEPER_HOLD || type == KEEPER_RELEASE) {
        read_renewals(box);
        holds_ask(&desk->holds, &asked->message, now_ms(box));
    } else if (type == KEEPER_GUARD) {
        struct guarded guarded = {asked->message.number, asked->number};
        g_array_append_val(desk->guarded, guarded);
    } else if (type == KEEPER_UNGUARD) {
        for (guint i = 0; i < desk->guarded->len; i++) {
            struct guarded guarded = g_array_index(desk->guarded, struct guarded, i);
            if (guarded.link == asked->message.number) {
                g_array_remove_index(desk->guarded, i);
                net_release(box->boxes->net, guarded.number);
                return;
            }
        }
    }
}

static void look_at_lan(struct box *box)
{
    uint8_t mac[6];

    while (on_is_claimed(box, 0, NULL, mac)) {
        holds_conflict(&box->desk.holds, 0, mac, now_ms(box));
    }
}

void desk_let_go(struct box *box)
{
    struct desk *desk = &box->desk;
    struct asked *asked;

    holds_drop(&desk->holds);
    g_array_set_size(desk->renewals, 0);
    while ((asked = g_queue_pop_head(&desk->asked)) != NULL) {
        if (asked->number != 0) {
            net_release(box->boxes->net, asked->number);
        }
        g_free(asked);
    }
    for (guint i = 0; i < desk->guarded->len; i++) {
        net_release(box->boxes->net, g_array_index(desk->guarded, struct guarded, i).number);
    }
    g_array_set_size(desk->guarded, 0);
}

void desk_turn(struct box *box)
{
    struct desk *desk = &box->desk;
    struct asked *asked;

    if (!desk->is_alive || desk->is_stopped ||
        (box->node && desk_next_ms(box) > box->boxes->net->now_ms)) {
        return;
    }
    tick(box); /* first: what is over is not defended */
    look_at_lan(box);
    while (box->node && (asked = g_queue_pop_head(&desk->asked)) != NULL) {
        handle(box, asked);
        g_free(asked);
    }
    if (!box->node) {
        desk_let_go(box);
    }
    tick(box);
}

bool desk_guards(void *owner, int number)
{
    const struct box *box = owner;
    const struct desk *desk = &box->desk;

    for (guint i = 0; desk->is_alive && i < desk->guarded->len; i++) {
        if (g_array_index(desk->guarded, struct guarded, i).number == number) {
            return true;
        }
    }
    for (const GList *link = desk->is_alive ? desk->asked.head : NULL; link; link = link->next) {
        if (((const struct asked *)link->data)->number == number) {
            return true;
        }
    }
    return false;
}

uint64_t desk_next_ms(const struct box *box)
{
    const struct desk *desk = &box->desk;
    uint64_t next_ms = holds_next_ms(&desk->holds), now = now_ms(box);

    if (!desk->is_alive || desk->is_stopped) {
        return UINT64_MAX;
    }
    if (desk->asked.length > 0 || desk->conflicts.length > 0 ||
        (box->client && box->client->told.length > 0 && !box->is_stopped)) {
        return 0;
    }
    uint64_t left_ms = next_ms > now ? next_ms - now : 0;
    return next_ms == 0 ? UINT64_MAX : box->boxes->net->now_ms + left_ms - left_ms / 16;
}

/* ---- life ---- */

void desk_start(struct box *box)
{
    struct desk *desk = &box->desk;

    memset(&desk->holds, 0, sizeof desk->holds);
    desk->holds.ops = &hold_ops;
    desk->holds.owner = box;
    desk->is_alive = true;
    desk->is_stopped = false;
    desk->until_ms = 0;
    boxes_by_number = box->boxes->all;
}

void desk_end(struct box *box)
{
    struct desk *desk = &box->desk;

    desk->until_ms = 0; /* the TUN device goes with its descriptor */
    desk->is_alive = desk->is_stopped = false;
    desk_let_go(box);
    g_queue_clear_full(&desk->conflicts, g_free);
}

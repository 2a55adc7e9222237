/* See delivery.h. A ring of a power of two slots: a sequence number is a place, so finding by
 * packet id is arithmetic and pushing or finishing moves nothing. It doubles when it is full;
 * empty, it keeps only the first few slots, for the many clients that have one message in flight at
 * a time. */
#include "session/delivery.h"
#include <assert.h>
#include <errno.h>
#include <glib.h>

#define CAPACITY_FIRST 4

static struct delivery *slot(const struct delivery_ring *ring, uint64_t sequence)
{
    return &ring->items[sequence & (ring->capacity - 1)];
}

void delivery_ring_init(struct delivery_ring *ring)
{
    *ring = (struct delivery_ring){0};
}

static void give_back(struct delivery_ring *ring)
{
    if (ring->totals) {
        ring->totals->memory -= ring->capacity * sizeof *ring->items;
    }
    g_clear_pointer(&ring->items, g_free);
    ring->capacity = 0;
}

/* The message leaves; the slot keeps its place. */
static void release(struct delivery_ring *ring, struct delivery *delivery)
{
    uint64_t bytes = delivery->message ? message_bytes(delivery->message) : 0;

    ring->bytes -= bytes;
    if (ring->totals) {
        ring->totals->bytes -= bytes;
        if (ring->totals->counts_once && delivery->message && --delivery->message->held == 0) {
            ring->totals->once -= bytes;
        }
    }
    message_unref(TAKE(delivery->message));
    g_clear_pointer(&delivery->subscription_ids, g_free);
}

void delivery_ring_deinit(struct delivery_ring *ring)
{
    while (ring->count > 0) {
        delivery_ring_finish(ring, ring->first);
    }
    assert(ring->waiting == 0 && ring->bytes == 0);
    give_back(ring);
}

static void grow(struct delivery_ring *ring)
{
    uint32_t capacity = MAX(ring->capacity * 2, CAPACITY_FIRST);
    struct delivery *items = g_new(struct delivery, capacity);

    for (uint64_t i = ring->first; i < delivery_ring_end(ring); i++) {
        items[i & (capacity - 1)] = *slot(ring, i);
    }
    g_free(ring->items);
    if (ring->totals) {
        ring->totals->memory += (capacity - ring->capacity) * sizeof *items;
    }
    ring->items = items;
    ring->capacity = capacity;
}

/* An empty slot at the end; NULL when the ring is as long as it may be. */
static struct delivery *extend(struct delivery_ring *ring, enum delivery_state state, uint8_t qos)
{
    assert(qos == 1 || qos == 2);
    if (ring->count >= DELIVERY_RING_MAX) {
        return NULL;
    }
    if (ring->count >= ring->capacity) {
        grow(ring);
    }
    struct delivery *delivery = slot(ring, delivery_ring_end(ring));
    *delivery = (struct delivery){.state = state, .qos = qos};

    ring->count++;
    if (state != DELIVERY_DONE) {
        ring->waiting++;
        ring->received += state == DELIVERY_RECEIVED;
        if (ring->totals) {
            ring->totals->waiting++;
        }
    }
    return delivery;
}

int delivery_ring_push(struct delivery_ring *ring, struct message *message, uint8_t qos,
                       bool retain, const uint32_t *ids, uint32_t id_count)
{
    struct delivery *delivery = extend(ring, DELIVERY_WAITING, qos);

    if (!delivery) {
        return -ENOBUFS;
    }
    delivery->retain = retain;
    if (!message) {
        return 0;
    }
    delivery->message = message_ref(message);
    if (id_count > 0) {
        delivery->subscription_ids = g_new(uint32_t, id_count + 1);
        delivery->subscription_ids[0] = id_count;
        memcpy(delivery->subscription_ids + 1, ids, id_count * sizeof *ids);
    }
    if (message->expires_unix_ms != 0 &&
        (ring->expiry == 0 || message->expires_unix_ms < ring->expiry)) {
        ring->expiry = message->expires_unix_ms;
    }
    ring->bytes += message_bytes(message);
    if (ring->totals) {
        ring->totals->bytes += message_bytes(message);
        if (ring->totals->counts_once && message->held++ == 0) {
            ring->totals->once += message_bytes(message);
        }
    }
    return 0;
}

int delivery_ring_push_bare(struct delivery_ring *ring, enum delivery_state state, uint8_t qos)
{
    assert(state != DELIVERY_WAITING);
    return extend(ring, state, qos) ? 0 : -ENOBUFS;
}

struct delivery *delivery_ring_at(const struct delivery_ring *ring, uint64_t sequence)
{
    return sequence - ring->first < ring->count ? slot(ring, sequence) : NULL;
}

struct delivery *delivery_ring_find(const struct delivery_ring *ring, uint16_t packet_id,
                                    uint64_t *sequence)
{
    if (packet_id == 0) {
        return NULL;
    }
    uint32_t offset = (packet_id - 1u + 65535u - (uint32_t)(ring->first % 65535u)) % 65535u;
    struct delivery *delivery = delivery_ring_at(ring, ring->first + offset);

    if (!delivery || delivery->state == DELIVERY_DONE) {
        return NULL;
    }
    *sequence = ring->first + offset;
    return delivery;
}

void delivery_ring_receive(struct delivery_ring *ring, uint64_t sequence)
{
    struct delivery *delivery = delivery_ring_at(ring, sequence);

    assert(delivery && delivery->state == DELIVERY_WAITING && delivery->qos == 2);
    release(ring, delivery);
    delivery->state = DELIVERY_RECEIVED;
    ring->received++;
}

void delivery_ring_finish(struct delivery_ring *ring, uint64_t sequence)
{
    struct delivery *delivery = delivery_ring_at(ring, sequence);

    assert(delivery);
    if (delivery->state != DELIVERY_DONE) {
        if (delivery->state == DELIVERY_WAITING) {
            release(ring, delivery);
        } else {
            ring->received--;
        }
        delivery->state = DELIVERY_DONE;
        ring->waiting--;
        if (ring->totals) {
            ring->totals->waiting--;
        }
    }
    while (ring->count > 0 && slot(ring, ring->first)->state == DELIVERY_DONE) {
        ring->first++;
        ring->count--;
    }
    if (ring->count == 0) {
        if (ring->capacity > CAPACITY_FIRST) {
            give_back(ring);
        }
        ring->expiry = 0;
    }
}

uint64_t delivery_ring_compact(struct delivery_ring *ring)
{
    uint64_t end = delivery_ring_end(ring), to = ring->first;

    for (uint64_t i = ring->first; i < end; i++) {
        if (slot(ring, i)->state == DELIVERY_RECEIVED) {
            to = i + 1;
        }
    }
    uint64_t from = to;
    for (uint64_t i = to; i < end; i++) {
        if (slot(ring, i)->state == DELIVERY_WAITING) {
            *slot(ring, to++) = *slot(ring, i);
        }
    }
    ring->count = (uint32_t)(to - ring->first);
    return from;
}

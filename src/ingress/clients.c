/* See clients.h. A ring for each node: the oldest gives way. */
#include "ingress/clients.h"
#include <string.h>

struct ring {
    struct ingress_client *table; /* owned; grows up to CLIENTS_PER_NODE_MAX */
    uint32_t count, capacity, next;
};

struct clients {
    GHashTable *rings; /* node id (uint64_t *) -> struct ring, owned */
};

static void ring_free(void *memory)
{
    struct ring *ring = memory;

    g_free(ring->table);
    g_free(ring);
}

struct clients *clients_new(void)
{
    struct clients *clients = g_new0(struct clients, 1);

    clients->rings = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, ring_free);
    return clients;
}

void clients_free(struct clients *clients)
{
    if (clients) {
        g_hash_table_unref(clients->rings);
        g_free(clients);
    }
}

static struct ring *ring_of(struct clients *clients, uint64_t node_id)
{
    struct ring *ring = g_hash_table_lookup(clients->rings, &node_id);

    if (!ring) {
        ring = g_new0(struct ring, 1);
        g_hash_table_insert(clients->rings, g_memdup2(&node_id, sizeof node_id), ring);
    }
    return ring;
}

void clients_add(struct clients *clients, uint64_t node_id, const struct ingress_client *client)
{
    struct ring *ring = ring_of(clients, node_id);

    if (ring->count == ring->capacity && ring->capacity < CLIENTS_PER_NODE_MAX) {
        ring->capacity = MIN(MAX(ring->capacity * 2, 16), CLIENTS_PER_NODE_MAX);
        ring->table = g_renew(struct ingress_client, ring->table, ring->capacity);
        ring->next = ring->count;
    }
    ring->table[ring->next] = *client;
    ring->count = MAX(ring->count, ring->next + 1);
    ring->next = (ring->next + 1) % CLIENTS_PER_NODE_MAX;
}

void clients_forget(struct clients *clients, uint64_t node_id)
{
    g_hash_table_remove(clients->rings, &node_id);
}

uint32_t clients_count(const struct clients *clients, uint64_t node_id)
{
    const struct ring *ring = g_hash_table_lookup(clients->rings, &node_id);

    return ring ? ring->count : 0;
}

void clients_for_each(const struct clients *clients, const uint8_t *vip, bool is_ipv6,
                      uint64_t except_id,
                      void (*fn)(void *owner, const struct ingress_client *client), void *owner)
{
    GHashTableIter iterator;
    void *id, *value;

    g_hash_table_iter_init(&iterator, clients->rings);
    while (g_hash_table_iter_next(&iterator, &id, &value)) {
        const struct ring *ring = value;
        for (uint32_t i = 0; *(uint64_t *)id != except_id && i < ring->count; i++) {
            const struct ingress_client *client = &ring->table[i];
            if (client->is_ipv6 == is_ipv6 && memcmp(client->vip, vip, is_ipv6 ? 16 : 4) == 0) {
                fn(owner, client);
            }
        }
    }
}

/* Family (1), virtual IP (16), client (16), ports (2 + 2). */
void clients_encode(uint8_t *bytes, const struct ingress_client *client)
{
    bytes[0] = client->is_ipv6 ? 6 : 4;
    memcpy(bytes + 1, client->vip, 16);
    memcpy(bytes + 17, client->peer, 16);
    bytes[33] = (uint8_t)(client->port >> 8);
    bytes[34] = (uint8_t)client->port;
    bytes[35] = (uint8_t)(client->peer_port >> 8);
    bytes[36] = (uint8_t)client->peer_port;
}

void clients_decode(const uint8_t *bytes, struct ingress_client *client)
{
    client->is_ipv6 = bytes[0] == 6;
    memcpy(client->vip, bytes + 1, 16);
    memcpy(client->peer, bytes + 17, 16);
    client->port = (uint16_t)(bytes[33] << 8 | bytes[34]);
    client->peer_port = (uint16_t)(bytes[35] << 8 | bytes[36]);
}

/* A client id as key of a hash table. Clients choose their ids, so the hash is keyed (base/hash.h);
 * it is kept with the id, so that GHashTable needs no key of its own. A thing that is found by its
 * client id begins with one. */
#pragma once

#include "base/hash.h"
#include <glib.h>
#include <stdbool.h>

struct client_key {
    const uint8_t *at; /* the client id, borrowed from the thing itself */
    uint32_t length;
    uint32_t hash;
};

static inline struct client_key client_key(struct bytes client_id, const struct hash_key *key)
{
    return (struct client_key){client_id.at, (uint32_t)client_id.length,
                               (uint32_t)hash_bytes(client_id, key)};
}

static inline guint client_key_hash(gconstpointer key)
{
    return ((const struct client_key *)key)->hash;
}

static inline gboolean client_key_equal(gconstpointer left, gconstpointer right)
{
    const struct client_key *a = left, *b = right;
    return a->hash == b->hash && a->length == b->length && memcmp(a->at, b->at, a->length) == 0;
}

/* In order of bytes; a prefix stands before what it begins. */
static inline int client_key_compare(const struct client_key *a, const struct client_key *b)
{
    uint32_t common = a->length < b->length ? a->length : b->length;
    int difference = memcmp(a->at, b->at, common);
    return difference != 0 ? difference : (a->length > b->length) - (a->length < b->length);
}

/* From /dev/urandom through GLib, once for each table. */
static inline struct hash_key client_key_seed(void)
{
    return (struct hash_key){(uint64_t)g_random_int() << 32 | g_random_int(),
                             (uint64_t)g_random_int() << 32 | g_random_int()};
}

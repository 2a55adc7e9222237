/* The inside of the session store, for this folder only. */
#pragma once

#include "base/hash.h"
#include "base/pool.h"
#include "session/members.h"
#include "session/route.h"
#include "session/store.h"
#include "topic/tree.h"
#include <glib.h>

/* What the tree has for a filter: with one plain subscription and no share group, as most have, the
 * subscription itself with the lowest bit set; else one of these. */
struct filter_entry {
    struct members members; /* of the plain subscriptions */
    struct list shares;     /* of share.link, owned, in order of making */
};

struct share {
    struct list link; /* in filter_entry.shares */
    struct session_store *store;
    struct members members;
    uint32_t node;     /* of the filter */
    uint32_t turn;     /* the next member to be asked; not part of the state */
    uint32_t hash;     /* of node and name */
    char *filter;      /* owned, without `$share/NAME/` */
    struct bytes name; /* points to what follows */
    uint8_t name_bytes[];
};

struct session_store {
    GHashTable *sessions; /* of client_key at the head of a session, owned */
    GHashTable *shares;   /* of struct share, borrowed from their filter_entry, by node and name */
    GSequence
        *expiry; /* of sessions that have an end, borrowed, earliest first, ties by client id */
    struct topic_tree *filters;
    struct pool *subscriptions; /* their memory */
    struct hash_key hash_key;
    struct session_limits limits;
    struct delivery_totals totals;
    void (*on_filter)(void *owner, char *filter); /* NULL = nobody asks */
    void *on_filter_owner;
    uint64_t generation; /* of the filters and their subscriptions, from 1 */
    uint64_t bytes;      /* of sessions, subscriptions, entries and shares */
    uint32_t subscription_count, shared_subscription_count;
};

static inline struct subscription *filter_value_single(void *value)
{
    return (uintptr_t)value & 1 ? (struct subscription *)((uintptr_t)value - 1) : NULL;
}

static inline void *filter_value_of_single(struct subscription *subscription)
{
    return (void *)((uintptr_t)subscription + 1);
}

/* Frees it and takes it out of everything (subscribe.c). */
void subscription_free(struct subscription *subscription);
guint share_key_hash(gconstpointer key);
gboolean share_key_equal(gconstpointer left, gconstpointer right);

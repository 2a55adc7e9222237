/* See store.h. Sessions are found by a keyed hash of their client id; whatever shows an order
 * sorts, so that no order of a hash table is seen. Those that have an end stand in a balanced
 * sequence by it. */
#include "session/store_private.h"
#include <assert.h>

#define SESSION_OVERHEAD_BYTES 64 /* of allocation, hash table and sequence, as measured */

static void free_session(gpointer pointer)
{
    struct session *session = pointer;

    while (!list_is_empty(&session->subscriptions)) {
        subscription_free(
            list_entry(session->subscriptions.next, struct subscription, session_link));
    }
    session_set_expires(session, 0);
    session->store->bytes -= sizeof *session + session->key.length + SESSION_OVERHEAD_BYTES;
    delivery_ring_deinit(&session->deliveries);
    g_free(session->received.ids);
    g_free(session->username);
    g_free(session);
}

struct session_store *session_store_new(void)
{
    struct session_store *store = g_new0(struct session_store, 1);

    store->sessions = g_hash_table_new_full(client_key_hash, client_key_equal, free_session, NULL);
    store->shares = g_hash_table_new(share_key_hash, share_key_equal);
    store->expiry = g_sequence_new(NULL);
    store->filters = topic_tree_new();
    store->subscriptions = pool_new(sizeof(struct subscription));
    store->hash_key = client_key_seed();
    store->generation = 1;
    store->limits = (struct session_limits){.queue_messages_max = DELIVERY_RING_MAX,
                                            .queue_bytes_max = UINT64_MAX,
                                            .subscriptions_per_session_max = UINT32_MAX,
                                            .received_max = UINT16_MAX};
    return store;
}

void session_store_free(struct session_store *store)
{
    if (!store) {
        return;
    }
    g_hash_table_destroy(store->sessions);
    assert(store->subscription_count == 0 && store->bytes == 0 && store->totals.waiting == 0);
    g_hash_table_destroy(store->shares);
    g_sequence_free(store->expiry);
    topic_tree_free(store->filters);
    pool_free(store->subscriptions);
    g_free(store);
}

void session_store_set_limits(struct session_store *store, const struct session_limits *limits)
{
    store->limits = *limits;
    store->limits.queue_messages_max = MIN(limits->queue_messages_max, DELIVERY_RING_MAX);
}

const struct session_limits *session_store_limits(const struct session_store *store)
{
    return &store->limits;
}

struct session *session_store_find(const struct session_store *store, struct bytes client_id)
{
    struct client_key key = client_key(client_id, &store->hash_key);
    return g_hash_table_lookup(store->sessions, &key);
}

struct session *session_store_add(struct session_store *store, struct bytes client_id)
{
    struct session *session = g_malloc0(sizeof *session + client_id.length + 1);

    if (client_id.length > 0) {
        memcpy(session->client_id, client_id.at, client_id.length);
    }
    session->key = client_key((struct bytes){(const uint8_t *)session->client_id, client_id.length},
                              &store->hash_key);
    session->store = store;
    session->receive_maximum = UINT16_MAX;
    list_init(&session->subscriptions);
    delivery_ring_init(&session->deliveries);
    session->deliveries.totals = &store->totals;
    store->bytes += sizeof *session + session->key.length + SESSION_OVERHEAD_BYTES;
    bool is_new = g_hash_table_replace(store->sessions, &session->key, session);
    assert(is_new);
    return session;
}

void session_store_remove(struct session_store *store, struct session *session)
{
    assert(session->store == store);
    g_hash_table_remove(store->sessions, &session->key);
}

uint32_t session_store_count(const struct session_store *store)
{
    return g_hash_table_size(store->sessions);
}

uint32_t session_store_subscription_count(const struct session_store *store)
{
    return store->subscription_count;
}

uint32_t session_store_shared_count(const struct session_store *store)
{
    return store->shared_subscription_count;
}

uint64_t session_store_bytes(const struct session_store *store)
{
    return store->bytes + store->totals.bytes + store->totals.memory +
           topic_tree_bytes(store->filters);
}

void session_store_count_once(struct session_store *store)
{
    assert(store->totals.waiting == 0);
    store->totals.counts_once = true;
}

uint64_t session_store_message_bytes(const struct session_store *store)
{
    return store->totals.once;
}

uint64_t session_store_queued(const struct session_store *store)
{
    return store->totals.waiting;
}

static int compare_ids(gconstpointer left, gconstpointer right)
{
    const struct session *const *a = left, *const *b = right;
    return client_key_compare(&(*a)->key, &(*b)->key);
}

void session_store_for_each(struct session_store *store,
                            void (*fn)(void *owner, struct session *session), void *owner)
{
    g_autoptr(GPtrArray) sessions = g_ptr_array_sized_new(g_hash_table_size(store->sessions));
    GHashTableIter iter;
    gpointer session;

    g_hash_table_iter_init(&iter, store->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &session)) {
        g_ptr_array_add(sessions, session);
    }
    g_ptr_array_sort(sessions, compare_ids);
    for (guint i = 0; i < sessions->len; i++) {
        fn(owner, sessions->pdata[i]);
    }
}

/* ---- expiry ---- */

static int compare_expiry(gconstpointer left, gconstpointer right, gpointer unused)
{
    const struct session *a = left, *b = right;

    if (a->expires_unix_ms != b->expires_unix_ms) {
        return a->expires_unix_ms < b->expires_unix_ms ? -1 : 1;
    }
    return client_key_compare(&a->key, &b->key);
}

static struct session *first_to_expire(const struct session_store *store)
{
    GSequenceIter *first = g_sequence_get_begin_iter(store->expiry);
    return g_sequence_iter_is_end(first) ? NULL : g_sequence_get(first);
}

uint64_t session_store_next_expiry(const struct session_store *store)
{
    const struct session *session = first_to_expire(store);
    return session ? session->expires_unix_ms : 0;
}

void session_set_expires(struct session *session, uint64_t expires_unix_ms)
{
    GSequence *expiry = session->store->expiry;

    if (session->expires_unix_ms != 0) {
        g_sequence_remove(g_sequence_lookup(expiry, session, compare_expiry, NULL));
    }
    session->expires_unix_ms = expires_unix_ms;
    if (expires_unix_ms != 0) {
        g_sequence_insert_sorted(expiry, session, compare_expiry, NULL);
    }
}

void session_store_expire(struct session_store *store, uint64_t now_unix_ms,
                          void (*fn)(void *owner, struct session *session), void *owner)
{
    struct session *session;

    while ((session = first_to_expire(store)) != NULL && session->expires_unix_ms <= now_unix_ms) {
        session_set_expires(session, 0);
        fn(owner, session);
    }
}

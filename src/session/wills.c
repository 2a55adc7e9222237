/* See wills.h. Found by client id in a keyed hash table; those whose delay runs stand in a sequence
 * by when they are due, ties by client id. */
#include "session/wills.h"
#include "session/client_key.h"

struct entry {
    struct client_key key; /* of client_id; first */
    struct will will;
    uint8_t client_id[];
};

struct wills {
    GHashTable *entries; /* of struct entry, owned */
    GSequence *due;      /* of entries that are due some time, borrowed */
    struct hash_key hash_key;
};

static int compare_due(gconstpointer left, gconstpointer right, gpointer unused)
{
    const struct entry *a = left, *b = right;

    if (a->will.due_unix_ms != b->will.due_unix_ms) {
        return a->will.due_unix_ms < b->will.due_unix_ms ? -1 : 1;
    }
    return client_key_compare(&a->key, &b->key);
}

static void free_entry(gpointer pointer)
{
    struct entry *entry = pointer;

    message_unref(entry->will.message);
    g_free(entry);
}

struct wills *wills_new(void)
{
    struct wills *wills = g_new0(struct wills, 1);

    wills->entries = g_hash_table_new_full(client_key_hash, client_key_equal, free_entry, NULL);
    wills->due = g_sequence_new(NULL);
    wills->hash_key = client_key_seed();
    return wills;
}

void wills_free(struct wills *wills)
{
    if (wills) {
        g_sequence_free(wills->due);
        g_hash_table_destroy(wills->entries);
        g_free(wills);
    }
}

static struct entry *find(const struct wills *wills, struct bytes client_id)
{
    struct client_key key = client_key(client_id, &wills->hash_key);
    return g_hash_table_lookup(wills->entries, &key);
}

static void set_due(struct wills *wills, struct entry *entry, uint64_t due_unix_ms)
{
    if (entry->will.due_unix_ms != 0) {
        g_sequence_remove(g_sequence_lookup(wills->due, entry, compare_due, NULL));
    }
    entry->will.due_unix_ms = due_unix_ms;
    if (due_unix_ms != 0) {
        g_sequence_insert_sorted(wills->due, entry, compare_due, NULL);
    }
}

static void remove_entry(struct wills *wills, struct entry *entry)
{
    set_due(wills, entry, 0);
    g_hash_table_remove(wills->entries, &entry->key);
}

void wills_set(struct wills *wills, struct bytes client_id, const struct will *will)
{
    struct entry *entry = g_malloc0(sizeof *entry + client_id.length);

    if (client_id.length > 0) {
        memcpy(entry->client_id, client_id.at, client_id.length);
    }
    entry->key = client_key((struct bytes){entry->client_id, client_id.length}, &wills->hash_key);
    entry->will = *will;
    entry->will.due_unix_ms = 0;
    message_ref(will->message);
    uint64_t due_unix_ms = will->due_unix_ms; /* `will` may be the one that goes now */
    wills_remove(wills, client_id);
    g_hash_table_add(wills->entries, &entry->key);
    set_due(wills, entry, due_unix_ms);
}

const struct will *wills_find(const struct wills *wills, struct bytes client_id)
{
    const struct entry *entry = find(wills, client_id);
    return entry ? &entry->will : NULL;
}

void wills_set_due(struct wills *wills, struct bytes client_id, uint64_t due_unix_ms)
{
    struct entry *entry = find(wills, client_id);

    if (entry) {
        set_due(wills, entry, due_unix_ms);
    }
}

void wills_remove(struct wills *wills, struct bytes client_id)
{
    struct entry *entry = find(wills, client_id);

    if (entry) {
        remove_entry(wills, entry);
    }
}

uint32_t wills_count(const struct wills *wills)
{
    return g_hash_table_size(wills->entries);
}

static struct entry *first_due(const struct wills *wills)
{
    GSequenceIter *first = g_sequence_get_begin_iter(wills->due);
    return g_sequence_iter_is_end(first) ? NULL : g_sequence_get(first);
}

uint64_t wills_next_due(const struct wills *wills)
{
    const struct entry *entry = first_due(wills);
    return entry ? entry->will.due_unix_ms : 0;
}

void wills_expire(struct wills *wills, uint64_t now_unix_ms,
                  void (*fn)(void *owner, struct bytes client_id, const struct will *will),
                  void *owner)
{
    struct entry *entry;

    while ((entry = first_due(wills)) != NULL && entry->will.due_unix_ms <= now_unix_ms) {
        /* Out of both first, so that `fn` may do what it likes with the wills. */
        g_sequence_remove(g_sequence_get_begin_iter(wills->due));
        g_hash_table_steal(wills->entries, &entry->key);
        fn(owner, (struct bytes){entry->client_id, entry->key.length}, &entry->will);
        free_entry(entry);
    }
}

static int compare_ids(gconstpointer left, gconstpointer right)
{
    const struct entry *const *a = left, *const *b = right;
    return client_key_compare(&(*a)->key, &(*b)->key);
}

void wills_for_each(const struct wills *wills,
                    void (*fn)(void *owner, struct bytes client_id, const struct will *will),
                    void *owner)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_sized_new(g_hash_table_size(wills->entries));
    GHashTableIter iter;
    gpointer entry;

    g_hash_table_iter_init(&iter, wills->entries);
    while (g_hash_table_iter_next(&iter, &entry, NULL)) {
        g_ptr_array_add(entries, entry);
    }
    g_ptr_array_sort(entries, compare_ids);
    for (guint i = 0; i < entries->len; i++) {
        const struct entry *each = entries->pdata[i];
        fn(owner, (struct bytes){each->client_id, each->key.length}, &each->will);
    }
}

/* Subscriptions: each stands in its session's list and with its filter in the store's tree.
 * Subscribing again finds the subscription by way of the filter, never by way of the session's
 * list; ending one is constant time on both sides, so that ten thousand sessions which share a
 * filter may go at once. */
#include "session/store_private.h"
#include "topic/name.h"
#include <assert.h>

/* What malloc adds to one, and the list's share of it. */
#define ALLOCATION_BYTES 16

/* ---- share groups ---- */

guint share_key_hash(gconstpointer key)
{
    return ((const struct share *)key)->hash;
}

gboolean share_key_equal(gconstpointer left, gconstpointer right)
{
    const struct share *a = left, *b = right;
    return a->node == b->node && bytes_equal(a->name, b->name);
}

static uint32_t share_hash(const struct session_store *store, uint32_t node, struct bytes name)
{
    return (uint32_t)hash_bytes(name, &store->hash_key) ^ node * 0x9e3779b9u;
}

static struct share *find_share(const struct session_store *store, uint32_t node, struct bytes name)
{
    struct share key = {.node = node, .name = name, .hash = share_hash(store, node, name)};
    return g_hash_table_lookup(store->shares, &key);
}

static uint64_t share_bytes(const struct share *share)
{
    return sizeof *share + share->name.length + strlen(share->filter) + 4 * ALLOCATION_BYTES;
}

static struct share *share_new(struct session_store *store, struct filter_entry *entry,
                               uint32_t node, struct bytes name)
{
    struct share *share = g_malloc0(sizeof *share + name.length);

    memcpy(share->name_bytes, name.at, name.length);
    share->name = (struct bytes){share->name_bytes, name.length};
    share->store = store;
    share->node = node;
    share->hash = share_hash(store, node, name);
    share->filter = topic_tree_path(store->filters, node);
    list_append(&entry->shares, &share->link);
    g_hash_table_add(store->shares, share);
    store->bytes += share_bytes(share);
    return share;
}

static void share_free(struct share *share)
{
    share->store->bytes -= share_bytes(share);
    g_hash_table_remove(share->store->shares, share);
    list_remove(&share->link);
    members_deinit(&share->members);
    g_free(share->filter);
    g_free(share);
}

struct bytes share_name(const struct share *share)
{
    return share->name;
}

struct bytes share_filter(const struct share *share)
{
    return bytes_from_string(share->filter);
}

uint32_t share_member_count(const struct share *share)
{
    return share->members.count;
}

struct subscription *
share_pick(struct share *share,
           bool (*is_eligible)(void *owner, const struct subscription *subscription), void *owner)
{
    const struct members *members = &share->members;

    for (uint32_t i = 0; i < members->count; i++) {
        uint32_t at = (uint32_t)(((uint64_t)share->turn + i) % members->count);
        if (!is_eligible || is_eligible(owner, members->items[at])) {
            share->turn = at + 1;
            return members->items[at];
        }
    }
    return NULL;
}

struct share *session_store_find_share(const struct session_store *store, struct bytes name,
                                       struct bytes filter)
{
    uint32_t node = topic_tree_find(store->filters, filter);
    return node != 0 ? find_share(store, node, name) : NULL;
}

/* ---- filters ---- */

static struct filter_entry *entry_new(struct session_store *store)
{
    struct filter_entry *entry = g_new0(struct filter_entry, 1);

    list_init(&entry->shares);
    store->bytes += sizeof *entry + ALLOCATION_BYTES;
    return entry;
}

static void entry_free(struct session_store *store, struct filter_entry *entry)
{
    store->bytes -= sizeof *entry + ALLOCATION_BYTES;
    members_deinit(&entry->members);
    g_free(entry);
}

/* The entry of a filter, made from the single subscription if that was all. */
static struct filter_entry *widen(struct session_store *store, uint32_t node)
{
    void *value = topic_tree_value(store->filters, node);
    struct subscription *single = filter_value_single(value);

    if (value && !single) {
        return value;
    }
    struct filter_entry *entry = entry_new(store);
    if (single) {
        members_add(&entry->members, single);
    }
    topic_tree_set_value(store->filters, node, entry);
    return entry;
}

/* Back to the single subscription, or to nothing, when that is all. */
static void narrow(struct session_store *store, uint32_t node, struct filter_entry *entry)
{
    if (!list_is_empty(&entry->shares) || entry->members.count > 1) {
        return;
    }
    void *value =
        entry->members.count == 1 ? filter_value_of_single(entry->members.items[0]) : NULL;
    entry_free(store, entry);
    topic_tree_set_value(store->filters, node, value);
}

static struct subscription *find_in(const struct session *session, struct bytes name,
                                    bool is_shared, uint32_t node)
{
    if (is_shared) {
        const struct share *share = find_share(session->store, node, name);
        return share ? members_find(&share->members, session) : NULL;
    }
    void *value = topic_tree_value(session->store->filters, node);
    struct subscription *single = filter_value_single(value);
    if (single) {
        return single->session == session ? single : NULL;
    }
    return value ? members_find(&((struct filter_entry *)value)->members, session) : NULL;
}

struct subscription *session_find_subscription(const struct session *session, struct bytes filter)
{
    struct bytes name = {0};
    bool is_shared = topic_filter_split_shared(filter, &name, &filter);
    uint32_t node = topic_tree_find(session->store->filters, filter);

    return node != 0 ? find_in(session, name, is_shared, node) : NULL;
}

static void link_subscription(struct subscription *subscription, struct bytes name, bool is_shared)
{
    struct session_store *store = subscription->session->store;
    uint32_t node = subscription->node;

    if (is_shared) {
        struct filter_entry *entry = widen(store, node);
        subscription->share = find_share(store, node, name);
        if (!subscription->share) {
            subscription->share = share_new(store, entry, node, name);
        }
        members_add(&subscription->share->members, subscription);
        store->shared_subscription_count++;
    } else if (topic_tree_value(store->filters, node)) {
        members_add(&widen(store, node)->members, subscription);
    } else {
        topic_tree_set_value(store->filters, node, filter_value_of_single(subscription));
    }
}

static void unlink_subscription(struct subscription *subscription)
{
    struct session_store *store = subscription->session->store;
    void *value = topic_tree_value(store->filters, subscription->node);

    if (filter_value_single(value)) {
        assert(filter_value_single(value) == subscription);
        topic_tree_set_value(store->filters, subscription->node, NULL);
        return;
    }
    struct filter_entry *entry = value;
    if (subscription->share) {
        members_remove(&subscription->share->members, subscription);
        store->shared_subscription_count--;
        if (subscription->share->members.count == 0) {
            share_free(subscription->share);
        }
    } else {
        members_remove(&entry->members, subscription);
    }
    narrow(store, subscription->node, entry);
}

/* ---- who watches the filters ---- */

static uint32_t plain_count(void *value)
{
    if (!value) {
        return 0;
    }
    return filter_value_single(value) ? 1 : ((struct filter_entry *)value)->members.count;
}

/* How many of the same filter, or of the same group, there are with it. */
static uint32_t count_with(const struct subscription *subscription)
{
    return subscription->share ? subscription->share->members.count
                               : plain_count(topic_tree_value(subscription->session->store->filters,
                                                              subscription->node));
}

/* The filter when somebody must know that this subscription comes or goes, else NULL. */
static char *watched_filter(const struct subscription *subscription)
{
    bool is_watched = subscription->session->store->on_filter &&
                      (subscription->share || count_with(subscription) == 1);
    return is_watched ? subscription_filter(subscription) : NULL;
}

static void tell_filter(const struct session_store *store, char *filter)
{
    if (filter) {
        store->on_filter(store->on_filter_owner, filter);
    }
}

void session_store_watch_filters(struct session_store *store, void (*fn)(void *owner, char *filter),
                                 void *owner)
{
    store->on_filter = fn;
    store->on_filter_owner = owner;
}

uint32_t session_store_filter_count(const struct session_store *store, struct bytes filter)
{
    struct bytes name = {0};
    bool is_shared = topic_filter_split_shared(filter, &name, &filter);
    uint32_t node = topic_tree_find(store->filters, filter);

    if (node == 0) {
        return 0;
    }
    if (is_shared) {
        const struct share *share = find_share(store, node, name);
        return share ? share->members.count : 0;
    }
    return plain_count(topic_tree_value(store->filters, node));
}

struct filter_walk {
    const struct session_store *store;
    void (*fn)(void *owner, struct bytes filter, uint32_t count);
    void *owner;
};

static void show_filter(const struct filter_walk *walk, const struct subscription *one,
                        uint32_t count)
{
    g_autofree char *filter = subscription_filter(one);
    walk->fn(walk->owner, bytes_from_string(filter), count);
}

static void on_filter_value(void *owner, void *value)
{
    const struct filter_walk *walk = owner;
    const struct subscription *single = filter_value_single(value);

    if (single) {
        show_filter(walk, single, 1);
        return;
    }
    const struct filter_entry *entry = value;
    if (entry->members.count > 0) {
        show_filter(walk, entry->members.items[0], entry->members.count);
    }
    list_for_each(link, &entry->shares) {
        const struct share *share = list_entry(link, struct share, link);
        show_filter(walk, share->members.items[0], share->members.count);
    }
}

void session_store_for_each_filter(const struct session_store *store,
                                   void (*fn)(void *owner, struct bytes filter, uint32_t count),
                                   void *owner)
{
    struct filter_walk walk = {store, fn, owner};
    topic_tree_for_each(store->filters, on_filter_value, &walk);
}

/* ---- subscriptions ---- */

enum subscribe_result session_subscribe(struct session *session, struct bytes filter,
                                        const struct subscription_options *options)
{
    struct session_store *store = session->store;
    struct subscription *subscription = session_find_subscription(session, filter);

    if (subscription) {
        subscription->options = *options;
        store->generation++;
        return SUBSCRIBE_REPLACED;
    }
    if (session->subscription_count >= store->limits.subscriptions_per_session_max) {
        return SUBSCRIBE_QUOTA;
    }
    struct bytes name = {0};
    bool is_shared = topic_filter_split_shared(filter, &name, &filter);
    subscription = pool_take(store->subscriptions);
    subscription->session = session;
    subscription->options = *options;
    subscription->node = topic_tree_add(store->filters, filter);
    list_append(&session->subscriptions, &subscription->session_link);
    link_subscription(subscription, name, is_shared);
    session->subscription_count++;
    store->subscription_count++;
    store->generation++;
    store->bytes += sizeof *subscription + ALLOCATION_BYTES;
    tell_filter(store, watched_filter(subscription));
    return SUBSCRIBE_NEW;
}

void subscription_free(struct subscription *subscription)
{
    struct session *session = subscription->session;
    struct session_store *store = session->store;
    char *filter = watched_filter(subscription);

    unlink_subscription(subscription);
    list_remove(&subscription->session_link);
    session->subscription_count--;
    store->subscription_count--;
    store->generation++;
    store->bytes -= sizeof *subscription + ALLOCATION_BYTES;
    pool_give(store->subscriptions, subscription);
    tell_filter(store, filter);
}

bool session_unsubscribe(struct session *session, struct bytes filter)
{
    struct subscription *subscription = session_find_subscription(session, filter);

    if (subscription) {
        subscription_free(subscription);
    }
    return subscription != NULL;
}

char *subscription_filter(const struct subscription *subscription)
{
    const struct share *share = subscription->share;

    if (!share) {
        return topic_tree_path(subscription->session->store->filters, subscription->node);
    }
    return g_strdup_printf("$share/%.*s/%s", (int)share->name.length, (const char *)share->name.at,
                           share->filter);
}

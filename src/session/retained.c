/* See retained.h. The tree's value is the message itself; those that expire stand in a sequence
 * beside it, by their end, ties by topic. A hundred thousand messages of a house need no more than
 * themselves and their place in the tree. */
#include "session/retained.h"
#include "topic/tree.h"
#include <errno.h>
#include <glib.h>

struct retained {
    struct topic_tree *tree; /* of struct message, a reference each */
    GSequence *expiry;       /* of messages that expire, borrowed */
    uint64_t bytes;
    uint64_t bytes_max;
    uint32_t messages_max;
};

static int compare_expiry(gconstpointer left, gconstpointer right, gpointer unused)
{
    const struct message *a = left, *b = right;

    if (a->expires_unix_ms != b->expires_unix_ms) {
        return a->expires_unix_ms < b->expires_unix_ms ? -1 : 1;
    }
    size_t common = MIN(a->topic_bytes, b->topic_bytes);
    int difference = memcmp(a->body, b->body, common);
    return difference != 0 ? difference : (int)a->topic_bytes - (int)b->topic_bytes;
}

struct retained *retained_new(void)
{
    struct retained *retained = g_new0(struct retained, 1);

    retained->tree = topic_tree_new();
    retained->expiry = g_sequence_new(NULL);
    retained->messages_max = UINT32_MAX;
    retained->bytes_max = UINT64_MAX;
    return retained;
}

static void unref(void *owner, void *value)
{
    message_unref(value);
}

void retained_free(struct retained *retained)
{
    if (retained) {
        topic_tree_for_each(retained->tree, unref, NULL);
        topic_tree_free(retained->tree);
        g_sequence_free(retained->expiry);
        g_free(retained);
    }
}

void retained_set_limits(struct retained *retained, uint32_t messages_max, uint64_t bytes_max)
{
    retained->messages_max = messages_max;
    retained->bytes_max = bytes_max;
}

/* The message leaves the sums and the sequence; its place in the tree is the caller's. */
static void release(struct retained *retained, struct message *message)
{
    if (message->expires_unix_ms != 0) {
        g_sequence_remove(g_sequence_lookup(retained->expiry, message, compare_expiry, NULL));
    }
    retained->bytes -= message_bytes(message);
    message_unref(message);
}

static void remove_topic(struct retained *retained, struct bytes topic)
{
    uint32_t node = topic_tree_find(retained->tree, topic);
    struct message *message = node != 0 ? topic_tree_value(retained->tree, node) : NULL;

    if (message) {
        topic_tree_set_value(retained->tree, node, NULL);
        release(retained, message);
    }
}

int retained_set(struct retained *retained, struct message *message)
{
    if (message->payload_bytes == 0) {
        remove_topic(retained, message_topic(message));
        return 0;
    }
    struct message *old = retained_find(retained, message_topic(message));
    uint64_t bytes = retained->bytes - (old ? message_bytes(old) : 0) + message_bytes(message);
    if (bytes > retained->bytes_max ||
        (!old && retained_count(retained) >= retained->messages_max)) {
        return -ENOBUFS;
    }
    message_ref(message);
    uint32_t node = topic_tree_add(retained->tree, message_topic(message));
    topic_tree_set_value(retained->tree, node, message);
    if (old) {
        release(retained, old);
    }
    retained->bytes += message_bytes(message);
    if (message->expires_unix_ms != 0) {
        g_sequence_insert_sorted(retained->expiry, message, compare_expiry, NULL);
    }
    return 0;
}

struct message *retained_find(const struct retained *retained, struct bytes topic)
{
    uint32_t node = topic_tree_find(retained->tree, topic);
    return node != 0 ? topic_tree_value(retained->tree, node) : NULL;
}

uint32_t retained_count(const struct retained *retained)
{
    return topic_tree_count(retained->tree);
}

uint64_t retained_bytes(const struct retained *retained)
{
    return retained->bytes;
}

struct scan {
    bool (*fn)(void *owner, struct message *message);
    void (*each)(void *owner, struct message *message);
    void *owner;
};

static bool on_scan(void *owner, void *value)
{
    const struct scan *scan = owner;
    return scan->fn(scan->owner, value);
}

static void on_each(void *owner, void *value)
{
    const struct scan *scan = owner;
    scan->each(scan->owner, value);
}

void retained_scan(const struct retained *retained, struct bytes filter,
                   bool (*fn)(void *owner, struct message *message), void *owner)
{
    struct scan scan = {.fn = fn, .owner = owner};
    topic_tree_scan(retained->tree, filter, on_scan, &scan);
}

void retained_for_each(const struct retained *retained,
                       void (*fn)(void *owner, struct message *message), void *owner)
{
    struct scan scan = {.each = fn, .owner = owner};
    topic_tree_for_each(retained->tree, on_each, &scan);
}

static struct message *first_to_expire(const struct retained *retained)
{
    GSequenceIter *first = g_sequence_get_begin_iter(retained->expiry);
    return g_sequence_iter_is_end(first) ? NULL : g_sequence_get(first);
}

uint64_t retained_next_expiry(const struct retained *retained)
{
    const struct message *message = first_to_expire(retained);
    return message ? message->expires_unix_ms : 0;
}

void retained_expire(struct retained *retained, uint64_t now_unix_ms)
{
    struct message *message;

    while ((message = first_to_expire(retained)) != NULL &&
           message_is_expired(message, now_unix_ms)) {
        remove_topic(retained, message_topic(message));
    }
}

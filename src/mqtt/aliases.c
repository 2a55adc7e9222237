/* See aliases.h. Outgoing aliases are given to the first topics that come, as many as the client
 * takes. */
#include "mqtt/aliases.h"
#include "mqtt/broker_private.h"

struct topic_aliases {
    GPtrArray *incoming;  /* at alias - 1: GBytes, or NULL */
    GHashTable *outgoing; /* GBytes -> alias */
};

static struct topic_aliases *aliases_of(struct connection *connection)
{
    if (!connection->aliases) {
        connection->aliases = g_new0(struct topic_aliases, 1);
    }
    return connection->aliases;
}

static void free_bytes(void *bytes)
{
    if (bytes) {
        g_bytes_unref(bytes);
    }
}

void aliases_free(struct topic_aliases *aliases)
{
    if (!aliases) {
        return;
    }
    g_clear_pointer(&aliases->incoming, g_ptr_array_unref);
    g_clear_pointer(&aliases->outgoing, g_hash_table_unref);
    g_free(aliases);
}

bool aliases_resolve_incoming(struct connection *connection, uint16_t alias, struct bytes *topic)
{
    struct topic_aliases *aliases = aliases_of(connection);

    if (!aliases->incoming) {
        aliases->incoming = g_ptr_array_new_with_free_func(free_bytes);
    }
    if (topic->length > 0) {
        if (aliases->incoming->len < alias) {
            g_ptr_array_set_size(aliases->incoming, alias);
        }
        free_bytes(aliases->incoming->pdata[alias - 1]);
        aliases->incoming->pdata[alias - 1] = g_bytes_new(topic->at, topic->length);
        return true;
    }
    if (aliases->incoming->len < alias || !aliases->incoming->pdata[alias - 1]) {
        return false;
    }
    topic->at = g_bytes_get_data(aliases->incoming->pdata[alias - 1], &topic->length);
    return true;
}

bool aliases_assign_outgoing(struct connection *connection, struct bytes topic, uint16_t *alias,
                             struct bytes *sent_topic)
{
    struct topic_aliases *aliases = aliases_of(connection);

    if (!aliases->outgoing) {
        aliases->outgoing = g_hash_table_new_full(g_bytes_hash, g_bytes_equal, free_bytes, NULL);
    }
    g_autoptr(GBytes) key = g_bytes_new_static(topic.at, topic.length);
    uint16_t known = (uint16_t)GPOINTER_TO_UINT(g_hash_table_lookup(aliases->outgoing, key));
    if (known != 0) {
        *alias = known;
        *sent_topic = (struct bytes){NULL, 0};
        return true;
    }
    unsigned count = g_hash_table_size(aliases->outgoing);
    if (count >= connection->alias_maximum) {
        return false;
    }
    *alias = (uint16_t)(count + 1);
    g_hash_table_insert(aliases->outgoing, g_bytes_new(topic.at, topic.length),
                        GUINT_TO_POINTER(count + 1));
    return true;
}

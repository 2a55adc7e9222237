/* Writing: one walk over the tables. Small things are copied into chunks, large bodies stand as
 * pieces of their own that point into the message, which is held until the snapshot is freed. */
#include "state/snapshot.h"
#include "state/level.h"
#include "state/snapshot_format.h"
#include "state/tables.h"
#include "state/wire.h"

#define CHUNK_BYTES (256 * 1024)

struct state_snapshot {
    GArray *pieces;      /* struct consensus_piece */
    GPtrArray *chunks;   /* GByteArray */
    GPtrArray *messages; /* a reference of each that a piece points into */
    uint64_t bytes;
};

struct writer {
    struct state_snapshot *snapshot;
    GByteArray *chunk;   /* the last one, not yet a piece */
    GHashTable *numbers; /* message -> n, of those that may stand in another place too */
    uint32_t message_count, level;
};

static void free_chunk(void *chunk)
{
    g_byte_array_unref(chunk);
}

static void free_message(void *message)
{
    message_unref(message);
}

static void start_chunk(struct writer *writer, size_t size)
{
    writer->chunk = g_byte_array_sized_new((guint)size);
    g_ptr_array_add(writer->snapshot->chunks, writer->chunk);
}

static void add_piece(struct state_snapshot *snapshot, const void *base, size_t length)
{
    struct consensus_piece piece = {base, length};
    g_array_append_val(snapshot->pieces, piece);
    snapshot->bytes += length;
}

static void end_chunk(struct writer *writer)
{
    if (writer->chunk->len > 0) {
        add_piece(writer->snapshot, writer->chunk->data, writer->chunk->len);
    }
    writer->chunk = NULL;
}

static void put_raw(struct writer *writer, const void *at, size_t length)
{
    if (writer->chunk->len + length > CHUNK_BYTES) {
        end_chunk(writer);
        start_chunk(writer, MAX(length, CHUNK_BYTES));
    }
    g_byte_array_append(writer->chunk, at, (guint)length);
}

#define NUMBER_BYTES_MAX 10

static uint8_t *encode_number(uint8_t *at, uint64_t number)
{
    while (number >= 0x80) {
        *at++ = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    *at++ = (uint8_t)number;
    return at;
}

static void put_number(struct writer *writer, uint64_t number)
{
    uint8_t bytes[NUMBER_BYTES_MAX];
    put_raw(writer, bytes, (size_t)(encode_number(bytes, number) - bytes));
}

static void put_bytes(struct writer *writer, struct bytes bytes)
{
    put_number(writer, bytes.length);
    if (bytes.length > 0) {
        put_raw(writer, bytes.at, bytes.length);
    }
}

static void put_text(struct writer *writer, const char *text)
{
    put_bytes(writer, bytes_from_string(text));
}

static void put_body(struct writer *writer, struct message *message)
{
    size_t length =
        (size_t)message->topic_bytes + message->properties_bytes + message->payload_bytes;
    if (length < STATE_SNAPSHOT_REFERENCE_BYTES_MIN) {
        put_raw(writer, message->body, length);
        return;
    }
    end_chunk(writer);
    g_ptr_array_add(writer->snapshot->messages, message_ref(message));
    add_piece(writer->snapshot, message->body, length);
    start_chunk(writer, CHUNK_BYTES / 64);
}

static void put_new_message(struct writer *writer, struct message *message)
{
    uint8_t bytes[6 * NUMBER_BYTES_MAX], *at = bytes;
    at = encode_number(at, 0);
    at = encode_number(at, message->qos | (message->retain ? SNAPSHOT_RETAIN : 0));
    at = encode_number(at, message->expires_unix_ms);
    at = encode_number(at, message->topic_bytes);
    at = encode_number(at, message->properties_bytes);
    at = encode_number(at, message->payload_bytes);
    put_raw(writer, bytes, (size_t)(at - bytes));
    put_body(writer, message);
    writer->message_count++;
}

/* Most messages stand in one place only, and a hash table of them all would be most of the work. */
static void put_message(struct writer *writer, struct message *message)
{
    if (message->held ==
        0) { /* in no queue: retained or a will, which are never the same message */
        put_new_message(writer, message);
        return;
    }
    uint32_t number = GPOINTER_TO_UINT(g_hash_table_lookup(writer->numbers, message));
    if (number != 0) {
        put_number(writer, number);
        return;
    }
    put_new_message(writer, message);
    g_hash_table_insert(writer->numbers, message, GUINT_TO_POINTER(writer->message_count));
}

/* ---- tables ---- */

static void put_settings(struct writer *writer, const struct tables *tables)
{
    put_number(writer, (uint64_t)g_tree_nnodes(tables->setting_values));
    for (GTreeNode *node = g_tree_node_first(tables->setting_values); node;
         node = g_tree_node_next(node)) {
        put_text(writer, g_tree_node_key(node));
        put_text(writer, g_tree_node_value(node));
    }
}

static void put_access(struct writer *writer, const struct tables *tables)
{
    put_number(writer, tables->users->len);
    for (uint32_t i = 0; i < tables->users->len; i++) {
        const struct user *user = tables->users->pdata[i];
        put_text(writer, user->name);
        put_text(writer, user->role);
        put_text(writer, user->password);
    }
    put_number(writer, tables->next_rule_id);
    put_number(writer, tables->rules->len);
    for (uint32_t i = 0; i < tables->rules->len; i++) {
        const struct access_rule *rule = tables->rules->pdata[i];
        put_number(writer, rule->id);
        put_text(writer, rule->subject);
        put_text(writer, rule->action);
        put_text(writer, rule->filter);
        put_number(writer, rule->allow);
    }
}

static void put_roster(struct writer *writer, const struct tables *tables)
{
    g_autoptr(GByteArray) packed = roster_pack(&tables->roster);
    put_bytes(writer, (struct bytes){packed->data, packed->len});
}

static void on_retained(void *owner, struct message *message)
{
    put_message(owner, message);
}

static void on_will(void *owner, struct bytes client_id, const struct will *will)
{
    struct writer *writer = owner;
    put_bytes(writer, client_id);
    put_message(writer, will->message);
    put_number(writer, will->due_unix_ms);
    put_number(writer, will->connection_number);
    put_number(writer, will->delay_s);
    put_number(writer, will->expiry_s);
}

static void put_subscriptions(struct writer *writer, const struct session *session)
{
    put_number(writer, session->subscription_count);
    list_for_each(link, &session->subscriptions) {
        const struct subscription *subscription =
            list_entry(link, struct subscription, session_link);
        const struct subscription_options *options = &subscription->options;
        g_autofree char *filter = subscription_filter(subscription);
        put_text(writer, filter);
        put_number(writer,
                   options->qos | (options->no_local ? SNAPSHOT_NO_LOCAL : 0) |
                       (options->retain_as_published ? SNAPSHOT_RETAIN_AS_PUBLISHED : 0) |
                       (uint64_t)options->retain_handling << SNAPSHOT_RETAIN_HANDLING_SHIFT);
        put_number(writer, options->subscription_id);
    }
}

static void put_deliveries(struct writer *writer, const struct delivery_ring *ring)
{
    put_number(writer, ring->first);
    put_number(writer, ring->count);
    for (uint64_t sequence = ring->first; sequence < delivery_ring_end(ring); sequence++) {
        const struct delivery *delivery = delivery_ring_at(ring, sequence);
        uint64_t flags = (uint64_t)delivery->state << SNAPSHOT_STATE_SHIFT;
        if (delivery->state != DELIVERY_WAITING) {
            put_number(writer, flags);
            continue;
        }
        put_number(writer, flags | delivery->qos | (delivery->retain ? SNAPSHOT_RETAIN : 0));
        uint32_t id_count = delivery->subscription_ids ? delivery->subscription_ids[0] : 0;
        put_number(writer, id_count);
        for (uint32_t i = 1; i <= id_count; i++) {
            put_number(writer, delivery->subscription_ids[i]);
        }
        put_message(writer, delivery->message);
    }
}

static void on_session(void *owner, struct session *session)
{
    struct writer *writer = owner;
    put_bytes(writer, session_client_id(session));
    put_text(writer, session->username);
    put_number(writer, session->created_unix_ms);
    put_number(writer, session->expires_unix_ms);
    put_number(writer, session->connection_number);
    if (writer->level >= LEVEL_OPENINGS) {
        put_number(writer, session->last_opening);
    }
    put_number(writer, session->dropped_messages);
    put_number(writer, session->expiry_s);
    put_number(writer, session->receive_maximum);
    put_number(writer, session->version);
    put_subscriptions(writer, session);
    put_number(writer, session->received.count);
    for (uint32_t i = 0; i < session->received.count; i++) {
        put_number(writer, session->received.ids[i]);
    }
    put_deliveries(writer, &session->deliveries);
}

static void put_tables(struct writer *writer, const struct tables *tables)
{
    put_number(writer, tables->applied_index);
    put_number(writer, tables->time_unix_ms);
    put_number(writer, tables->origins->len);
    for (uint32_t i = 0; i < tables->origins->len; i++) {
        const struct origin *origin = &g_array_index(tables->origins, struct origin, i);
        put_number(writer, origin->node_id);
        put_number(writer, origin->epoch);
        put_number(writer, origin->sequence);
    }
    put_settings(writer, tables);
    put_access(writer, tables);
    put_roster(writer, tables);
    put_number(writer, retained_count(tables->retained));
    retained_for_each(tables->retained, on_retained, writer);
    put_number(writer, wills_count(tables->wills));
    wills_for_each(tables->wills, on_will, writer);
    put_number(writer, session_store_count(tables->sessions));
    session_store_for_each(tables->sessions, on_session, writer);
}

struct state_snapshot *state_snapshot_new(const struct state *state)
{
    struct state_snapshot *snapshot = g_new(struct state_snapshot, 1);
    snapshot->pieces = g_array_new(FALSE, FALSE, sizeof(struct consensus_piece));
    snapshot->chunks = g_ptr_array_new_with_free_func(free_chunk);
    snapshot->messages = g_ptr_array_new_with_free_func(free_message);
    snapshot->bytes = 0;
    g_autoptr(GHashTable) numbers = g_hash_table_new(NULL, NULL);
    struct writer writer = {.snapshot = snapshot, .numbers = numbers, .level = state->tables.level};

    start_chunk(&writer, CHUNK_BYTES);
    GByteArray *first = writer.chunk;
    uint8_t header[SNAPSHOT_HEADER_BYTES] = SNAPSHOT_MAGIC;
    wire_put_u32(header + 8, STATE_SNAPSHOT_VERSION);
    wire_put_u32(header + 12, state->tables.level);
    put_raw(&writer, header, sizeof header);
    put_tables(&writer, &state->tables);
    end_chunk(&writer);
    wire_put_u64(first->data + 16, snapshot->bytes);
    return snapshot;
}

const struct consensus_piece *state_snapshot_pieces(const struct state_snapshot *snapshot,
                                                    uint32_t *count)
{
    *count = snapshot->pieces->len;
    return (const struct consensus_piece *)(const void *)snapshot->pieces->data;
}

uint64_t state_snapshot_bytes(const struct state_snapshot *snapshot)
{
    return snapshot->bytes;
}

void state_snapshot_free(struct state_snapshot *snapshot)
{
    if (snapshot) {
        g_array_unref(snapshot->pieces);
        g_ptr_array_unref(snapshot->chunks);
        g_ptr_array_unref(snapshot->messages);
        g_free(snapshot);
    }
}

/* Reading a snapshot, whose bytes are not trusted: everything is read into new tables first, every
 * count and length is held against what is left, every name checked; only when the last byte has
 * been read do the new tables take the place of the old ones. */
#include "base/cleanup.h"
#include "state/access_tables.h"
#include "state/level.h"
#include "state/snapshot.h"
#include "state/snapshot_format.h"
#include "state/tables.h"
#include "state/wire.h"
#include "topic/name.h"
#include <errno.h>

struct reader {
    struct bytes bytes;
    size_t at;
    uint32_t version;
    const char *problem; /* NULL as long as all is well; the first one counts */
    GPtrArray *messages; /* in order of their numbers */
    struct tables *tables;
};

/* ---- primitives: after a problem they give zeros ---- */

static void fail(struct reader *reader, const char *problem)
{
    if (!reader->problem) {
        reader->problem = problem;
    }
}

static uint64_t get_number(struct reader *reader)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && !reader->problem; shift += 7) {
        if (reader->at == reader->bytes.length) {
            break;
        }
        uint8_t byte = reader->bytes.at[reader->at++];
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return number;
        }
    }
    fail(reader, "a number is cut off or too long");
    return 0;
}

/* A number that must not be above `most`. */
static uint64_t get_up_to(struct reader *reader, uint64_t most)
{
    uint64_t number = get_number(reader);
    if (number > most) {
        fail(reader, "a number is out of its range");
        return 0;
    }
    return number;
}

/* Of items that take at least one byte each. */
static uint64_t get_count(struct reader *reader)
{
    return get_up_to(reader, reader->bytes.length - reader->at);
}

static struct bytes get_raw(struct reader *reader, uint64_t length)
{
    if (length > reader->bytes.length - reader->at) {
        fail(reader, "it ends too early");
    }
    if (reader->problem) {
        return (struct bytes){0};
    }
    struct bytes bytes = {reader->bytes.at + reader->at, length};
    reader->at += length;
    return bytes;
}

static struct bytes get_bytes(struct reader *reader)
{
    return get_raw(reader, get_number(reader));
}

/* Caller frees; never NULL. */
static char *get_text(struct reader *reader)
{
    struct bytes bytes = get_bytes(reader);
    if (bytes.length > 0 && memchr(bytes.at, 0, bytes.length)) {
        fail(reader, "a text holds a zero byte");
    }
    return g_strndup(bytes.length > 0 ? (const char *)bytes.at : "", bytes.length);
}

static int compare_bytes(struct bytes a, struct bytes b)
{
    int order = memcmp(a.at, b.at, MIN(a.length, b.length));
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

/* Client ids come in ascending order; `last` starts empty. */
static struct bytes get_client_id(struct reader *reader, struct bytes *last)
{
    struct bytes client_id = get_bytes(reader);
    if (client_id.length == 0 || client_id.length > UINT16_MAX || !utf8_is_valid(client_id) ||
        (last->length > 0 && compare_bytes(*last, client_id) >= 0)) {
        fail(reader, "a client id is not valid or not in its place");
    }
    *last = client_id;
    return client_id;
}

/* Borrowed from reader.messages; NULL after a problem. */
static struct message *get_message(struct reader *reader)
{
    uint64_t number = get_up_to(reader, reader->messages->len);
    if (number > 0) {
        return reader->messages->pdata[number - 1];
    }
    uint64_t flags = get_up_to(reader, SNAPSHOT_QOS_MASK | SNAPSHOT_RETAIN);
    uint64_t expires_unix_ms = get_number(reader);
    uint64_t topic_bytes = get_up_to(reader, TOPIC_BYTES_MAX);
    uint64_t properties_bytes = get_up_to(reader, UINT32_MAX);
    uint64_t payload_bytes = get_up_to(reader, UINT32_MAX);
    struct bytes topic = get_raw(reader, topic_bytes);
    struct bytes properties = get_raw(reader, properties_bytes);
    struct bytes payload = get_raw(reader, payload_bytes);
    if (!reader->problem &&
        ((flags & SNAPSHOT_QOS_MASK) > 2 || !topic_name_is_valid(topic, TOPIC_BYTES_MAX))) {
        fail(reader, "a message's topic or QoS is not valid");
    }
    if (reader->problem) {
        return NULL;
    }
    struct message *message = message_new(topic, properties, payload, flags & SNAPSHOT_QOS_MASK,
                                          (flags & SNAPSHOT_RETAIN) != 0, expires_unix_ms);
    g_ptr_array_add(reader->messages, message);
    return message;
}

/* ---- tables ---- */

static void get_origins(struct reader *reader)
{
    uint64_t last_node_id = 0;
    for (uint64_t left = get_count(reader), i = 0; i < left && !reader->problem; i++) {
        struct origin origin = {.node_id = get_number(reader)};
        origin.epoch = get_number(reader);
        origin.sequence = get_number(reader);
        if (i > 0 && origin.node_id <= last_node_id) {
            fail(reader, "an origin is not in its place");
        }
        last_node_id = origin.node_id;
        g_array_append_val(reader->tables->origins, origin);
    }
}

static void get_settings(struct reader *reader)
{
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        char *key = get_text(reader);
        g_tree_replace(reader->tables->setting_values, key, get_text(reader));
    }
}

static void get_users(struct reader *reader)
{
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        g_autofree char *name = get_text(reader);
        g_autofree char *role = get_text(reader);
        g_autofree char *password = get_text(reader);
        g_autofree char *problem = access_user_problem(name, role, password);
        if (problem) {
            fail(reader, "a user is not valid");
        }
        if (!reader->problem) {
            access_put_user(reader->tables, name, role, password);
        }
    }
}

static void get_rules(struct reader *reader)
{
    uint64_t next_rule_id = get_number(reader);
    reader->tables->next_rule_id = 0;
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        uint64_t id = get_number(reader);
        g_autofree char *subject = get_text(reader);
        g_autofree char *action = get_text(reader);
        g_autofree char *filter = get_text(reader);
        bool allow = get_up_to(reader, 1) != 0;
        g_autofree char *problem = access_rule_problem(subject, action, filter);
        if (problem || id < reader->tables->next_rule_id || id >= next_rule_id) {
            fail(reader, "an access rule is not valid or not in its place");
        }
        if (!reader->problem) {
            access_add_rule(reader->tables, id, subject, action, filter, allow);
        }
    }
    reader->tables->next_rule_id = next_rule_id;
}

static void get_roster(struct reader *reader)
{
    struct bytes packed = get_bytes(reader);
    const char *problem = reader->problem ? NULL : roster_unpack(&reader->tables->roster, packed);
    if (problem) {
        fail(reader, problem);
    }
}

static void get_retained(struct reader *reader)
{
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        struct message *message = get_message(reader);
        if (message && (message->payload_bytes == 0 ||
                        retained_find(reader->tables->retained, message_topic(message)) ||
                        retained_set(reader->tables->retained, message) < 0)) {
            fail(reader, "a retained message has no payload or stands there twice");
        }
    }
}

static void get_wills(struct reader *reader)
{
    struct bytes last = {0};
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        struct bytes client_id = get_client_id(reader, &last);
        struct will will = {.message = get_message(reader)};
        will.due_unix_ms = get_number(reader);
        will.connection_number = get_number(reader);
        will.delay_s = (uint32_t)get_up_to(reader, UINT32_MAX);
        will.expiry_s = (uint32_t)get_up_to(reader, UINT32_MAX);
        if (!reader->problem) {
            tables_set_will(reader->tables, client_id, &will);
        }
    }
}

/* ---- sessions ---- */

static void get_subscriptions(struct reader *reader, struct session *session)
{
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        struct bytes filter = get_bytes(reader);
        uint64_t flags = get_up_to(reader, 0x2f);
        uint32_t subscription_id = (uint32_t)get_up_to(reader, UINT32_MAX);
        struct subscription_options options = {
            .subscription_id = subscription_id,
            .qos = flags & SNAPSHOT_QOS_MASK,
            .no_local = (flags & SNAPSHOT_NO_LOCAL) != 0,
            .retain_as_published = (flags & SNAPSHOT_RETAIN_AS_PUBLISHED) != 0,
            .retain_handling = (uint8_t)(flags >> SNAPSHOT_RETAIN_HANDLING_SHIFT),
        };
        if (filter.length > TOPIC_BYTES_MAX || !topic_filter_is_valid(filter, TOPIC_BYTES_MAX) ||
            options.qos > 2) {
            fail(reader, "a subscription is not valid");
        }
        if (!reader->problem && session_subscribe(session, filter, &options) != SUBSCRIBE_NEW) {
            fail(reader, "a subscription stands there twice");
        }
    }
}

static void get_received(struct reader *reader, struct session *session)
{
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        uint16_t id = (uint16_t)get_up_to(reader, UINT16_MAX);
        if (id == 0 || !packet_id_set_add(&session->received, id)) {
            fail(reader, "a packet id is not valid or stands there twice");
        }
    }
}

static void get_waiting(struct reader *reader, struct session *session, uint64_t flags)
{
    uint64_t id_count = get_count(reader);
    g_autofree uint32_t *ids = id_count > 0 ? g_new(uint32_t, id_count) : NULL;
    for (uint64_t i = 0; i < id_count; i++) {
        ids[i] = (uint32_t)get_up_to(reader, UINT32_MAX);
    }
    struct message *message = get_message(reader);
    uint8_t qos = flags & SNAPSHOT_QOS_MASK;
    if (qos != 1 && qos != 2) {
        fail(reader, "a delivery's QoS is not valid");
    }
    if (!reader->problem && session_enqueue(session, message, qos, (flags & SNAPSHOT_RETAIN) != 0,
                                            ids, (uint32_t)id_count, 0) != 0) {
        fail(reader, "a queue is too long");
    }
}

static void get_deliveries(struct reader *reader, struct session *session)
{
    uint64_t first = get_up_to(reader, UINT64_MAX / 2);
    uint64_t count = get_up_to(reader, DELIVERY_RING_MAX);
    session->deliveries.first = first;
    for (uint64_t i = 0; i < count && !reader->problem; i++) {
        uint64_t flags = get_up_to(reader, (DELIVERY_DONE << SNAPSHOT_STATE_SHIFT) | 0x0f);
        enum delivery_state state = (enum delivery_state)(flags >> SNAPSHOT_STATE_SHIFT);
        if (state == DELIVERY_WAITING) {
            get_waiting(reader, session, flags);
        } else if (state == DELIVERY_DONE && i == 0) {
            fail(reader, "a queue begins with what is done");
        } else {
            delivery_ring_push_bare(&session->deliveries, state,
                                    state == DELIVERY_RECEIVED ? 2 : 1);
        }
    }
}

static void get_session(struct reader *reader, struct bytes client_id)
{
    if (reader->problem) {
        return;
    }
    struct session *session = session_store_add(reader->tables->sessions, client_id);
    session->username = get_text(reader);
    if (*session->username == '\0') {
        g_clear_pointer(&session->username, g_free);
    }
    session->created_unix_ms = get_number(reader);
    session_set_expires(session, get_number(reader));
    session->connection_number = get_number(reader);
    session->last_opening = reader->tables->level >= LEVEL_OPENINGS ? get_number(reader) : 0;
    uint32_t dropped_messages = (uint32_t)get_up_to(reader, UINT32_MAX);
    session->expiry_s = (uint32_t)get_up_to(reader, UINT32_MAX);
    session->receive_maximum = (uint16_t)get_up_to(reader, UINT16_MAX);
    session->version = (uint8_t)get_up_to(reader, UINT8_MAX);
    get_subscriptions(reader, session);
    get_received(reader, session);
    get_deliveries(reader, session);
    session->dropped_messages = dropped_messages;
    reader->tables->session_bytes += tables_session_bytes(session);
}

static void get_tables(struct reader *reader)
{
    reader->tables->level = wire_get_u32(reader->bytes.at + 12);
    reader->tables->applied_index = get_number(reader);
    reader->tables->time_unix_ms = reader->version >= 2 ? get_number(reader) : 0;
    get_origins(reader);
    get_settings(reader);
    get_users(reader);
    get_rules(reader);
    if (reader->version >= 2) {
        get_roster(reader);
    }
    get_retained(reader);
    get_wills(reader);
    struct bytes last = {0};
    for (uint64_t left = get_count(reader); left > 0 && !reader->problem; left--) {
        get_session(reader, get_client_id(reader, &last));
    }
    if (reader->at != reader->bytes.length) {
        fail(reader, "something stands behind its end");
    }
}

/* ---- the whole ---- */

static int check_header(struct bytes bytes, GError **error)
{
    if (bytes.length < SNAPSHOT_HEADER_BYTES ||
        memcmp(bytes.at, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES) != 0) {
        g_set_error_literal(error, STATE_ERROR, EBADMSG, "snapshot: it is none of microCloud");
        return -EBADMSG;
    }
    uint32_t version = wire_get_u32(bytes.at + 8);
    if (version > STATE_SNAPSHOT_VERSION) {
        g_set_error(
            error, STATE_ERROR, ENOTSUP,
            "snapshot: format %u is newer than this program, which reads up to %d: run a newer "
            "microcloud",
            version, STATE_SNAPSHOT_VERSION);
        return -ENOTSUP;
    }
    uint32_t level = wire_get_u32(bytes.at + 12);
    if (level > STATE_COMMAND_LEVEL) {
        g_set_error(
            error, STATE_ERROR, ENOTSUP,
            "snapshot: commands of level %u are in use, and microcloud %s applies those up to "
            "level %d: run a newer microcloud",
            level, MICROCLOUD_VERSION, STATE_COMMAND_LEVEL);
        return -ENOTSUP;
    }
    uint64_t length = wire_get_u64(bytes.at + 16);
    if (version == 0 || length != bytes.length) {
        g_set_error(error, STATE_ERROR, EBADMSG,
                    "snapshot: it must have %" G_GUINT64_FORMAT " bytes, got %zu", length,
                    bytes.length);
        return -EBADMSG;
    }
    return 0;
}

static void free_message(void *message)
{
    message_unref(message);
}

static void lift_limits(struct tables *tables)
{
    session_store_set_limits(tables->sessions, &(struct session_limits){
                                                   .queue_messages_max = DELIVERY_RING_MAX,
                                                   .queue_bytes_max = UINT64_MAX,
                                                   .queue_refuse = true,
                                                   .subscriptions_per_session_max = UINT32_MAX,
                                                   .received_max = UINT16_MAX,
                                               });
    retained_set_limits(tables->retained, UINT32_MAX, UINT64_MAX);
}

static void on_session_replaced(void *owner, struct session *session)
{
    state_notify_session_end(owner, session);
}

/* Results of what the snapshot holds are not known any more. */
static void end_proposals(struct state *state)
{
    for (uint32_t i = 0; i < state->tables.origins->len; i++) {
        const struct origin *origin = &g_array_index(state->tables.origins, struct origin, i);
        if (origin->node_id != state->options.node_id || origin->epoch != state->options.epoch) {
            continue;
        }
        uint64_t sequence = origin->sequence;
        struct state_result result = {.error = -ECANCELED};
        struct waiting waiting;
        while (completions_take(&state->completions, sequence, &waiting)) {
            waiting.completion.fn(waiting.completion.owner, waiting.completion.token, &result);
        }
        return;
    }
}

static void replace_tables(struct state *state, struct tables *tables)
{
    session_store_for_each(state->tables.sessions, on_session_replaced, state);
    state_routes_clear(&state->routes);
    struct tables old = state->tables;
    state->tables = *tables;
    tables_deinit(&old);
    state_load_settings(state);
    state->access_generation++;
    state_notify_settings(state);
    state_notify_access(state);
    state_notify_nodes(state);
    state_notify_vips(state);
    state_notify_ca(state);
    end_proposals(state);
    state_notify_restored(state);
}

int state_restore(struct state *state, struct bytes bytes, GError **error)
{
    int r = check_header(bytes, error);
    if (r < 0) {
        return r;
    }
    struct tables tables;
    tables_init(&tables);
    lift_limits(&tables);
    g_autoptr(GPtrArray) messages = g_ptr_array_new_with_free_func(free_message);
    struct reader reader = {.bytes = bytes,
                            .at = SNAPSHOT_HEADER_BYTES,
                            .version = wire_get_u32(bytes.at + 8),
                            .messages = messages,
                            .tables = &tables};
    get_tables(&reader);
    if (reader.problem) {
        tables_deinit(&tables);
        g_set_error(error, STATE_ERROR, EBADMSG, "snapshot: damaged at byte %zu of %zu: %s",
                    reader.at, bytes.length, reader.problem);
        return -EBADMSG;
    }
    replace_tables(state, &tables);
    return 0;
}

/* The log in memory: groups are padded with zeros to a multiple of 8, as consensus may do. */
#include "state/fixture.h"
#include <errno.h>

static uint8_t *on_append(void *owner, size_t length)
{
    struct fixture *fixture = owner;
    if (fixture->append_error != 0) {
        return NULL;
    }
    if (fixture->pending->len == 0) {
        g_byte_array_set_size(fixture->pending, STATE_GROUP_HEADER_BYTES);
        state_group_begin(fixture->state, fixture->now_unix_ms, fixture->pending->data);
    }
    guint at = fixture->pending->len;
    g_byte_array_set_size(fixture->pending, at + (guint)length);
    return fixture->pending->data + at;
}

static int on_append_error(void *owner)
{
    return ((struct fixture *)owner)->append_error;
}

static void on_publish(void *owner, struct message *message, struct bytes publisher,
                       const struct state_share_target *targets, uint32_t target_count)
{
    struct fixture *fixture = owner;
    struct bytes topic = message_topic(message);
    g_string_append_printf(fixture->events, "publish %.*s by %.*s", (int)topic.length, topic.at,
                           (int)publisher.length, publisher.at ? (const char *)publisher.at : "");
    for (uint32_t i = 0; i < target_count; i++) {
        g_string_append_printf(fixture->events, " to %.*s", (int)targets[i].client_id.length,
                               targets[i].client_id.at);
    }
    g_string_append_c(fixture->events, ';');
}

static void on_delivery(void *owner, struct session *session)
{
    g_string_append_printf(((struct fixture *)owner)->events, "delivery %s;", session->client_id);
}

static void on_session_end(void *owner, struct session *session)
{
    g_string_append_printf(((struct fixture *)owner)->events, "end %s;", session->client_id);
}

static void on_settings(void *owner)
{
    g_string_append(((struct fixture *)owner)->events, "settings;");
}

static void on_access(void *owner)
{
    g_string_append(((struct fixture *)owner)->events, "access;");
}

static void on_nodes(void *owner)
{
    g_string_append(((struct fixture *)owner)->events, "nodes;");
}

static void on_vips(void *owner)
{
    g_string_append(((struct fixture *)owner)->events, "vips;");
}

static void on_ca(void *owner)
{
    g_string_append(((struct fixture *)owner)->events, "ca;");
}

static void on_result(void *owner, uint64_t token, const struct state_result *result)
{
    struct fixture *fixture = owner;
    g_free(fixture->message);
    fixture->message = g_strdup(result->message);
    fixture->result = *result;
    fixture->result.message = fixture->message;
    fixture->result_count++;
}

static void free_entry(void *entry)
{
    g_bytes_unref(entry);
}

void fixture_init(struct fixture *fixture)
{
    *fixture = (struct fixture){.pending = g_byte_array_new(),
                                .entries = g_ptr_array_new_with_free_func(free_entry),
                                .now_unix_ms = START_UNIX_MS,
                                .events = g_string_new(NULL)};
    struct state_options options = {NODE_ID, EPOCH};
    struct state_log log = {on_append, fixture, on_append_error};
    fixture->state = state_new(&options, &log);
    fixture->completion = (struct state_completion){on_result, fixture, 42};
    fixture->watch = (struct state_watch){.owner = fixture,
                                          .on_publish = on_publish,
                                          .on_delivery = on_delivery,
                                          .on_session_end = on_session_end,
                                          .on_settings = on_settings,
                                          .on_access = on_access,
                                          .on_nodes = on_nodes,
                                          .on_vips = on_vips,
                                          .on_ca = on_ca};
    state_add_watch(fixture->state, &fixture->watch);
}

void fixture_deinit(struct fixture *fixture)
{
    state_remove_watch(fixture->state, &fixture->watch);
    state_free(fixture->state);
    g_byte_array_unref(fixture->pending);
    g_ptr_array_unref(fixture->entries);
    g_string_free(fixture->events, TRUE);
    g_free(fixture->message);
}

void fixture_flush(struct fixture *fixture)
{
    if (fixture->pending->len == 0) {
        return;
    }
    static const uint8_t zeros[8];
    g_byte_array_append(fixture->pending, zeros, (8 - fixture->pending->len % 8) % 8);
    GBytes *entry = g_byte_array_free_to_bytes(fixture->pending);
    fixture->pending = g_byte_array_new();
    g_ptr_array_add(fixture->entries, entry);
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(entry, &length);
    GError *error = NULL;
    int r = state_apply(fixture->state, ++fixture->index, (struct bytes){at, length}, &error);
    if (error) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(r, 0);
}

const struct state_result *run(struct fixture *fixture, int proposed)
{
    assert_int_equal(proposed, 0);
    uint32_t before = fixture->result_count;
    fixture_flush(fixture);
    assert_int_equal(fixture->result_count, before + 1);
    assert_int_equal(fixture->result.error, 0);
    return &fixture->result;
}

void fixture_clear_events(struct fixture *fixture)
{
    g_string_truncate(fixture->events, 0);
}

struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

uint64_t connection(uint32_t counter)
{
    return state_connection_number(NODE_ID, EPOCH, counter);
}

const struct state_result *open_with(struct fixture *fixture, const char *client_id,
                                     uint32_t counter, bool clean_start, uint32_t expiry_s,
                                     const struct state_will *will)
{
    struct state_open open = {.client_id = text(client_id),
                              .username = text("somebody"),
                              .clean_start = clean_start,
                              .is_persistent = expiry_s > 0,
                              .expiry_s = expiry_s,
                              .receive_maximum = 20,
                              .version = 5,
                              .connection_number = connection(counter),
                              .will = will};
    return run(fixture, state_propose_open(fixture->state, &open, &fixture->completion));
}

const struct state_result *open_session(struct fixture *fixture, const char *client_id,
                                        uint32_t counter)
{
    return open_with(fixture, client_id, counter, false, 3600, NULL);
}

const struct state_result *close_session(struct fixture *fixture, const char *client_id,
                                         uint32_t counter, bool publish_will)
{
    struct state_close close = {.client_id = text(client_id),
                                .connection_number = connection(counter),
                                .publish_will = publish_will};
    return run(fixture, state_propose_close(fixture->state, &close, &fixture->completion));
}

const struct state_result *subscribe(struct fixture *fixture, const char *client_id,
                                     const char *filter, uint8_t qos)
{
    struct subscription_options options = {.qos = qos};
    return run(fixture, state_propose_subscribe(fixture->state, text(client_id), text(filter),
                                                &options, &fixture->completion));
}

const struct state_result *publish(struct fixture *fixture, const char *topic, const char *payload,
                                   uint8_t qos, bool retain)
{
    struct state_publish publish = {
        .topic = text(topic), .payload = text(payload), .qos = qos, .retain = retain};
    return run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion));
}

const struct state_result *tick(struct fixture *fixture, uint64_t after_ms)
{
    fixture->now_unix_ms += after_ms;
    return run(fixture,
               state_propose_tick(fixture->state, fixture->now_unix_ms, &fixture->completion));
}

const struct state_result *set(struct fixture *fixture, const char *key, const char *value)
{
    return run(fixture, state_propose_setting(fixture->state, key, value, &fixture->completion));
}

struct session *session_of(struct fixture *fixture, const char *client_id)
{
    return session_store_find(state_sessions(fixture->state), text(client_id));
}

uint32_t waiting_of(struct fixture *fixture, const char *client_id)
{
    const struct session *session = session_of(fixture, client_id);
    return session ? session->deliveries.waiting : 0;
}

GBytes *snapshot_of(const struct state *state)
{
    struct state_snapshot *snapshot = state_snapshot_new(state);
    GByteArray *whole = g_byte_array_new();
    uint32_t count = 0;
    const struct consensus_piece *pieces = state_snapshot_pieces(snapshot, &count);
    for (uint32_t i = 0; i < count; i++) {
        g_byte_array_append(whole, pieces[i].base, (guint)pieces[i].length);
    }
    assert_int_equal(whole->len, state_snapshot_bytes(snapshot));
    state_snapshot_free(snapshot);
    return g_byte_array_free_to_bytes(whole);
}

void replay(struct state *state, const struct fixture *fixture, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        size_t length = 0;
        const uint8_t *at = g_bytes_get_data(fixture->entries->pdata[i], &length);
        assert_int_equal(state_apply(state, i + 1, (struct bytes){at, length}, NULL), 0);
    }
}

static uint8_t *on_refuse(void *owner, size_t length)
{
    return NULL;
}

struct state *empty_state(void)
{
    struct state_options options = {NODE_ID + 1, 1};
    struct state_log log = {.append = on_refuse};
    return state_new(&options, &log);
}

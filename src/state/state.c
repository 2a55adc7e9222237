/* Life, reading and watching of the replicated state. */
#include "state/state.h"
#include "state/record.h"
#include "state/snapshot.h"
#include "state/tables.h"

struct state *state_new(const struct state_options *options, const struct state_log *log)
{
    struct state *state = g_new0(struct state, 1);
    state->options = *options;
    state->log = *log;
    state->next_sequence = 1;
    state->message = g_string_new(NULL);
    tables_init(&state->tables);
    settings_init(&state->settings);
    completions_init(&state->completions);
    arena_init(&state->arena);
    state_routes_init(&state->routes);
    state_apply_limits(state);
    return state;
}

void state_free(struct state *state)
{
    if (!state) {
        return;
    }
    state_routes_deinit(&state->routes);
    arena_deinit(&state->arena);
    completions_deinit(&state->completions);
    settings_deinit(&state->settings);
    tables_deinit(&state->tables);
    g_string_free(state->message, TRUE);
    g_free(state);
}

void state_group_begin(struct state *state, uint64_t now_unix_ms,
                       uint8_t header[STATE_GROUP_HEADER_BYTES])
{
    record_header_encode(header, &(struct record_header){.origin = state->options.node_id,
                                                         .epoch = state->options.epoch,
                                                         .first_sequence = state->next_sequence,
                                                         .time_unix_ms = now_unix_ms});
}

void state_group_failed(struct state *state, uint64_t first_sequence, int error)
{
    g_assert(!state->is_proposing && error < 0);
    completions_fail(&state->completions, first_sequence, error);
}

const struct settings *state_settings(const struct state *state)
{
    return &state->settings;
}

struct session_store *state_sessions(struct state *state)
{
    return state->tables.sessions;
}

const struct retained *state_retained(const struct state *state)
{
    return state->tables.retained;
}

const struct wills *state_wills(const struct state *state)
{
    return state->tables.wills;
}

uint64_t state_last_opening(struct state *state, struct bytes client_id)
{
    const struct session *session = session_store_find(state->tables.sessions, client_id);
    const struct will *will = session ? NULL : wills_find(state->tables.wills, client_id);
    return session ? session->last_opening : will ? will->connection_number : 0;
}

uint64_t state_applied_index(const struct state *state)
{
    return state->tables.applied_index;
}

uint64_t state_bytes(const struct state *state)
{
    return tables_bytes(&state->tables);
}

uint32_t state_pending(const struct state *state)
{
    return state->completions.count;
}

uint64_t state_last_proposed(const struct state *state)
{
    return state->next_sequence - 1;
}

bool state_is_answered(const struct state *state, uint64_t proposed)
{
    return completions_first(&state->completions) > proposed;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

uint64_t state_next_due_unix_ms(const struct state *state)
{
    const struct tables *tables = &state->tables;
    uint64_t due = session_store_next_expiry(tables->sessions);
    due = earlier(due, wills_next_due(tables->wills));
    return earlier(due, retained_next_expiry(tables->retained));
}

char *state_digest(const struct state *state)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    struct state_snapshot *snapshot = state_snapshot_new(state);
    uint32_t count = 0;
    const struct consensus_piece *pieces = state_snapshot_pieces(snapshot, &count);
    for (uint32_t i = 0; i < count; i++) {
        g_checksum_update(checksum, pieces[i].base, (gssize)pieces[i].length);
    }
    state_snapshot_free(snapshot);
    return g_strdup(g_checksum_get_string(checksum));
}

void state_load_settings(struct state *state)
{
    settings_deinit(&state->settings);
    settings_init(&state->settings);
    for (GTreeNode *node = g_tree_node_first(state->tables.setting_values); node;
         node = g_tree_node_next(node)) {
        /* What this version does not know, or no longer allows, is kept and has no effect. */
        settings_set(&state->settings, g_tree_node_key(node), g_tree_node_value(node), NULL);
    }
    state_apply_limits(state);
}

void state_apply_limits(struct state *state)
{
    const struct settings *settings = &state->settings;
    struct session_limits limits = {.queue_messages_max = settings->queue_messages_max,
                                    .queue_bytes_max = settings->queue_bytes_max,
                                    .queue_refuse = settings->queue_full == QUEUE_REFUSE,
                                    .subscriptions_per_session_max =
                                        settings->subscriptions_per_session_max,
                                    .received_max = settings->receive_maximum};
    session_store_set_limits(state->tables.sessions, &limits);
    retained_set_limits(state->tables.retained, settings->retained_messages_max,
                        settings->retained_bytes_max);
}

void state_add_watch(struct state *state, struct state_watch *watch)
{
    watch->next = state->watches;
    state->watches = watch;
}

void state_remove_watch(struct state *state, struct state_watch *watch)
{
    struct state_watch **link = &state->watches;
    while (*link && *link != watch) {
        link = &(*link)->next;
    }
    if (*link) {
        *link = watch->next;
    }
}

#define NOTIFY(state, function, ...)                                                               \
    for (struct state_watch *watch = (state)->watches, *next; watch; watch = next) {               \
        next = watch->next;                                                                        \
        if (watch->function) {                                                                     \
            watch->function(__VA_ARGS__);                                                          \
        }                                                                                          \
    }

void state_notify_publish(struct state *state, struct message *message, struct bytes publisher,
                          const struct state_share_target *targets, uint32_t target_count)
{
    NOTIFY(state, on_publish, watch->owner, message, publisher, targets, target_count)
}

void state_notify_delivery(struct state *state, struct session *session)
{
    NOTIFY(state, on_delivery, watch->owner, session)
}

void state_notify_session_end(struct state *state, struct session *session)
{
    NOTIFY(state, on_session_end, watch->owner, session)
}

void state_notify_settings(struct state *state)
{
    NOTIFY(state, on_settings, watch->owner)
}

void state_notify_due(struct state *state)
{
    NOTIFY(state, on_due, watch->owner)
}

void state_notify_access(struct state *state)
{
    NOTIFY(state, on_access, watch->owner)
}

void state_notify_connection(struct state *state, struct bytes client_id,
                             uint64_t connection_number)
{
    NOTIFY(state, on_connection, watch->owner, client_id, connection_number)
}

void state_notify_nodes(struct state *state)
{
    NOTIFY(state, on_nodes, watch->owner)
}

void state_notify_vips(struct state *state)
{
    NOTIFY(state, on_vips, watch->owner)
}

void state_notify_ca(struct state *state)
{
    NOTIFY(state, on_ca, watch->owner)
}

void state_notify_applied(struct state *state)
{
    NOTIFY(state, on_applied, watch->owner)
}

void state_notify_restored(struct state *state)
{
    NOTIFY(state, on_restored, watch->owner)
}

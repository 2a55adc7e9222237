/* A group comes back from the log. Happy path: the header is read, each record unpacked into the
 * arena, applied by the function of its kind, and its result handed to whoever proposed it on this
 * node. What was applied before is skipped, what some node is too old for is refused (level.h).
 * What cannot be read is an error that the caller cannot go on after: a newer version or damage. */
#include "state/apply.h"
#include "state/level.h"
#include "state/record.h"
#include "topic/name.h"
#include <errno.h>

static uint32_t level_of_setting(const State__Command *command)
{
    const struct setting *setting = settings_find(command->setting_set->key);
    return setting ? setting->level : 0;
}

static uint32_t level_of_open(const State__Command *command)
{
    return command->open->has_known_opening ? LEVEL_OPENINGS : 0;
}

static uint32_t level_of_node_remove(const State__Command *command)
{
    return command->node_remove->n_others > 0 ? LEVEL_OTHERS : 0;
}

/* Every command: what applies it, and from which level on programs know it. A new one gets a new
 * level, STATE_COMMAND_LEVEL + 1. Nodes come, change and go at every level: by that a level rises.
 */
static const struct command_kind {
    apply_fn *apply;
    uint32_t level;
    /* What it needs with these fields, where some of them came later; NULL = nothing more. */
    uint32_t (*level_of)(const State__Command *command);
} kinds[] = {
    [STATE__COMMAND__KIND_PUBLISH] = {apply_publish, 1},
    [STATE__COMMAND__KIND_ACKNOWLEDGE] = {apply_acknowledge, 1},
    [STATE__COMMAND__KIND_RELEASE] = {apply_release, 1},
    [STATE__COMMAND__KIND_OPEN] = {apply_open, 1, level_of_open},
    [STATE__COMMAND__KIND_CLOSE] = {apply_close, 1},
    [STATE__COMMAND__KIND_SESSION_REMOVE] = {apply_session_remove, 1},
    [STATE__COMMAND__KIND_SUBSCRIBE] = {apply_subscribe, 1},
    [STATE__COMMAND__KIND_UNSUBSCRIBE] = {apply_unsubscribe, 1},
    [STATE__COMMAND__KIND_SEND_RETAINED] = {apply_send_retained, 1},
    [STATE__COMMAND__KIND_TICK] = {apply_tick, 1},
    [STATE__COMMAND__KIND_NODE_RESTARTED] = {apply_node_restarted, 1},
    [STATE__COMMAND__KIND_SETTING_SET] = {apply_setting_set, 1, level_of_setting},
    [STATE__COMMAND__KIND_USER_PUT] = {apply_user_put, 1},
    [STATE__COMMAND__KIND_USER_REMOVE] = {apply_user_remove, 1},
    [STATE__COMMAND__KIND_ACL_ADD] = {apply_acl_add, 1},
    [STATE__COMMAND__KIND_ACL_REMOVE] = {apply_acl_remove, 1},
    [STATE__COMMAND__KIND_NODE_JOIN] = {apply_node_join, 1},
    [STATE__COMMAND__KIND_NODE_UPDATE] = {apply_node_update, 1},
    [STATE__COMMAND__KIND_NODE_LABEL] = {apply_node_label, 2},
    [STATE__COMMAND__KIND_NODE_REMOVE] = {apply_node_remove, 1, level_of_node_remove},
    [STATE__COMMAND__KIND_NODE_DOWN] = {apply_node_down, 1},
    [STATE__COMMAND__KIND_TOKEN_PUT] = {apply_token_put, 2},
    [STATE__COMMAND__KIND_TOKEN_REMOVE] = {apply_token_remove, 2},
    [STATE__COMMAND__KIND_VIP_SET] = {apply_vip_set, 2},
    [STATE__COMMAND__KIND_VIP_REMOVE] = {apply_vip_remove, 2},
    [STATE__COMMAND__KIND_CA_SET] = {apply_ca_set, 2},
};

static bool is_known(const State__Command *command)
{
    uint32_t kind = (uint32_t)command->kind_case;
    return kind < G_N_ELEMENTS(kinds) && kinds[kind].apply && level_knows_fields(command);
}

uint32_t apply_level(const State__Command *command)
{
    const struct command_kind *kind = &kinds[command->kind_case];
    return kind->level_of ? MAX(kind->level, kind->level_of(command)) : kind->level;
}

static int apply_record(struct apply *apply, struct bytes record, GError **error)
{
    struct arena *arena = &apply->state->arena;
    arena_reset(arena);
    State__Command *command = state__command__unpack(&arena->allocator, record.length, record.at);
    if (!command) {
        return apply_malformed(error, "it is not a packed message");
    }
    if (level_is_refused(apply, command->level)) {
        return 0;
    }
    if (level_is_too_new(command->level, error)) {
        return -ENOTSUP;
    }
    if (!is_known(command)) {
        g_set_error_literal(error, STATE_ERROR, ENOTSUP,
                            "command: this program does not know its kind or one of its fields: "
                            "run a newer microcloud");
        return -ENOTSUP;
    }
    apply->tables->level = MAX(apply->tables->level, command->level);
    apply->connection_number = command->connection_number;
    return kinds[command->kind_case].apply(apply, command, error);
}

/* What was lost on the way (it cannot be applied any more, since a later one is) ends as unknown.
 */
static void complete(struct state *state, uint64_t sequence, const struct state_result *result)
{
    struct waiting waiting;
    while (completions_take(&state->completions, sequence, &waiting)) {
        struct state_result lost = {.error = -ECANCELED};
        const struct state_completion *completion = &waiting.completion;
        completion->fn(completion->owner, completion->token,
                       waiting.sequence == sequence ? result : &lost);
    }
}

int state_apply(struct state *state, uint64_t index, struct bytes group, GError **error)
{
    g_assert(!state->is_proposing);
    struct record_header header;
    int r = record_header_decode(&header, group, error);
    if (r < 0) {
        return r;
    }
    bool is_own = header.origin == state->options.node_id && header.epoch == state->options.epoch;
    state->tables.time_unix_ms = MAX(state->tables.time_unix_ms, header.time_unix_ms);
    struct apply apply = {.state = state, .tables = &state->tables, .index = index};
    struct origin command = {header.origin, header.epoch, header.first_sequence};
    size_t offset = STATE_GROUP_HEADER_BYTES;
    struct bytes record;
    state->tables.applied_index = index; /* completions and watches may ask */
    while ((r = record_next(group, &offset, &record, error)) == 1) {
        struct state_result result = {0};
        apply.result = &result;
        apply.turn = 0;
        apply.now_unix_ms = state->tables.time_unix_ms;
        if (tables_advance_origin(&state->tables, &command)) {
            r = apply_record(&apply, record, error);
            if (r < 0) {
                g_prefix_error(error, "log entry %" G_GUINT64_FORMAT ": ", index);
                return r;
            }
            if (is_own) {
                complete(state, command.sequence, &result);
            }
        }
        command.sequence++;
    }
    state_notify_applied(state);
    uint64_t due_unix_ms = state_next_due_unix_ms(state);
    if (due_unix_ms != state->due_unix_ms) {
        state->due_unix_ms = due_unix_ms;
        state_notify_due(state);
    }
    return r;
}

/* The client has gone to another connection, perhaps on another node, and says again there what was
 * not acknowledged: what is still under way from the one before must not come behind it. */
bool apply_is_stale(struct apply *apply, struct bytes client_id)
{
    const struct session *session = apply->connection_number != 0
                                        ? session_store_find(apply->tables->sessions, client_id)
                                        : NULL;

    apply->result->is_stale = session && session->connection_number != apply->connection_number;
    return apply->result->is_stale;
}

bool apply_is_full(const struct apply *apply, uint64_t more_bytes)
{
    return tables_bytes(apply->tables) + more_bytes > apply->state->settings.state_bytes_max;
}

struct bytes apply_keep(struct apply *apply, struct bytes bytes)
{
    uint8_t *copy = arena_take(&apply->state->arena, bytes.length);
    memcpy(copy, bytes.at, bytes.length);
    return (struct bytes){copy, bytes.length};
}

int apply_refuse(struct apply *apply, uint8_t reason, const char *message)
{
    g_string_assign(apply->state->message, message);
    apply->result->reason = reason;
    apply->result->message = apply->state->message->str;
    return 0;
}

int apply_malformed(GError **error, const char *what)
{
    g_set_error(error, STATE_ERROR, EBADMSG, "command: %s", what);
    return -EBADMSG;
}

bool apply_check_client_id(struct bytes client_id, GError **error)
{
    if (client_id.length == 0 || client_id.length > UINT16_MAX || !utf8_is_valid(client_id)) {
        apply_malformed(error, "its client id must be UTF-8 of 1..65535 bytes");
        return false;
    }
    return true;
}

bool apply_check_name(struct bytes topic, GError **error)
{
    if (topic.length > TOPIC_BYTES_MAX || !topic_name_is_valid(topic, TOPIC_BYTES_MAX)) {
        apply_malformed(error, "its topic name is not valid");
        return false;
    }
    return true;
}

bool apply_check_filter(struct bytes filter, GError **error)
{
    if (filter.length > TOPIC_BYTES_MAX || !topic_filter_is_valid(filter, TOPIC_BYTES_MAX)) {
        apply_malformed(error, "its topic filter is not valid");
        return false;
    }
    return true;
}

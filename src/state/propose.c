/* Proposals: each is packed straight into the room that the log gives in its current group. Nothing
 * is applied from here. */
#include "state/propose.h"
#include "state/apply.h"
#include "state/level.h"
#include "state/propose_private.h"
#include "state/record.h"
#include "state/tables.h"
#include "state/wire.h"
#include <errno.h>

static int append_error(const struct state *state)
{
    int error = state->log.append_error ? state->log.append_error(state->log.owner) : 0;
    return error < 0 ? error : -EAGAIN;
}

int propose_command(struct state *state, State__Command *command,
                    const struct state_completion *completion)
{
    uint32_t level = apply_level(command);
    if (level > 1 && level > state_command_level(state)) {
        return -ENOTSUP;
    }
    command->level = level > 1 ? level : 0;
    command->connection_number = completion ? completion->connection_number : 0;
    size_t length = state__command__get_packed_size(command);
    if (length > STATE_RECORD_BYTES_MAX - RECORD_LENGTH_BYTES) {
        return -EMSGSIZE;
    }
    state->is_proposing = true;
    uint8_t *room = state->log.append(state->log.owner, RECORD_LENGTH_BYTES + length);
    state->is_proposing = false;
    if (!room) {
        return append_error(state);
    }
    wire_put_u32(room, (uint32_t)length);
    state__command__pack(command, room + RECORD_LENGTH_BYTES);
    if (completion && completion->fn) {
        completions_add(&state->completions, state->next_sequence, completion);
    }
    state->next_sequence++;
    return 0;
}

int state_propose_open(struct state *state, const struct state_open *open,
                       const struct state_completion *completion)
{
    State__Will will = STATE__WILL__INIT;
    if (open->will) {
        will.topic = binary(open->will->topic);
        will.properties = binary(open->will->properties);
        will.payload = binary(open->will->payload);
        will.qos = open->will->qos;
        will.retain = open->will->retain;
        will.delay_s = open->will->delay_s;
        will.expiry_s = open->will->expiry_s;
    }
    State__Open message = STATE__OPEN__INIT;
    message.client_id = binary(open->client_id);
    message.username = binary(open->username);
    message.clean_start = open->clean_start;
    message.is_persistent = open->is_persistent;
    message.expiry_s = open->expiry_s;
    message.receive_maximum = open->receive_maximum;
    message.version = open->version;
    message.connection_number = open->connection_number;
    message.has_known_opening = state_command_level(state) >= LEVEL_OPENINGS;
    message.known_opening = open->known_opening;
    message.will = open->will ? &will : NULL;
    return propose_command(state, COMMAND(OPEN, open, &message), completion);
}

int state_propose_close(struct state *state, const struct state_close *close,
                        const struct state_completion *completion)
{
    State__Close message = STATE__CLOSE__INIT;
    message.client_id = binary(close->client_id);
    message.connection_number = close->connection_number;
    message.publish_will = close->publish_will;
    message.has_expiry = close->has_expiry;
    message.expiry_s = close->expiry_s;
    return propose_command(state, COMMAND(CLOSE, close, &message), completion);
}

int state_propose_session_remove(struct state *state, struct bytes client_id,
                                 const struct state_completion *completion)
{
    State__SessionRemove message = STATE__SESSION_REMOVE__INIT;
    message.client_id = binary(client_id);
    return propose_command(state, COMMAND(SESSION_REMOVE, session_remove, &message), completion);
}

int state_propose_subscribe(struct state *state, struct bytes client_id, struct bytes filter,
                            const struct subscription_options *options,
                            const struct state_completion *completion)
{
    State__Subscribe message = STATE__SUBSCRIBE__INIT;
    message.client_id = binary(client_id);
    message.filter = binary(filter);
    message.qos = options->qos;
    message.no_local = options->no_local;
    message.retain_as_published = options->retain_as_published;
    message.retain_handling = options->retain_handling;
    message.subscription_id = options->subscription_id;
    return propose_command(state, COMMAND(SUBSCRIBE, subscribe, &message), completion);
}

int state_propose_unsubscribe(struct state *state, struct bytes client_id, struct bytes filter,
                              const struct state_completion *completion)
{
    State__Unsubscribe message = STATE__UNSUBSCRIBE__INIT;
    message.client_id = binary(client_id);
    message.filter = binary(filter);
    return propose_command(state, COMMAND(UNSUBSCRIBE, unsubscribe, &message), completion);
}

/* Targets as protobuf-c wants them: an array of pointers. */
struct packed_targets {
    State__ShareTarget *items;
    State__ShareTarget **pointers;
};

static void pack_targets(struct packed_targets *packed, const struct state_publish *publish)
{
    packed->items = g_new(State__ShareTarget, publish->target_count);
    packed->pointers = g_new(State__ShareTarget *, publish->target_count);
    for (uint32_t i = 0; i < publish->target_count; i++) {
        state__share_target__init(&packed->items[i]);
        packed->items[i].client_id = binary(publish->targets[i].client_id);
        packed->items[i].filter = binary(publish->targets[i].filter);
        packed->items[i].node_id = publish->targets[i].node_id;
        packed->pointers[i] = &packed->items[i];
    }
}

int state_propose_publish(struct state *state, const struct state_publish *publish,
                          const struct state_completion *completion)
{
    State__Publish message = STATE__PUBLISH__INIT;
    message.topic = binary(publish->topic);
    message.properties = binary(publish->properties);
    message.payload = binary(publish->payload);
    message.qos = publish->qos;
    message.retain = publish->retain;
    message.publisher = binary(publish->publisher);
    message.packet_id = publish->is_persistent_publisher ? publish->packet_id : 0;
    message.expires_unix_ms = publish->expires_unix_ms;
    message.is_delivered = publish->is_delivered;
    struct packed_targets targets = {0};
    if (publish->target_count > 0) {
        pack_targets(&targets, publish);
        message.n_targets = publish->target_count;
        message.targets = targets.pointers;
    }
    int r = propose_command(state, COMMAND(PUBLISH, publish, &message), completion);
    g_free(targets.items);
    g_free(targets.pointers);
    return r;
}

int state_propose_release(struct state *state, struct bytes client_id, uint16_t packet_id,
                          const struct state_completion *completion)
{
    State__Release message = STATE__RELEASE__INIT;
    message.client_id = binary(client_id);
    message.packet_id = packet_id;
    return propose_command(state, COMMAND(RELEASE, release, &message), completion);
}

int state_propose_acknowledge(struct state *state, struct bytes client_id, enum session_ack kind,
                              const uint16_t *packet_ids, uint32_t count,
                              const struct state_completion *completion)
{
    uint32_t few[64];
    g_autofree uint32_t *many = count > G_N_ELEMENTS(few) ? g_new(uint32_t, count) : NULL;
    uint32_t *ids = many ? many : few;
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = packet_ids[i];
    }
    State__Acknowledge message = STATE__ACKNOWLEDGE__INIT;
    message.client_id = binary(client_id);
    message.kind = kind;
    message.n_packet_ids = count;
    message.packet_ids = ids;
    return propose_command(state, COMMAND(ACKNOWLEDGE, acknowledge, &message), completion);
}

int state_propose_send_retained(struct state *state, struct bytes client_id, struct bytes topic,
                                uint8_t qos, uint32_t subscription_id,
                                const struct state_completion *completion)
{
    State__SendRetained message = STATE__SEND_RETAINED__INIT;
    message.client_id = binary(client_id);
    message.topic = binary(topic);
    message.qos = qos;
    message.subscription_id = subscription_id;
    return propose_command(state, COMMAND(SEND_RETAINED, send_retained, &message), completion);
}

int state_propose_tick(struct state *state, uint64_t now_unix_ms,
                       const struct state_completion *completion)
{
    State__Tick message = STATE__TICK__INIT;
    message.now_unix_ms = now_unix_ms;
    return propose_command(state, COMMAND(TICK, tick, &message), completion);
}

int state_propose_recover(struct state *state, const struct state_completion *completion)
{
    State__NodeRestarted message = STATE__NODE_RESTARTED__INIT;
    message.node_id = state->options.node_id;
    message.epoch = state->options.epoch;
    return propose_command(state, COMMAND(NODE_RESTARTED, node_restarted, &message), completion);
}

int state_propose_setting(struct state *state, const char *key, const char *value,
                          const struct state_completion *completion)
{
    State__SettingSet message = STATE__SETTING_SET__INIT;
    message.key = (char *)key;
    message.value = (char *)value;
    return propose_command(state, COMMAND(SETTING_SET, setting_set, &message), completion);
}

int state_propose_user_put(struct state *state, const char *name, const char *role,
                           const char *password_record, const struct state_completion *completion)
{
    State__UserPut message = STATE__USER_PUT__INIT;
    message.name = (char *)name;
    message.role = (char *)role;
    message.password = (char *)password_record;
    return propose_command(state, COMMAND(USER_PUT, user_put, &message), completion);
}

int state_propose_user_remove(struct state *state, const char *name,
                              const struct state_completion *completion)
{
    State__UserRemove message = STATE__USER_REMOVE__INIT;
    message.name = (char *)name;
    return propose_command(state, COMMAND(USER_REMOVE, user_remove, &message), completion);
}

int state_propose_acl_add(struct state *state, const char *subject, const char *action,
                          const char *filter, bool allow, const struct state_completion *completion)
{
    State__AclAdd message = STATE__ACL_ADD__INIT;
    message.subject = (char *)subject;
    message.action = (char *)action;
    message.filter = (char *)filter;
    message.allow = allow;
    return propose_command(state, COMMAND(ACL_ADD, acl_add, &message), completion);
}

int state_propose_acl_remove(struct state *state, uint64_t rule_id,
                             const struct state_completion *completion)
{
    State__AclRemove message = STATE__ACL_REMOVE__INIT;
    message.rule_id = rule_id;
    return propose_command(state, COMMAND(ACL_REMOVE, acl_remove, &message), completion);
}

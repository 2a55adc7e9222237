/* See level.h. */
#include "state/level.h"
#include <errno.h>

static char *problem_of(const struct cluster_node *node)
{
    return g_strdup_printf(
        "node '%s' runs microcloud %s, which cannot apply this change: upgrade it "
        "first",
        node->name, node->version);
}

bool level_is_refused(struct apply *apply, uint32_t level)
{
    const struct cluster_node *oldest =
        level > 1 ? roster_find_oldest(&apply->tables->roster) : NULL;
    if (!oldest || oldest->command_level >= level) {
        return false;
    }
    g_autofree char *problem = problem_of(oldest);
    apply_refuse(apply, REASON_UNSPECIFIED_ERROR, problem);
    apply->result->error = -ENOTSUP;
    return true;
}

bool level_is_too_new(uint32_t level, GError **error)
{
    if (level <= STATE_COMMAND_LEVEL) {
        return false;
    }
    g_set_error(
        error, STATE_ERROR, ENOTSUP,
        "command of level %u, and microcloud %s applies those up to level %d: this node ran a "
        "newer version before, whose commands are in use: install that one again",
        level, MICROCLOUD_VERSION, STATE_COMMAND_LEVEL);
    return true;
}

/* ---- fields ---- */

static bool is_whole(const ProtobufCMessage *message)
{
    return !message || message->n_unknown_fields == 0;
}

static bool is_field_whole(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message;
    const void *member = base + field->offset;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return true;
    }
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return is_whole(*(ProtobufCMessage *const *)member);
    }
    size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
    ProtobufCMessage *const *items = *(ProtobufCMessage *const *const *)member;
    for (size_t i = 0; i < count; i++) {
        if (!is_whole(items[i])) {
            return false;
        }
    }
    return true;
}

/* A command holds one message, which holds others: deeper it does not go. */
bool level_knows_fields(const State__Command *command)
{
    const ProtobufCMessage *message = &command->publish->base; /* of whatever kind */
    if (!is_whole(&command->base) || !is_whole(message)) {
        return false;
    }
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        if (!is_field_whole(message, &message->descriptor->fields[i])) {
            return false;
        }
    }
    return true;
}

/* ---- for others ---- */

/* One level apart is what is tested, so nothing else is let in. */
char *state_version_problem(const struct state *state, const char *version, uint32_t level,
                            bool *is_old)
{
    const struct cluster_node *oldest = roster_find_oldest(&state->tables.roster);
    if (!oldest || (level >= oldest->command_level && level <= oldest->command_level + 1)) {
        return NULL;
    }
    *is_old = level < oldest->command_level;
    return *is_old
               ? g_strdup_printf("microcloud %s is too old for this cluster, whose nodes run %s or "
                                 "newer: install the version that they run",
                                 version, oldest->version)
               : g_strdup_printf("microcloud %s is too new for this cluster, whose node '%s' runs "
                                 "%s: upgrade that first, one version after the other",
                                 version, oldest->name, oldest->version);
}

char *state_level_problem(const struct state *state)
{
    const struct cluster_node *oldest = roster_find_oldest(&state->tables.roster);
    return oldest && oldest->command_level < STATE_COMMAND_LEVEL ? problem_of(oldest) : NULL;
}

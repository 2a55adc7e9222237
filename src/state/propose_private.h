/* How commands get into the log, for this folder only. */
#pragma once

#include "state/commands.pb-c.h"
#include "state/propose.h"

/* A command of one kind, as a compound literal. */
#define COMMAND(KIND, member, message)                                                             \
    (&(State__Command){PROTOBUF_C_MESSAGE_INIT(&state__command__descriptor),                       \
                       .kind_case = STATE__COMMAND__KIND_##KIND, .member = (message)})

/* What all proposals come to. -ENOTSUP when not all nodes can apply a command of this kind. */
int propose_command(struct state *state, State__Command *command,
                    const struct state_completion *completion);

static inline ProtobufCBinaryData binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){bytes.length, (uint8_t *)bytes.at};
}

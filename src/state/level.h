/* Nodes of neighbouring versions in one cluster, for this folder only. Each node's row says up to
 * which level it can apply commands (STATE_COMMAND_LEVEL of its program); the cluster's level is
 * the least of them. A command that needs more is not proposed; one that was under way while an
 * older node came is refused when it is applied, by old and new nodes alike, since all read the
 * same rows and the level that the command carries. So nobody ever skips what others apply. */
#pragma once

#include "state/apply.h"

/* From this level on a session knows its last opening, and an open which one it knew. */
#define LEVEL_OPENINGS 3
/* From this level on the removal of a node says which others there were, and no connection of a
 * removed one is opened. */
#define LEVEL_OTHERS 4

/* Is there a node below this level? Then the result says which, and nothing is to change. */
bool level_is_refused(struct apply *apply, uint32_t level);
/* Every node could apply it when it was proposed, and this program cannot: an older version was
 * installed here. True with `error` set. */
bool level_is_too_new(uint32_t level, GError **error);
/* Has nothing been said that this program would lose? */
bool level_knows_fields(const State__Command *command);

/* Between the files that describe packets for people. */
#pragma once

#include "packet/packet.h"

/* Text of others in quotes after `before`: shortened, control characters made visible. */
void describe_text(GString *line, const char *before, struct bytes text);
/* All properties in braces, or nothing when there are none. */
void describe_properties(GString *line, const struct properties *properties);

/* Asking a node until it answers as it should. */
#pragma once

#include "cli/node/ask.h"

/* GET `target` until `is_there` (NULL: until any answer that is none of an error), or until the
 * time is over: then NULL, with the last error, or `not_there`. Wrong usage ends it at once. The
 * caller frees with text_free. */
struct text_value *node_wait(const struct node_values *values, const char *target, double wait_s,
                             bool (*is_there)(const struct text_value *answer),
                             const char *not_there, GError **error);

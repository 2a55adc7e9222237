/* Files that go to the node or come from it. "-" is standard input and output. */
#pragma once

#include "cli/node/ask.h"

/* POSTs a text file and prints how many entries were imported. Returns the exit status. */
int file_import(const struct node_values *values, const char *target, const char *path,
                GError **error);
/* Replaces `path` as a whole, readable by its owner only. 0 or -1. */
int file_write(const char *path, const void *bytes, size_t length, GError **error);

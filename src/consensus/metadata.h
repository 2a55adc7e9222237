/* libraft's two metadata files: term and vote. They have no checksum, so they are compared with
 * each other and with the log. */
#pragma once

#include "consensus/file_list.h"
#include <glib.h>
#include <stdint.h>

struct metadata {
    uint64_t version; /* 0: none written yet */
    uint64_t term;
    uint64_t vote;
};

/* Reads those in the list. An unfinished write of the next version is legal; one that is empty
 * otherwise, or that contradicts the other, is not. */
int metadata_check(const char *directory, const struct file_list *list, struct metadata *metadata,
                   GError **error);

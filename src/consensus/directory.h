/* The look at raft/ before libraft gets it (consensus.md, rule 8): refuses damage, newer formats,
 * foreign files; then leaves the files as a clean stop would have left them, so that of libraft's
 * start only that path is used. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct directory_report {
    bool is_empty;           /* nothing was ever committed here: to be founded */
    uint64_t term;           /* last known */
    bool has_vote;           /* founding was finished */
    uint64_t snapshot_index; /* 0 = no snapshot */
    uint64_t snapshot_bytes;
    uint64_t last_index; /* of the log */
    uint64_t log_bytes;  /* behind the snapshot, on disk */
};

/* The directory for this process alone; returns a descriptor that holds it, or a negative errno. */
int directory_lock(const char *path, GError **error);
/* Touches no file unless everything is fine. Errors begin with the path. With `found`, a founding
 * that was cut short is undone. */
int directory_prepare(const char *path, uint64_t node_id, bool found,
                      struct directory_report *report, GError **error);

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

enum directory_use {
    DIRECTORY_EXISTING, /* it must hold a log */
    DIRECTORY_FOUND,    /* an empty one is founded; a founding that was cut short is undone */
    DIRECTORY_JOIN,     /* an empty one is that of a node which is still to be added */
};

/* Room for the copy of a segment that libraft makes to take entries back. */
bool directory_has_room(const char *path);
/* The directory for this process alone; returns a descriptor that holds it, or a negative errno. */
int directory_lock(const char *path, GError **error);
/* Touches no file unless everything is fine. Errors begin with the path. `only_voter`: the node
 * that alone can have been voted for here; 0 when there may be others. */
int directory_prepare(const char *path, uint64_t only_voter, enum directory_use use,
                      struct directory_report *report, GError **error);

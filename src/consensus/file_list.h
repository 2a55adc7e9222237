/* The files of a raft/ directory by what their names say. */
#pragma once

#include <glib.h>
#include <stdint.h>

enum file_kind {
    FILE_METADATA,      /* a = 1 or 2 */
    FILE_CLOSED,        /* a..b = first and last index */
    FILE_OPEN,          /* a = counter */
    FILE_SNAPSHOT,      /* a = term, b = index, c = timestamp */
    FILE_SNAPSHOT_META, /* ditto */
    FILE_TEMPORARY,     /* left by a crash; libraft removes it */
};

struct file_name {
    enum file_kind kind;
    uint64_t a, b, c;
    char *name; /* owned */
};

struct file_list {
    GPtrArray *files; /* of struct file_name, owned; sorted by kind, then a, b, c */
};

/* Refuses what is not libraft's (CONSENSUS_ERROR_FOREIGN). deinit after success only. */
int file_list_init(struct file_list *list, const char *directory, GError **error);
void file_list_deinit(struct file_list *list);
/* The n-th of a kind, or NULL. */
const struct file_name *file_list_find(const struct file_list *list, enum file_kind kind,
                                       uint32_t n);
uint32_t file_list_count(const struct file_list *list, enum file_kind kind);

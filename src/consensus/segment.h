/* Reads a segment of libraft's log before libraft does and decides what it holds: whole entries, an
 * unfinished last write (legal after a power cut: it was never acknowledged), or damage. libraft
 * itself cannot tell the two last apart and starts with part of the log. Pure. */
#pragma once

#include "base/bytes.h"
#include "consensus/checksum.h"
#include <glib.h>

/* libraft's segment size, and more than any closed segment has. */
#define SEGMENT_BYTES (8 * 1024 * 1024)
/* The least that any node gives it. */
#define SEGMENT_BYTES_SMALL (3 * 1024 * 1024)
#define SEGMENT_FORMAT      1

enum segment_kind {
    SEGMENT_CLOSED,    /* must be whole */
    SEGMENT_OPEN,      /* a later one was written to: whole, but zeros may follow */
    SEGMENT_OPEN_LAST, /* may end in an unfinished write */
};

struct segment_report {
    uint64_t entries;
    uint64_t first_term, last_term; /* 0 without entries */
    size_t used_bytes;              /* 0: never written to */
    bool is_torn;                   /* an unfinished write stands behind used_bytes */
};

/* `first_index` is the one that its first entry must have, `term` that of the entry before (0 at
 * the beginning). Returns 0, or -EBADMSG (damage) or -EPROTONOSUPPORT (newer format) with an error
 * that says where. */
int segment_scan(struct bytes content, enum segment_kind kind, uint64_t first_index, uint64_t term,
                 struct segment_report *report, GError **error);

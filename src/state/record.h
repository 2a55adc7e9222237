/* The form of a group in the log: header, then records (32-bit little-endian length, packed
 * Command). Pure.
 *
 *   0 version (4) | 4 reserved (4) | 8 origin (8) | 16 epoch (8) | 24 first sequence (8) | 32 time,
 * unix ms (8) | records ... | zeros
 *
 * What follows the last record may be zeros up to a multiple of 8. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define RECORD_FORMAT_VERSION 1
#define RECORD_LENGTH_BYTES   4

struct record_header {
    uint64_t origin; /* node id */
    uint64_t epoch;
    uint64_t first_sequence;
    uint64_t time_unix_ms;
};

void record_header_encode(uint8_t *out, const struct record_header *header);
/* -ENOTSUP for a newer version, -EBADMSG for damage. */
int record_header_decode(struct record_header *header, struct bytes group, GError **error);

/* The record at `*offset` (first: STATE_GROUP_HEADER_BYTES), which moves on. 1 = there is one, 0 =
 * the end, -EBADMSG. */
int record_next(struct bytes group, size_t *offset, struct bytes *record, GError **error);

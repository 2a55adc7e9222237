/* What stands before the content of each snapshot: libraft accepts a flipped byte silently, so we
 * do not. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdint.h>

#define SNAPSHOT_HEADER_BYTES 32
#define SNAPSHOT_VERSION      1

/* The header for `length` bytes with this checksum (XXH64). */
void snapshot_header_write(uint8_t header[SNAPSHOT_HEADER_BYTES], uint64_t length,
                           uint64_t checksum);
/* `file` is a whole snapshot in memory; `content` points into it. */
int snapshot_verify(struct bytes file, struct bytes *content, GError **error);
/* The same for a file on disk, without holding it in memory. `bytes` is the length of the file. */
int snapshot_file_verify(const char *path, uint64_t *bytes, GError **error);
/* The `.meta` file that libraft writes beside it. */
int snapshot_meta_verify(const char *path, GError **error);

/* A backup: the files of a data directory in one run of bytes, with a checksum over all of it.
 * Trailing zeros of a file (the log's files are laid out in advance) are left out and put back. */
#pragma once

#include <glib.h>

/* `parts` are files and directories (one level) below `directory`; those that are not there are
 * left out. Files that begin with "tmp-" or end with ".sock" are too. NULL with an error, also when
 * the set of files changed meanwhile. */
GByteArray *archive_pack(const char *directory, const char *const *parts, GError **error);
/* Into a directory that is empty or not there yet; nothing is written unless the archive is whole
 * and right. 0 or -EINVAL, -EEXIST, -EIO. */
int archive_unpack(const guint8 *bytes, gsize length, const char *directory, GError **error);

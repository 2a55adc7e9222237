/* Reading mosquitto's password and ACL files. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Calls `fn` for each `NAME:RECORD` line; comments and blank lines are skipped. `line 3: ...` on
 * error, and then nothing must be kept of what came before. */
int import_passwords(const char *text,
                     void (*fn)(void *owner, const char *name, const char *record), void *owner,
                     GError **error);
/* mosquitto.conf(5), acl_file: `user NAME`, `topic [read|write|readwrite|deny] FILTER`, `pattern
 * ...`. */
int import_acl(const char *text,
               void (*fn)(void *owner, const char *subject, const char *action, const char *filter,
                          bool allow),
               void *owner, GError **error);

/* Reading with a limit, writing beside the old file and then in its place. */
#include "cli/node/file.h"

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/error.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define IMPORT_BYTES_MAX ((gsize)16 * 1024 * 1024)

int file_import(const struct node_values *values, const char *target, const char *path,
                GError **error)
{
    g_autofree char *text = NULL;
    gsize length;
    const char *name = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
    if (!g_file_get_contents(name, &text, &length, error)) {
        return CLI_EXIT_ERROR;
    }
    if (length > IMPORT_BYTES_MAX) {
        cli_fail(error, "%s: is longer than 16 MiB", path);
        return CLI_EXIT_ERROR;
    }
    struct node_request request = {.method = "POST",
                                   .target = target,
                                   .content_type = "text/plain",
                                   .body = {(const uint8_t *)text, length}};
    g_autoptr(GByteArray) answer = node_ask_bytes(values, &request, error);
    if (!answer) {
        g_prefix_error(error, "%s: ", path);
        return CLI_EXIT_ERROR;
    }
    _cleanup_(text_freep) struct text_value *value =
        text_parse_json((const char *)answer->data, answer->len, NULL);
    printf("%" G_GINT64_FORMAT " imported\n", (gint64)text_integer(text_get(value, "imported"), 0));
    return 0;
}

int file_write(const char *path, const void *bytes, size_t length, GError **error)
{
    if (strcmp(path, "-") == 0) {
        if (fwrite(bytes, 1, length, stdout) < length || fflush(stdout) != 0) {
            cli_fail(error, "standard output: %s", g_strerror(errno));
            return -1;
        }
        return 0;
    }
    GFileSetContentsFlags flags = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;
    return g_file_set_contents_full(path, bytes, (gssize)length, flags, 0600, error) ? 0 : -1;
}

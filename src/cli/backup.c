/* `microcloud backup FILE` and `microcloud restore FILE --data DIR`. A backup is the data directory
 * as one archive, made by the running node at one instant of its log. A restore is done while no
 * node runs, into an empty directory, so that nothing alive is overwritten. */
#include "base/archive.h"
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/file.h"
#include "text/value.h"
#include <stdio.h>
#include <string.h>

#define RESTORED "restored" /* as node/membership/enter.c knows it */

static int backup_run(const struct cli_call *call, GError **error)
{
    struct node_request request = {.method = "GET", .target = "/v1/backup"};
    g_autoptr(GByteArray) archive = node_ask_bytes(call->values, &request, error);
    if (!archive || file_write(call->words[0], archive->data, archive->len, error) < 0) {
        return CLI_EXIT_ERROR;
    }
    fprintf(stderr, "%u bytes written to %s: they hold secrets, keep them safe\n", archive->len,
            call->words[0]);
    return 0;
}

struct restore_values {
    const char *data;
};

static const struct cli_option restore_options[] = {
    {"data", 0, CLI_TEXT, offsetof(struct restore_values, data), "DIR",
     "where the node will live: empty or not there yet", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

/* peers.json lists the other nodes of the cluster, where there are any. */
static bool had_others(const char *data)
{
    g_autofree char *path = g_build_filename(data, "peers.json", NULL);
    g_autofree char *content = NULL;
    gsize length;

    if (!g_file_get_contents(path, &content, &length, NULL)) {
        return false;
    }
    _cleanup_(text_freep) struct text_value *peers = text_parse_json(content, length, NULL);
    return text_count(peers) > 0;
}

static void print_restored(const char *data)
{
    if (had_others(data)) {
        fprintf(stderr,
                "restored, from a cluster of several nodes: when all others are gone, start it "
                "once with `microcloud run --rescue --data %s`; while they live do not start it, "
                "join anew with an empty directory\n",
                data);
    } else {
        fprintf(stderr, "restored: start the node with `microcloud run --data %s`\n", data);
    }
}

static int restore_run(const struct cli_call *call, GError **error)
{
    const struct restore_values *values = call->values;
    const char *path = strcmp(call->words[0], "-") == 0 ? "/dev/stdin" : call->words[0];
    g_autofree char *bytes = NULL;
    gsize length;
    if (!values->data) {
        cli_fail_usage(error, "--data DIR is missing: an empty directory for the node");
        return CLI_EXIT_USAGE;
    }
    if (!g_file_get_contents(path, &bytes, &length, error)) {
        return CLI_EXIT_ERROR;
    }
    g_autofree char *mark = g_build_filename(values->data, RESTORED, NULL);
    if (archive_unpack((const guint8 *)bytes, length, values->data, error) < 0 ||
        !g_file_set_contents(mark, "", 0, error)) {
        return CLI_EXIT_ERROR;
    }
    print_restored(values->data);
    return 0;
}

const struct cli_command cli_backup = {
    .name = "backup",
    .words = "FILE",
    .summary = "save everything the node keeps to a file",
    .example = "microcloud backup /media/usb/microcloud-$(date +%F).backup",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = backup_run,
};

const struct cli_command cli_restore = {
    .name = "restore",
    .words = "FILE",
    .summary = "make a data directory from a backup",
    .details = "No node may run on that directory. Afterwards `microcloud run --data DIR` goes on "
               "where the backup was made. One of several nodes is started once with `--rescue`, "
               "when all others are gone, and goes on alone: the others join it anew.",
    .example =
        "microcloud restore /media/usb/microcloud-2026-11-23.backup --data /var/lib/microcloud",
    .options = restore_options,
    .values_bytes = sizeof(struct restore_values),
    .words_min = 1,
    .words_max = 1,
    .run = restore_run,
};

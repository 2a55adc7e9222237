/* `microcloud trace --client ID`: the packets of one client as they pass, decoded, until it is
 * interrupted. The node sends server-sent events, one `data: {"packet": ...}` a packet; with --json
 * the objects are printed as they are. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX 65536

struct trace_values {
    struct node_values node;
    const char *client;
    gint64 count;
};

#define AT(member) offsetof(struct trace_values, member)

static const struct cli_option trace_options[] = {
    {"client", 0, CLI_TEXT, AT(client), "ID", "whose packets; it need not be connected yet", 0, 0,
     NULL},
    {"count", 'C', CLI_NUMBER, AT(count), "N", "end after so many packets", 1, 1e15, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

struct trace {
    const struct trace_values *values;
    GString *line;
    int64_t seen;
};

/* False when enough has been seen. */
static bool trace_line(struct trace *trace)
{
    const char *line = trace->line->str;
    if (!g_str_has_prefix(line, "data: ")) {
        return true;
    }
    if (trace->values->node.json) {
        printf("%s\n", line + 6);
    } else {
        _cleanup_(text_freep) struct text_value *value =
            text_parse_json(line + 6, trace->line->len - 6, NULL);
        printf("%s\n", text_string(text_get(value, "packet"), line + 6));
    }
    trace->seen++;
    if (fflush(stdout) != 0) {
        return false; /* nobody reads it any more */
    }
    return trace->values->count == 0 || trace->seen < trace->values->count;
}

static bool on_piece(void *owner, struct bytes piece)
{
    struct trace *trace = owner;
    for (size_t i = 0; i < piece.length; i++) {
        if (piece.at[i] != '\n') {
            if (trace->line->len < LINE_BYTES_MAX) {
                g_string_append_c(trace->line, (char)piece.at[i]);
            }
            continue;
        }
        bool goes_on = trace_line(trace);
        g_string_truncate(trace->line, 0);
        if (!goes_on) {
            return false;
        }
    }
    return true;
}

static int trace_run(const struct cli_call *call, GError **error)
{
    const struct trace_values *values = call->values;
    if (!values->client) {
        cli_fail_usage(error, "--client ID is missing");
        return CLI_EXIT_USAGE;
    }
    g_autofree char *path = node_path("/v1/clients/", values->client, "/trace");
    struct trace trace = {.values = values, .line = g_string_new(NULL)};
    struct node_request request = {
        .method = "GET", .target = path, .on_piece = on_piece, .owner = &trace};
    g_autoptr(GByteArray) answer = node_ask_bytes(&values->node, &request, error);
    g_string_free(trace.line, TRUE);
    return answer ? 0 : CLI_EXIT_ERROR;
}

const struct cli_command cli_trace = {
    .name = "trace",
    .words = "",
    .summary = "show the packets of one client as they pass",
    .details =
        "While it is connected to this node; `microcloud client ls` says to which one it is.",
    .example = "microcloud trace --client garage-sensor",
    .options = trace_options,
    .values_bytes = sizeof(struct trace_values),
    .speaks_http = true,
    .run = trace_run,
};

/* `microcloud token`: how another node joins; `microcloud ca`: what their certificates hang from.
 */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include "text/units.h"
#include <stdio.h>

struct token_values {
    struct node_values node;
    const char *role, *ttl;
};

static const struct cli_option token_options[] = {
    {"role", 0, CLI_TEXT, offsetof(struct token_values, role), "ROLE",
     "what the new node is to be: auto, voter, spare or witness (auto)", 0, 0, NULL},
    {"ttl", 0, CLI_TEXT, offsetof(struct token_values, ttl), "TIME",
     "how long the token is good, such as 30m or 2d (1h)", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int token_run(const struct cli_call *call, GError **error)
{
    const struct token_values *values = call->values;
    _cleanup_(text_freep) struct text_value *body = text_new_object();
    uint64_t ttl_ms = 0;

    if (values->role) {
        text_set_string(body, "role", values->role);
    }
    if (values->ttl) {
        if (text_parse_duration_ms(values->ttl, &ttl_ms, NULL) < 0 || ttl_ms < 1000) {
            cli_fail_usage(error, "--ttl: '%s' is no time of a second or more, such as 30m",
                           values->ttl);
            return CLI_EXIT_USAGE;
        }
        text_set_integer(body, "ttl_s", (int64_t)(ttl_ms / 1000));
    }
    _cleanup_(text_freep) struct text_value *answer =
        node_ask(&values->node, "POST", "/v1/tokens", body, error);
    if (!answer) {
        return CLI_EXIT_ERROR;
    }
    if (values->node.json) {
        output_json(answer);
    } else {
        printf("%s\n", text_string(text_get(answer, "token"), ""));
    }
    return 0;
}

static int token_ls_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {
        {"id", "id", OUTPUT_PLAIN},           {"role", "role", OUTPUT_PLAIN},
        {"state", "state", OUTPUT_PLAIN},     {"expires_unix_ms", "expires", OUTPUT_TIME},
        {"used_by", "used by", OUTPUT_PLAIN}, {NULL, NULL, OUTPUT_PLAIN}};
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(values, "GET", "/v1/tokens", NULL, error);

    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, columns, values->json);
    return 0;
}

static int token_rm_run(const struct cli_call *call, GError **error)
{
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path = node_path("/v1/tokens/", call->words[i], "");
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, "DELETE", path, NULL, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

static int ca_show_run(const struct cli_call *call, GError **error)
{
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *ca = node_ask(values, "GET", "/v1/ca", NULL, error);

    if (!ca) {
        return CLI_EXIT_ERROR;
    }
    if (values->json) {
        output_json(ca);
    } else {
        printf("%s", text_string(text_get(ca, "certificate"), ""));
    }
    return 0;
}

static int ca_rotate_run(const struct cli_call *call, GError **error)
{
    _cleanup_(text_freep) struct text_value *answer =
        node_ask(call->values, "POST", "/v1/ca/rotate", NULL, error);

    return answer ? 0 : CLI_EXIT_ERROR;
}

const struct cli_command cli_token = {
    .name = "token",
    .words = "",
    .summary = "print a token with which another node joins, once",
    .details = "On the other machine: microcloud run --join TOKEN",
    .example = "microcloud token --ttl 30m",
    .options = token_options,
    .values_bytes = sizeof(struct token_values),
    .speaks_http = true,
    .run = token_run,
};

const struct cli_command cli_token_ls = {
    .name = "token",
    .verb = "ls",
    .words = "",
    .summary = "list tokens",
    .example = "microcloud token ls",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = token_ls_run,
};

const struct cli_command cli_token_rm = {
    .name = "token",
    .verb = "rm",
    .words = "ID...",
    .summary = "make tokens worthless",
    .example = "microcloud token rm 5c3f0a9b12d4e677",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1000,
    .speaks_http = true,
    .run = token_rm_run,
};

const struct cli_command cli_ca_show = {
    .name = "ca",
    .verb = "show",
    .words = "",
    .summary = "print the certificate of the cluster's authority",
    .example = "microcloud ca show",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = ca_show_run,
};

const struct cli_command cli_ca_rotate = {
    .name = "ca",
    .verb = "rotate",
    .words = "",
    .summary = "make a new authority; the nodes change over while they run",
    .example = "microcloud ca rotate",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = ca_rotate_run,
};

/* `microcloud node ...`: the nodes of the cluster. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include "cli/node/wait.h"
#include <stdio.h>
#include <string.h>

#define ALONE_S  60 /* a log as large as may be is read meanwhile */
#define LET_GO_S 10

struct promote_values {
    struct node_values node;
    bool force;
};

static const struct cli_option promote_options[] = {
    {"force", 0, CLI_FLAG, offsetof(struct promote_values, force), NULL,
     "the majority is gone for good: this node goes on alone, with what it has", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static const struct output_column node_columns[] = {{"name", "name", OUTPUT_PLAIN},
                                                    {"role", "role", OUTPUT_ROLE},
                                                    {"state", "state", OUTPUT_PLAIN},
                                                    {"leader", "leader", OUTPUT_PLAIN},
                                                    {"drained", "drained", OUTPUT_PLAIN},
                                                    {"address", "address", OUTPUT_PLAIN},
                                                    {"version", "version", OUTPUT_PLAIN},
                                                    {"seen_unix_ms", "seen", OUTPUT_TIME},
                                                    {NULL, NULL, OUTPUT_PLAIN}};

/* While an upgrade is under way. */
static void print_behind(const struct text_value *list)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < text_count(list); i++) {
        const struct text_value *node = text_at(list, i);
        if (text_boolean(text_get(node, "behind"), false)) {
            g_string_append_printf(names, " %s", text_string(text_get(node, "name"), "?"));
        }
    }
    if (names->len > 0) {
        printf("\nAn upgrade is under way, these nodes are behind:%s\n", names->str);
    }
}

static int node_ls_run(const struct cli_call *call, GError **error)
{
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(values, "GET", "/v1/nodes", NULL, error);

    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, node_columns, values->json);
    if (!values->json) {
        print_behind(list);
    }
    return 0;
}

static int node_inspect_run(const struct cli_call *call, GError **error)
{
    g_autofree char *path = node_path("/v1/nodes/", call->words[0], "");
    _cleanup_(text_freep) struct text_value *node =
        node_ask(call->values, "GET", path, NULL, error);

    if (!node) {
        return CLI_EXIT_ERROR;
    }
    output_json(node);
    return 0;
}

static int ask_each(const struct cli_call *call, const char *method, const char *rest,
                    const struct text_value *body, GError **error)
{
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path = node_path("/v1/nodes/", call->words[i], rest);
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, method, path, body, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

static bool has_let_go(const struct text_value *node)
{
    return !text_boolean(text_get(node, "leader"), false) &&
           !text_boolean(text_get(node, "holder"), false);
}

/* Whoever asked may take it away then. */
static int node_drain_run(const struct cli_call *call, GError **error)
{
    int r = ask_each(call, "POST", "/drain", NULL, error);

    for (unsigned i = 0; i < call->word_count && r == 0; i++) {
        g_autofree char *path = node_path("/v1/nodes/", call->words[i], "");
        g_autofree char *not_there =
            g_strdup_printf("node '%s': it is drained, but still leads or holds a virtual IP after "
                            "%d s: no other node can, see `microcloud doctor`",
                            call->words[i], LET_GO_S);
        _cleanup_(text_freep) struct text_value *node =
            node_wait(call->values, path, LET_GO_S, has_let_go, not_there, error);
        r = node ? 0 : CLI_EXIT_ERROR;
    }
    return r;
}

static int node_activate_run(const struct cli_call *call, GError **error)
{
    return ask_each(call, "POST", "/activate", NULL, error);
}

static int node_demote_run(const struct cli_call *call, GError **error)
{
    return ask_each(call, "POST", "/demote", NULL, error);
}

static int node_rm_run(const struct cli_call *call, GError **error)
{
    return ask_each(call, "DELETE", "", NULL, error);
}

/* It starts anew: until then nobody answers, or one that is not well. */
static int wait_alone(const struct node_values *values, const char *name, GError **error)
{
    _cleanup_(text_freep) struct text_value *health =
        node_wait(values, "/healthz", ALONE_S, NULL, "", error);

    if (!health) {
        g_prefix_error(
            error,
            "node '%s': it starts anew to go on alone, and does not serve within %d s (its log "
            "says why): ",
            name, ALONE_S);
    }
    return health ? 0 : CLI_EXIT_ERROR;
}

static int node_promote_run(const struct cli_call *call, GError **error)
{
    const struct promote_values *values = call->values;
    _cleanup_(text_freep) struct text_value *body = text_new_object();

    text_set_boolean(body, "force", values->force);
    int r = ask_each(call, "POST", "/promote", body, error);
    return r == 0 && values->force ? wait_alone(&values->node, call->words[0], error) : r;
}

/* KEY=VALUE puts, KEY- takes away. */
static int node_label_run(const struct cli_call *call, GError **error)
{
    for (unsigned i = 1; i < call->word_count; i++) {
        const char *word = call->words[i], *equals = strchr(word, '=');
        bool is_removed = !equals && strlen(word) > 1 && word[strlen(word) - 1] == '-';
        if (equals == word || (!equals && !is_removed)) {
            cli_fail_usage(error, "'%s': give KEY=VALUE, or KEY- to take it away", word);
            return CLI_EXIT_USAGE;
        }
        g_autofree char *key = g_strndup(word, equals ? (gsize)(equals - word) : strlen(word) - 1);
        g_autofree char *before = node_path("/v1/nodes/", call->words[0], "/labels/");
        g_autofree char *path = node_path(before, key, "");
        _cleanup_(text_freep) struct text_value *body = equals ? text_new_object() : NULL;
        if (equals) {
            text_set_string(body, "value", equals + 1);
        }
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, equals ? "PUT" : "DELETE", path, body, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

const struct cli_command cli_node_ls = {
    .name = "node",
    .verb = "ls",
    .words = "",
    .summary = "list the nodes of the cluster",
    .example = "microcloud node ls",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = node_ls_run,
};

const struct cli_command cli_node_inspect = {
    .name = "node",
    .verb = "inspect",
    .words = "NODE",
    .summary = "print all that is known of a node",
    .example = "microcloud node inspect attic",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = node_inspect_run,
};

const struct cli_command cli_node_drain = {
    .name = "node",
    .verb = "drain",
    .words = "NODE...",
    .summary = "let others lead and vote instead, before it is switched off",
    .details = "Ends when it neither leads nor holds a virtual IP any more.",
    .example = "microcloud node drain attic",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 100,
    .speaks_http = true,
    .run = node_drain_run,
};

const struct cli_command cli_node_activate = {
    .name = "node",
    .verb = "activate",
    .words = "NODE...",
    .summary = "end what was wanted of it: drain, promote, demote",
    .details = "From then on roles keep themselves again: it votes and leads when it is needed.",
    .example = "microcloud node activate attic",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 100,
    .speaks_http = true,
    .run = node_activate_run,
};

const struct cli_command cli_node_promote = {
    .name = "node",
    .verb = "promote",
    .words = "NODE",
    .summary = "want it as voter",
    .details = "It votes as long as it is there; `node activate` ends the wish. "
               "With --force, said on the node that is left when the majority is gone for good: it "
               "goes on alone, which is waited for. The others must then join anew, with empty "
               "data directories.",
    .example = "microcloud node promote attic",
    .options = promote_options,
    .values_bytes = sizeof(struct promote_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = node_promote_run,
};

const struct cli_command cli_node_demote = {
    .name = "node",
    .verb = "demote",
    .words = "NODE...",
    .summary = "want it as spare: it follows and serves, but never votes",
    .details = "`node activate` ends the wish.",
    .example = "microcloud node demote attic",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 100,
    .speaks_http = true,
    .run = node_demote_run,
};

const struct cli_command cli_node_label = {
    .name = "node",
    .verb = "label",
    .words = "NODE KEY=VALUE|KEY-...",
    .summary = "put labels on a node, or take them away; zone=NAME keeps voters apart",
    .example = "microcloud node label attic zone=roof",
    .values_bytes = sizeof(struct node_values),
    .words_min = 2,
    .words_max = 100,
    .speaks_http = true,
    .run = node_label_run,
};

const struct cli_command cli_node_rm = {
    .name = "node",
    .verb = "rm",
    .words = "NODE...",
    .summary = "take nodes out of the cluster for good; their certificates end",
    .example = "microcloud node rm attic",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 100,
    .speaks_http = true,
    .run = node_rm_run,
};

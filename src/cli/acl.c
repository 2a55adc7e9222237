/* `microcloud acl add|rm|ls|import`: who may publish and subscribe where. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/node/ask.h"
#include "cli/node/file.h"
#include "cli/node/output.h"
#include <stdio.h>

struct acl_values {
    struct node_values node;
    bool deny;
};

static const struct cli_option add_options[] = {
    {"deny", 0, CLI_FLAG, offsetof(struct acl_values, deny), NULL, "forbid it instead", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

/* With the first rule everything else is forbidden, as with mosquitto: nobody should have to find
 * out. */
static void explain_first(const struct node_values *values)
{
    _cleanup_(text_freep) struct text_value *list = node_ask(values, "GET", "/v1/acl", NULL, NULL);

    if (list && text_count(list) == 1 && !values->json) {
        fprintf(
            stderr,
            "This is the first rule. From now on all but admins may do only what a rule allows;\n"
            "`microcloud acl add '*' readwrite '#'` lets all others go on.\n");
    }
}

static int acl_add_run(const struct cli_call *call, GError **error)
{
    const struct acl_values *values = call->values;
    _cleanup_(text_freep) struct text_value *body = text_new_object();
    text_set_string(body, "subject", call->words[0]);
    text_set_string(body, "action", call->words[1]);
    text_set_string(body, "filter", call->words[2]);
    text_set_boolean(body, "allow", !values->deny);
    _cleanup_(text_freep) struct text_value *answer =
        node_ask(&values->node, "POST", "/v1/acl", body, error);
    if (answer) {
        explain_first(&values->node);
    }
    return answer ? 0 : CLI_EXIT_ERROR;
}

static int acl_rm_run(const struct cli_call *call, GError **error)
{
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path = node_path("/v1/acl/", call->words[i], "");
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, "DELETE", path, NULL, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

static int acl_ls_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {
        {"id", "id", OUTPUT_PLAIN},         {"subject", "subject", OUTPUT_PLAIN},
        {"action", "action", OUTPUT_PLAIN}, {"filter", "filter", OUTPUT_PLAIN},
        {"allow", "allow", OUTPUT_PLAIN},   {NULL, NULL, OUTPUT_PLAIN}};
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list = node_ask(values, "GET", "/v1/acl", NULL, error);
    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, columns, values->json);
    return 0;
}

static int acl_import_run(const struct cli_call *call, GError **error)
{
    return file_import(call->values, "/v1/acl/import", call->words[0], error);
}

const struct cli_command cli_acl_add = {
    .name = "acl",
    .verb = "add",
    .words = "SUBJECT ACTION FILTER",
    .summary = "let somebody publish or subscribe",
    .details = "SUBJECT is user:NAME, role:ROLE, anonymous or *; ACTION is read, write, readwrite "
               "or subscribe; in FILTER %u stands for\n"
               "the user name and %c for the client id.",
    .example = "microcloud acl add user:ann readwrite 'home/#'\nmicrocloud acl add role:device "
               "write 'sensors/%u/#'",
    .options = add_options,
    .values_bytes = sizeof(struct acl_values),
    .words_min = 3,
    .words_max = 3,
    .speaks_http = true,
    .run = acl_add_run,
};

const struct cli_command cli_acl_rm = {
    .name = "acl",
    .verb = "rm",
    .words = "ID...",
    .summary = "remove access rules",
    .example = "microcloud acl rm 3",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1000,
    .speaks_http = true,
    .run = acl_rm_run,
};

const struct cli_command cli_acl_ls = {
    .name = "acl",
    .verb = "ls",
    .words = "",
    .summary = "list access rules in their order",
    .example = "microcloud acl ls",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = acl_ls_run,
};

const struct cli_command cli_acl_import = {
    .name = "acl",
    .verb = "import",
    .words = "FILE",
    .summary = "import an ACL file of mosquitto",
    .example = "microcloud acl import /etc/mosquitto/acl",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = acl_import_run,
};

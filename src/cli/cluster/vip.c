/* `microcloud vip ...`: the addresses that always answer. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"

struct vip_values {
    struct node_values node;
    char *interface;
};

static const struct cli_option vip_set_options[] = {
    {"interface", 'i', CLI_TEXT, offsetof(struct vip_values, interface), "IF",
     "the network interface on each box (the one whose network the address is in)", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int vip_set_run(const struct cli_call *call, GError **error)
{
    const struct vip_values *values = call->values;
    _cleanup_(text_freep) struct text_value *body = text_new_object();

    text_set_string(body, "address", call->words[0]);
    text_set_string(body, "interface", values->interface ? values->interface : "");
    _cleanup_(text_freep) struct text_value *answer =
        node_ask(&values->node, "PUT", "/v1/vips", body, error);
    return answer ? 0 : CLI_EXIT_ERROR;
}

static int vip_ls_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {{"address", "address", OUTPUT_PLAIN},
                                                   {"interface", "interface", OUTPUT_IF_ANY},
                                                   {"holder", "holder", OUTPUT_PLAIN},
                                                   {"problem", "problem", OUTPUT_PLAIN},
                                                   {NULL, NULL, OUTPUT_PLAIN}};
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(values, "GET", "/v1/vips", NULL, error);

    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, columns, values->json);
    return 0;
}

static int vip_rm_run(const struct cli_call *call, GError **error)
{
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path = node_path("/v1/vips/", call->words[i], "");
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, "DELETE", path, NULL, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

const struct cli_command cli_vip_set = {
    .name = "vip",
    .verb = "set",
    .words = "ADDRESS/PREFIX",
    .summary = "give the cluster an address of its own: one node answers for it, and another when "
               "that one dies",
    .details = "Take a free address of your network, outside of what its router hands out.",
    .example = "microcloud vip set 192.168.1.50/24\n"
               "microcloud vip set fd00::50/64 --interface eth0",
    .options = vip_set_options,
    .values_bytes = sizeof(struct vip_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = vip_set_run,
};

const struct cli_command cli_vip_ls = {
    .name = "vip",
    .verb = "ls",
    .words = "",
    .summary = "list the virtual addresses and who holds them",
    .example = "microcloud vip ls",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = vip_ls_run,
};

const struct cli_command cli_vip_rm = {
    .name = "vip",
    .verb = "rm",
    .words = "ADDRESS...",
    .summary = "take virtual addresses away",
    .example = "microcloud vip rm 192.168.1.50",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 16,
    .speaks_http = true,
    .run = vip_rm_run,
};

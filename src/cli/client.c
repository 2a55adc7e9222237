/* `microcloud client ls|inspect|kick`: the sessions of the broker. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include <stdio.h>

struct client_values {
    struct node_values node;
    bool purge;
};

static const struct cli_option kick_options[] = {
    {"purge", 0, CLI_FLAG, offsetof(struct client_values, purge), NULL,
     "end its session and its queue too", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int client_ls_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {{"id", "client", OUTPUT_PLAIN},
                                                   {"username", "user", OUTPUT_PLAIN},
                                                   {"connected", "connected", OUTPUT_PLAIN},
                                                   {"node", "node", OUTPUT_IF_ANY},
                                                   {"address", "address", OUTPUT_PLAIN},
                                                   {"version", "mqtt", OUTPUT_PLAIN},
                                                   {"persistent", "persistent", OUTPUT_PLAIN},
                                                   {"subscriptions", "filters", OUTPUT_PLAIN},
                                                   {"queued", "queued", OUTPUT_PLAIN},
                                                   {"received", "received", OUTPUT_PLAIN},
                                                   {"sent", "sent", OUTPUT_PLAIN},
                                                   {"dropped", "dropped", OUTPUT_PLAIN},
                                                   {NULL, NULL, OUTPUT_PLAIN}};
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(values, "GET", "/v1/clients", NULL, error);
    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, columns, values->json);
    return 0;
}

static int client_inspect_run(const struct cli_call *call, GError **error)
{
    g_autofree char *path = node_path("/v1/clients/", call->words[0], "");
    _cleanup_(text_freep) struct text_value *client =
        node_ask(call->values, "GET", path, NULL, error);
    if (!client) {
        return CLI_EXIT_ERROR;
    }
    output_json(client);
    return 0;
}

static int client_kick_run(const struct cli_call *call, GError **error)
{
    const struct client_values *values = call->values;
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path =
            node_path("/v1/clients/", call->words[i], values->purge ? "?purge=1" : "");
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(&values->node, "DELETE", path, NULL, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
        const char *message = text_string(text_get(answer, "message"), NULL);
        if (message) {
            fprintf(stderr, "microcloud: %s\n", message);
        }
    }
    return 0;
}

const struct cli_command cli_client_ls = {
    .name = "client",
    .verb = "ls",
    .words = "",
    .summary = "list the clients and sessions of the broker",
    .details = "All sessions that are kept, with the node that each is connected to; clients whose "
               "session ends with their connection are listed by the node that they are connected "
               "to (--host).",
    .example = "microcloud client ls",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = client_ls_run,
};

const struct cli_command cli_client_inspect = {
    .name = "client",
    .verb = "inspect",
    .words = "ID",
    .summary = "show all about one client, its filters too",
    .example = "microcloud client inspect garage-sensor",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = client_inspect_run,
};

const struct cli_command cli_client_kick = {
    .name = "client",
    .verb = "kick",
    .words = "ID...",
    .summary = "disconnect clients",
    .details = "Whichever node of the cluster they are connected to.",
    .example = "microcloud client kick garage-sensor --purge",
    .options = kick_options,
    .values_bytes = sizeof(struct client_values),
    .words_min = 1,
    .words_max = 1000,
    .speaks_http = true,
    .run = client_kick_run,
};

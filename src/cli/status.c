/* `microcloud status`: what this node and its broker do; with --wait it waits until the node
 * serves. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include "cli/node/wait.h"
#include <stdio.h>
#include <string.h>

struct status_values {
    struct node_values node;
    double wait_s;
};

static const struct cli_option status_options[] = {
    {"wait", 0, CLI_REAL, offsetof(struct status_values, wait_s), "SECONDS",
     "wait so long until the node serves", 0.001, 86400, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static bool status_serves(const struct text_value *status)
{
    return text_boolean(text_get(status, "quorum"), false);
}

/* It serves no clients: there is nothing to say of a broker. */
static bool status_is_witness(const struct text_value *status)
{
    const struct text_value *nodes = text_get(status, "nodes");
    const char *own = text_string(text_get(status, "node"), "");
    for (size_t i = 0; i < text_count(nodes); i++) {
        const struct text_value *node = text_at(nodes, i);
        if (strcmp(text_string(text_get(node, "name"), ""), own) == 0) {
            return strcmp(text_string(text_get(node, "wanted_role"), ""), "witness") == 0;
        }
    }
    return false;
}

static void status_print(const struct text_value *status)
{
    static const struct output_column columns[] = {
        {"cluster", "cluster", OUTPUT_PLAIN},   {"node", "node", OUTPUT_PLAIN},
        {"version", "version", OUTPUT_PLAIN},   {"leader", "leader", OUTPUT_PLAIN},
        {"quorum", "quorum", OUTPUT_PLAIN},     {"memory_bytes", "memory", OUTPUT_BYTES},
        {"state_bytes", "state", OUTPUT_BYTES}, {NULL, NULL, OUTPUT_PLAIN}};
    static const struct output_column mqtt[] = {{"port", "mqtt port", OUTPUT_PLAIN},
                                                {"tls_port", "mqtts port", OUTPUT_PLAIN},
                                                {"clients_connected", "connected", OUTPUT_PLAIN},
                                                {"clients_total", "sessions", OUTPUT_PLAIN},
                                                {"subscriptions", "subscriptions", OUTPUT_PLAIN},
                                                {"retained_messages", "retained", OUTPUT_PLAIN},
                                                {"queued_messages", "queued", OUTPUT_PLAIN},
                                                {"publish_received", "received", OUTPUT_PLAIN},
                                                {"publish_sent", "sent", OUTPUT_PLAIN},
                                                {"publish_dropped", "dropped", OUTPUT_PLAIN},
                                                {"uptime_s", "up for", OUTPUT_DURATION},
                                                {NULL, NULL, OUTPUT_PLAIN}};
    static const struct output_column nodes[] = {{"name", "node", OUTPUT_PLAIN},
                                                 {"role", "role", OUTPUT_ROLE},
                                                 {"state", "state", OUTPUT_PLAIN},
                                                 {"leader", "leader", OUTPUT_PLAIN},
                                                 {"address", "address", OUTPUT_PLAIN},
                                                 {"version", "version", OUTPUT_PLAIN},
                                                 {NULL, NULL, OUTPUT_PLAIN}};
    static const struct output_column vips[] = {{"address", "virtual ip", OUTPUT_PLAIN},
                                                {"holder", "holder", OUTPUT_PLAIN},
                                                {"problem", "problem", OUTPUT_PLAIN},
                                                {NULL, NULL, OUTPUT_PLAIN}};
    output_object(status, columns, false);
    if (!status_is_witness(status)) {
        output_object(text_get(status, "mqtt"), mqtt, false);
    }
    printf("\n");
    output_list(text_get(status, "nodes"), nodes, false);
    if (text_count(text_get(status, "vips")) > 0) {
        printf("\n");
        output_list(text_get(status, "vips"), vips, false);
    }
    printf("\n%s\n", text_string(text_get(status, "safety"), ""));
    const char *upgrade = text_string(text_get(status, "upgrade"), NULL);
    if (upgrade) {
        printf("%s\n", upgrade);
    }
    if (text_boolean(text_get(status, "stale"), false)) {
        printf("This node is cut off from the others: what it says may be old.\n");
    }
}

static int status_run(const struct cli_call *call, GError **error)
{
    const struct status_values *values = call->values;
    _cleanup_(text_freep) struct text_value *status =
        values->wait_s > 0 ? node_wait(&values->node, "/v1/status", values->wait_s, status_serves,
                                       "the node has no quorum yet", error)
                           : node_ask(&values->node, "GET", "/v1/status", NULL, error);
    if (!status) {
        return CLI_EXIT_ERROR;
    }
    if (values->node.json) {
        output_json(status);
    } else {
        status_print(status);
    }
    return 0;
}

const struct cli_command cli_status = {
    .name = "status",
    .words = "",
    .summary = "show the node, its leader and its broker",
    .example = "microcloud status\nmicrocloud status --wait 30 --json",
    .options = status_options,
    .values_bytes = sizeof(struct status_values),
    .speaks_http = true,
    .run = status_run,
};

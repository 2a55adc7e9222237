/* `microcloud discover`: which clusters and nodes are on this LAN. What is heard is what anybody
 * may say there: it is shown, and grants nothing. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/output.h"
#include "discovery/browse.h"
#include "loop/loop.h"
#include <stdio.h>

struct discover_values {
    bool json;
    double timeout_s;
};

static const struct cli_option discover_options[] = {
    {"timeout", 0, CLI_REAL, offsetof(struct discover_values, timeout_s), "SECONDS",
     "how long to listen (2)", 0.1, 60, NULL},
    {"json", 0, CLI_FLAG, offsetof(struct discover_values, json), NULL, "print JSON", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

struct hearing {
    struct loop *loop;
    struct text_value *list; /* owned */
};

static void on_found(void *owner, const struct service *service)
{
    struct hearing *hearing = owner;

    if (service->is_gone || !service->address) {
        return;
    }
    struct text_value *row = text_new_object();
    text_set_string(row, "cluster", service->cluster);
    text_set_string(row, "node", service->name);
    text_set_string(row, "id", service->node_id);
    text_set_string(row, "address", service->address);
    text_set_integer(row, "port", service->port);
    text_set_string(row, "version", service->version);
    text_append(hearing->list, row);
}

static void on_done(void *owner)
{
    struct hearing *hearing = owner;

    loop_stop(hearing->loop);
}

static int discover_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {
        {"cluster", "cluster", OUTPUT_PLAIN}, {"node", "node", OUTPUT_PLAIN},
        {"address", "address", OUTPUT_PLAIN}, {"port", "port", OUTPUT_PLAIN},
        {"version", "version", OUTPUT_PLAIN}, {NULL, NULL, OUTPUT_PLAIN}};
    const struct discover_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list = text_new_list();
    struct hearing hearing = {loop_new(), list};
    struct browse_events events = {on_found, on_done, &hearing};
    int problem = 0;

    struct browse *browse =
        browse_new(hearing.loop, (uint64_t)(values->timeout_s * 1000), &events, &problem);
    if (browse) {
        loop_run(hearing.loop);
        browse_free(browse);
    }
    loop_free(hearing.loop);
    if (problem < 0) {
        cli_fail(error, "cannot ask this LAN: %s", g_strerror(-problem));
        return CLI_EXIT_ERROR;
    }
    if (text_count(list) == 0 && !values->json) {
        fprintf(stderr,
                "no node was heard within %g s: is one running in this network, without "
                "--no-discovery, and does the network let multicast through?\n",
                values->timeout_s);
        return 0;
    }
    output_list(list, columns, values->json);
    return 0;
}

static const struct discover_values discover_defaults = {.timeout_s = 2};

const struct cli_command cli_discover = {
    .name = "discover",
    .words = "",
    .summary = "list the clusters and nodes on this LAN",
    .details = "Asks by multicast DNS, as microcloud announces itself. To join one: `microcloud "
               "token` there, `microcloud run --join TOKEN` here.",
    .example = "microcloud discover --timeout 5",
    .options = discover_options,
    .values_bytes = sizeof(struct discover_values),
    .defaults = &discover_defaults,
    .run = discover_run,
};

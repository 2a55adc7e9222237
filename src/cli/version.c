/* `microcloud version`. */
#include "cli/commands.h"
#include <stdio.h>

struct version_values {
    bool json;
};

static const struct cli_option version_options[] = {
    {"json", 0, CLI_FLAG, offsetof(struct version_values, json), NULL, "print JSON", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int version_run(const struct cli_call *call, GError **error)
{
    const struct version_values *values = call->values;
    printf(values->json ? "{\"version\": \"%s\"}\n" : "microcloud %s\n", MICROCLOUD_VERSION);
    return 0;
}

const struct cli_command cli_version = {
    .name = "version",
    .words = "",
    .summary = "print the version",
    .example = "microcloud version",
    .options = version_options,
    .values_bytes = sizeof(struct version_values),
    .run = version_run,
};

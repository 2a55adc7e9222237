/* The table of commands, in the order of the help. A command is added by its file, a line in commands.h and a line here. */
#include "cli/commands.h"

#include <string.h>

static const struct cli_command *const commands[] = {
    &cli_run,
    &cli_bench_mqtt,
    NULL,
};

const struct cli_command *const *cli_commands(void)
{
    return commands;
}

const struct cli_command *cli_command_find(const char *name, const char *verb)
{
    for (const struct cli_command *const *at = commands; *at; at++) {
        if (strcmp((*at)->name, name) == 0 && g_strcmp0((*at)->verb, verb) == 0) {
            return *at;
        }
    }
    return NULL;
}

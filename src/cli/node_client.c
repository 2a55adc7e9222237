#include "cli/commands.h"
void cli_command_options(const struct cli_command *command, const struct cli_option **tables)
{
    unsigned n = 0;
    if (command->options) tables[n++] = command->options;
    tables[n] = NULL;
}

/* Every command, each defined at the end of its own file. */
#pragma once

#include "cli/cli.h"

extern const struct cli_command cli_run;
extern const struct cli_command cli_bench_mqtt;

/* The one program: `microcloud run` is the daemon, everything else is the command line. */
#include "cli/cli.h"
#include "node/node.h"
#include <locale.h>

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    return cli_is_run(argc, argv) ? node_run(argc - 1, argv + 1) : cli_main(argc, argv);
}

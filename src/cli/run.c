/* `microcloud run` as the help and the completion know it. The daemon itself is node/, whose main
 * takes `run` before cli_main is called and reads its options by its own table; these are never
 * parsed here. */
#include "cli/commands.h"

#include "cli/error.h"

static const struct cli_option run_options[] = {
    {"data", 0, CLI_TEXT, 0, "DIR", "where everything is kept (/var/lib/microcloud)", 0, 0, NULL},
    {"name", 0, CLI_TEXT, 0, "NAME", "of this node (the host's name)", 0, 0, NULL},
    {"address", 0, CLI_TEXT, 0, "IP", "by which others reach this node", 0, 0, NULL},
    {"config", 0, CLI_TEXT, 0, "FILE", "YAML with these options (/etc/microcloud/microcloud.yml)",
     0, 0, NULL},
    {"bind", 0, CLI_TEXT, 0, "ADDR", "where the MQTT and HTTP listeners stand (every address)", 0,
     0, NULL},
    {"join", 0, CLI_TEXT, 0, "TOKEN", "join a cluster, with what `microcloud token` printed there",
     0, 0, NULL},
    {"witness", 0, CLI_FLAG, 0, NULL, "vote and keep the log, but serve no clients", 0, 0, NULL},
    {"rescue", 0, CLI_FLAG, 0, NULL,
     "the majority of the cluster is gone for good: go on alone with what this node has", 0, 0,
     NULL},
    {"peer-port", 0, CLI_TEXT, 0, "PORT", "between nodes (7474)", 0, 0, NULL},
    {"no-discovery", 0, CLI_FLAG, 0, NULL, "say nothing on the LAN about this node", 0, 0, NULL},
    {"user", 0, CLI_TEXT, 0, "NAME",
     "whom the daemon runs as when root starts it (whom DIR belongs to, but not root)", 0, 0, NULL},
    {"no-keeper", 0, CLI_FLAG, 0, NULL, "one process, which cannot hold a virtual IP", 0, 0, NULL},
    {"mqtt-port", 0, CLI_TEXT, 0, "PORT", "MQTT (1883)", 0, 0, NULL},
    {"mqtts-port", 0, CLI_TEXT, 0, "PORT", "MQTT over TLS (8883)", 0, 0, NULL},
    {"http-port", 0, CLI_TEXT, 0, "PORT", "HTTP and WebSocket (8080)", 0, 0, NULL},
    {"https-port", 0, CLI_TEXT, 0, "PORT", "the same over TLS (8443)", 0, 0, NULL},
    {"mqtt-socket", 0, CLI_TEXT, 0, "PATH", "MQTT on a Unix socket too", 0, 0, NULL},
    {"tls-cert", 0, CLI_TEXT, 0, "FILE", "certificate, PEM (made at the first start)", 0, 0, NULL},
    {"tls-key", 0, CLI_TEXT, 0, "FILE", "its key, PEM", 0, 0, NULL},
    {"tls-ca", 0, CLI_TEXT, 0, "FILE", "certificates of clients are verified against this", 0, 0,
     NULL},
    {"require-client-certificate", 0, CLI_FLAG, 0, NULL, "MQTT clients over TLS must have one", 0,
     0, NULL},
    {"proxy-protocol", 0, CLI_FLAG, 0, NULL,
     "a PROXY protocol v2 header comes first on the MQTT ports", 0, 0, NULL},
    {"log-level", 0, CLI_TEXT, 0, "LEVEL", "error, warning, info or debug (info)", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int run_elsewhere(const struct cli_call *call, GError **error)
{
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "this program was built without the daemon");
    return CLI_EXIT_ERROR;
}

const struct cli_command cli_run = {
    .name = "run",
    .words = "",
    .summary = "run the node: broker, API, console",
    .details =
        "An empty data directory founds a node; its first password is then in DIR/admin-password.",
    .example = "microcloud run --data ./data",
    .options = run_options,
    .run = run_elsewhere,
};

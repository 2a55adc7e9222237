/* The table of commands, in the order of the help. A command is added by its file, a line in
 * commands.h and a line here. */
#include "cli/commands.h"

#include <string.h>

static const struct cli_command *const commands[] = {
    &cli_run,          &cli_status,
    &cli_discover,     &cli_token,
    &cli_token_ls,     &cli_token_rm,
    &cli_ca_show,      &cli_ca_rotate,
    &cli_node_ls,      &cli_node_inspect,
    &cli_node_drain,   &cli_node_activate,
    &cli_node_promote, &cli_node_demote,
    &cli_node_label,   &cli_node_rm,
    &cli_vip_set,      &cli_vip_ls,
    &cli_vip_rm,       &cli_setting_get,
    &cli_setting_set,  &cli_user_ls,
    &cli_user_add,     &cli_user_passwd,
    &cli_user_rm,      &cli_user_import,
    &cli_acl_ls,       &cli_acl_add,
    &cli_acl_rm,       &cli_acl_import,
    &cli_client_ls,    &cli_client_inspect,
    &cli_client_kick,  &cli_topic_ls,
    &cli_topic_get,    &cli_topic_rm,
    &cli_pub,          &cli_sub,
    &cli_trace,        &cli_bench_mqtt,
    &cli_backup,       &cli_restore,
    &cli_doctor,       &cli_completion,
    &cli_version,      NULL,
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

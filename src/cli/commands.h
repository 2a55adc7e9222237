/* Every command, each defined at the end of its own file. */
#pragma once

#include "cli/cli.h"

extern const struct cli_command cli_run;
extern const struct cli_command cli_status;
extern const struct cli_command cli_setting_get;
extern const struct cli_command cli_setting_set;
extern const struct cli_command cli_user_ls;
extern const struct cli_command cli_user_add;
extern const struct cli_command cli_user_passwd;
extern const struct cli_command cli_user_rm;
extern const struct cli_command cli_user_import;
extern const struct cli_command cli_acl_ls;
extern const struct cli_command cli_acl_add;
extern const struct cli_command cli_acl_rm;
extern const struct cli_command cli_acl_import;
extern const struct cli_command cli_client_ls;
extern const struct cli_command cli_client_inspect;
extern const struct cli_command cli_client_kick;
extern const struct cli_command cli_token;
extern const struct cli_command cli_token_ls;
extern const struct cli_command cli_token_rm;
extern const struct cli_command cli_ca_show;
extern const struct cli_command cli_ca_rotate;
extern const struct cli_command cli_node_ls;
extern const struct cli_command cli_node_inspect;
extern const struct cli_command cli_node_drain;
extern const struct cli_command cli_node_activate;
extern const struct cli_command cli_node_promote;
extern const struct cli_command cli_node_demote;
extern const struct cli_command cli_node_label;
extern const struct cli_command cli_node_rm;
extern const struct cli_command cli_discover;
extern const struct cli_command cli_vip_set;
extern const struct cli_command cli_vip_ls;
extern const struct cli_command cli_vip_rm;
extern const struct cli_command cli_topic_ls;
extern const struct cli_command cli_topic_get;
extern const struct cli_command cli_topic_rm;
extern const struct cli_command cli_pub;
extern const struct cli_command cli_sub;
extern const struct cli_command cli_trace;
extern const struct cli_command cli_bench_mqtt;
extern const struct cli_command cli_backup;
extern const struct cli_command cli_restore;
extern const struct cli_command cli_doctor;
extern const struct cli_command cli_completion;
extern const struct cli_command cli_version;

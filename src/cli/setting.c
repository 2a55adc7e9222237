/* `microcloud setting get|set`: what is true for the whole cluster. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include <stdio.h>

static const struct output_column list_columns[] = {
    {"key", "key", OUTPUT_PLAIN},         {"value", "value", OUTPUT_PLAIN},
    {"default", "default", OUTPUT_PLAIN}, {"unit", "unit", OUTPUT_PLAIN},
    {"meaning", "meaning", OUTPUT_PLAIN}, {NULL, NULL, OUTPUT_PLAIN}};

static int setting_get_run(const struct cli_call *call, GError **error)
{
    const struct node_values *values = call->values;
    bool is_one = call->word_count > 0;
    g_autofree char *path =
        is_one ? node_path("/v1/settings/", call->words[0], "") : g_strdup("/v1/settings");
    _cleanup_(text_freep) struct text_value *answer = node_ask(values, "GET", path, NULL, error);
    if (!answer) {
        return CLI_EXIT_ERROR;
    }
    if (!is_one) {
        output_list(answer, list_columns, values->json);
    } else if (values->json) {
        output_json(answer);
    } else {
        printf("%s\n", text_string(text_get(answer, "value"), ""));
    }
    return 0;
}

static int setting_set_run(const struct cli_call *call, GError **error)
{
    g_autofree char *path = node_path("/v1/settings/", call->words[0], "");
    _cleanup_(text_freep) struct text_value *body = text_new_object();
    text_set_string(body, "value", call->words[1]);
    _cleanup_(text_freep) struct text_value *answer =
        node_ask(call->values, "PUT", path, body, error);
    return answer ? 0 : CLI_EXIT_ERROR;
}

const struct cli_command cli_setting_get = {
    .name = "setting",
    .verb = "get",
    .words = "[KEY]",
    .summary = "print one setting, or all with their meaning",
    .example = "microcloud setting get mqtt.anonymous\nmicrocloud setting get --json",
    .values_bytes = sizeof(struct node_values),
    .words_max = 1,
    .speaks_http = true,
    .run = setting_get_run,
};

const struct cli_command cli_setting_set = {
    .name = "setting",
    .verb = "set",
    .words = "KEY VALUE",
    .summary = "change a setting of the whole cluster",
    .example = "microcloud setting set mqtt.anonymous off",
    .values_bytes = sizeof(struct node_values),
    .words_min = 2,
    .words_max = 2,
    .speaks_http = true,
    .run = setting_set_run,
};

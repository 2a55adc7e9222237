/* `microcloud topic ls|get|rm`: retained messages. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include <stdio.h>

static int topic_ls_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {
        {"topic", "topic", OUTPUT_PLAIN},     {"qos", "qos", OUTPUT_PLAIN},
        {"bytes", "bytes", OUTPUT_PLAIN},     {"expires_unix_ms", "expires", OUTPUT_TIME},
        {"payload", "payload", OUTPUT_PLAIN}, {NULL, NULL, OUTPUT_PLAIN}};
    const struct node_values *values = call->values;
    g_autofree char *path =
        node_path("/v1/topics?filter=", call->word_count > 0 ? call->words[0] : "#", "");
    _cleanup_(text_freep) struct text_value *list = node_ask(values, "GET", path, NULL, error);
    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, columns, values->json);
    return 0;
}

static int topic_get_run(const struct cli_call *call, GError **error)
{
    const struct node_values *values = call->values;
    g_autofree char *path = node_path("/v1/topics/", call->words[0], "");
    _cleanup_(text_freep) struct text_value *message = node_ask(values, "GET", path, NULL, error);
    if (!message) {
        return CLI_EXIT_ERROR;
    }
    const char *base64 = text_string(text_get(message, "payload_base64"), NULL);
    if (values->json) {
        output_json(message);
    } else if (base64) {
        gsize length;
        g_autofree guchar *bytes = g_base64_decode(base64, &length);
        fwrite(bytes, 1, length, stdout);
    } else {
        printf("%s\n", text_string(text_get(message, "payload"), ""));
    }
    return 0;
}

static int topic_rm_run(const struct cli_call *call, GError **error)
{
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path = node_path("/v1/topics/", call->words[i], "");
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, "DELETE", path, NULL, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

const struct cli_command cli_topic_ls = {
    .name = "topic",
    .verb = "ls",
    .words = "[FILTER]",
    .summary = "list retained messages",
    .example = "microcloud topic ls 'home/#'",
    .values_bytes = sizeof(struct node_values),
    .words_max = 1,
    .speaks_http = true,
    .run = topic_ls_run,
};

const struct cli_command cli_topic_get = {
    .name = "topic",
    .verb = "get",
    .words = "TOPIC",
    .summary = "print a retained message",
    .example = "microcloud topic get home/temperature",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = topic_get_run,
};

const struct cli_command cli_topic_rm = {
    .name = "topic",
    .verb = "rm",
    .words = "TOPIC...",
    .summary = "remove retained messages",
    .example = "microcloud topic rm home/temperature",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1000,
    .speaks_http = true,
    .run = topic_rm_run,
};

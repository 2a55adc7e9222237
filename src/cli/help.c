/* Help: of the program, of a command with verbs, of one command. scripts/manpages makes the man
 * pages from these texts, so their form is fixed: "Usage:", "Options:", "Example:" at the beginning
 * of a line. */
#include "cli/cli.h"

#include <string.h>

static const struct cli_option help_options[] = {
    {"help", 0, CLI_FLAG, 0, NULL, "show this help", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static void help_line(GString *to, const struct cli_command *command)
{
    g_autofree char *left = g_strdup_printf("%s%s%s%s%s", command->name, command->verb ? " " : "",
                                            command->verb ? command->verb : "",
                                            *command->words ? " " : "", command->words);
    g_string_append_printf(
        to, strlen(left) < 34 ? "  %-34s %s\n" : "  %s\n                                     %s\n",
        left, command->summary);
}

static void help_program(GString *to)
{
    g_string_append(to, "Usage: microcloud COMMAND [OPTIONS]\n\nAn IoT cloud of your own: MQTT "
                        "broker and durable state in one program.\n\nCommands:\n");
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        help_line(to, *at);
    }
    g_string_append(
        to, "\n`microcloud COMMAND --help` tells more. A command finds its node by --host URL "
            "(unix:PATH, http://… or https://…),\n"
            "else --data DIR's api.sock, else $MICROCLOUD_HOST, else /run/microcloud/api.sock.\n"
            "\nExample:\n  microcloud run --data ./data\n  microcloud status\n");
}

static void help_command(GString *to, const struct cli_command *command)
{
    const struct cli_option *tables[5];
    cli_command_options(command, tables);
    unsigned count = 0;
    while (tables[count]) {
        count++;
    }
    tables[count] = help_options;
    tables[count + 1] = NULL;
    g_string_append_printf(to, "Usage: microcloud %s%s%s [OPTIONS]%s%s\n\n", command->name,
                           command->verb ? " " : "", command->verb ? command->verb : "",
                           *command->words ? " " : "", command->words);
    g_string_append_printf(to, "%c%s.\n", g_ascii_toupper(command->summary[0]),
                           command->summary + 1);
    if (command->details) {
        g_string_append_printf(to, "\n%s\n", command->details);
    }
    g_string_append(to, "\nOptions:\n");
    cli_options_help(tables, to);
    g_string_append(to, "\nExample:\n");
    g_auto(GStrv) lines = g_strsplit(command->example, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_string_append_printf(to, "  %s\n", *line);
    }
}

static void help_verbs(GString *to, const char *name)
{
    g_string_append_printf(to, "Usage: microcloud %s VERB [OPTIONS]\n\nCommands:\n", name);
    const struct cli_command *first = NULL;
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        if (strcmp((*at)->name, name) == 0) {
            first = first ? first : *at;
            help_line(to, *at);
        }
    }
    g_string_append_printf(to, "\n`microcloud %s VERB --help` tells more.\n\nExample:\n", name);
    const char *example = first ? first->example : "";
    g_string_append_printf(to, "  %.*s\n", (int)strcspn(example, "\n"), example);
}

char *cli_help(const char *name, const char *verb)
{
    GString *to = g_string_new(NULL);
    const struct cli_command *command = name ? cli_command_find(name, verb) : NULL;
    if (!name) {
        help_program(to);
    } else if (command) {
        help_command(to, command);
    } else {
        help_verbs(to, name);
    }
    return g_string_free(to, FALSE);
}

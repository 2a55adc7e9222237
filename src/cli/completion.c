/* `microcloud completion bash|zsh|fish`: scripts made from the table of commands, so that they can
 * never be out of date. */
#include "cli/commands.h"
#include "cli/error.h"
#include <stdio.h>
#include <string.h>

/* All options of a command, "--name" and "-x", divided by blanks. */
static char *completion_options(const struct cli_command *command)
{
    const struct cli_option *tables[4];
    GString *list = g_string_new("--help");
    cli_command_options(command, tables);
    for (unsigned i = 0; tables[i]; i++) {
        for (const struct cli_option *option = tables[i]; option->name; option++) {
            g_string_append_printf(list, " --%s", option->name);
            if (option->letter) {
                g_string_append_printf(list, " -%c", option->letter);
            }
        }
    }
    return g_string_free(list, FALSE);
}

/* The words to choose from where the command takes one of them ("bash|zsh|fish"); else nothing. */
static char *completion_choices(const struct cli_command *command)
{
    g_auto(GStrv) choices = g_strsplit(command->words, "|", -1);
    return g_strv_length(choices) > 1 ? g_strjoinv(" ", choices) : g_strdup("");
}

/* Names of commands, or verbs of `name`, each once. */
static char *completion_words(const char *name)
{
    GString *list = g_string_new(NULL);
    const char *last = "";
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        const char *word = name ? (*at)->verb : (*at)->name;
        bool is_of_name = !name || (strcmp((*at)->name, name) == 0 && word);
        if (is_of_name && strcmp(word, last) != 0) {
            g_string_append_printf(list, "%s%s", list->len > 0 ? " " : "", word);
            last = word;
        }
    }
    return g_string_free(list, FALSE);
}

static bool is_first_of_name(const struct cli_command *const *at)
{
    return at == cli_commands() || strcmp((*at)->name, at[-1]->name) != 0;
}

static void completion_bash(void)
{
    g_autofree char *names = completion_words(NULL);
    printf("_microcloud() {\n"
           "    local word=\"${COMP_WORDS[COMP_CWORD]}\" words=\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"%s\"\n"
           "    else case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n",
           names);
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        g_autofree char *options = completion_options(*at);
        g_autofree char *choices = completion_choices(*at);
        printf("        \"%s %s\"*) words=\"%s%s%s\" ;;\n", (*at)->name,
               (*at)->verb ? (*at)->verb : "", choices, *choices ? " " : "", options);
    }
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        if ((*at)->verb && is_first_of_name(at)) {
            g_autofree char *verbs = completion_words((*at)->name);
            printf("        \"%s \"*) words=\"%s\" ;;\n", (*at)->name, verbs);
        }
    }
    printf("        esac\n"
           "    fi\n"
           "    if [[ \"$word\" != -* && -n \"$word\" && \"$COMP_CWORD\" -gt 2 ]]; then mapfile -t "
           "COMPREPLY < <(compgen -f -- \"$word\")\n"
           "    else mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\"); fi\n"
           "}\n"
           "complete -o default -F _microcloud microcloud\n");
}

static void completion_zsh(void)
{
    printf("#compdef microcloud\nautoload -U +X bashcompinit && bashcompinit\n");
    completion_bash();
}

static void completion_fish_options(const struct cli_command *command, const char *condition)
{
    const struct cli_option *tables[4];
    cli_command_options(command, tables);
    for (unsigned i = 0; tables[i]; i++) {
        for (const struct cli_option *option = tables[i]; option->name; option++) {
            g_autofree char *letter =
                option->letter ? g_strdup_printf(" -s %c", option->letter) : g_strdup("");
            g_autofree char *meaning = g_strescape(option->meaning, NULL);
            printf("complete -c microcloud -n '%s' -l %s%s%s -d \"%s\"\n", condition, option->name,
                   letter, option->argument ? " -r" : "", meaning);
        }
    }
}

static void completion_fish(void)
{
    printf("complete -c microcloud -f\n");
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        const struct cli_command *command = *at;
        g_autofree char *condition = NULL;
        if (is_first_of_name(at)) {
            printf("complete -c microcloud -n __fish_use_subcommand -a %s -d \"%s\"\n",
                   command->name, command->verb ? command->name : command->summary);
        }
        if (command->verb) {
            g_autofree char *verbs = completion_words(command->name);
            printf("complete -c microcloud -n '__fish_seen_subcommand_from %s; and not "
                   "__fish_seen_subcommand_from %s' -a %s -d \"%s\"\n",
                   command->name, verbs, command->verb, command->summary);
            condition = g_strdup_printf(
                "__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s", command->name,
                command->verb);
        } else {
            condition = g_strdup_printf("__fish_seen_subcommand_from %s", command->name);
        }
        completion_fish_options(command, condition);
        g_autofree char *choices = completion_choices(command);
        if (*choices) {
            printf("complete -c microcloud -n '%s' -a \"%s\"\n", condition, choices);
        }
    }
}

static int completion_run(const struct cli_call *call, GError **error)
{
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", completion_bash}, {"zsh", completion_zsh}, {"fish", completion_fish}};
    for (unsigned i = 0; i < G_N_ELEMENTS(shells); i++) {
        if (strcmp(shells[i].shell, call->words[0]) == 0) {
            shells[i].print();
            return 0;
        }
    }
    cli_fail_usage(error, "the shell must be bash, zsh or fish, got '%s'", call->words[0]);
    return CLI_EXIT_USAGE;
}

const struct cli_command cli_completion = {
    .name = "completion",
    .words = "bash|zsh|fish",
    .summary = "print a completion script for a shell",
    .example = "source <(microcloud completion bash)\nmicrocloud completion fish > "
               "~/.config/fish/completions/microcloud.fish",
    .words_min = 1,
    .words_max = 1,
    .run = completion_run,
};

/* Finds the command, takes its words apart, runs it, and prints what went wrong as `microcloud:
 * <what>: <why>`. */
#include "cli/commands.h"

#include "cli/error.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static bool cli_has_name(const char *name)
{
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        if (strcmp((*at)->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* --help is asked for before "--" and, for commands whose -h is no host, as -h too. */
static bool cli_wants_help(const struct cli_command *command, char **argv)
{
    for (char **at = argv + 1; *at && strcmp(*at, "--") != 0; at++) {
        if (strcmp(*at, "--help") == 0 ||
            (strcmp(*at, "-h") == 0 &&
             !(command && (command->takes_host_letter || command->speaks_mqtt)))) {
            return true;
        }
    }
    return false;
}

bool cli_is_run(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "run") == 0 && !cli_wants_help(NULL, argv + 1);
}

static int cli_print_help(const char *name, const char *verb)
{
    g_autofree char *text = cli_help(name, verb);
    fputs(text, stdout);
    return 0;
}

static int cli_usage_error(const char *what, const char *why)
{
    fprintf(stderr, "microcloud: %s: %s\n", what, why);
    return CLI_EXIT_USAGE;
}

static int cli_check_words(const struct cli_command *command, const GPtrArray *words,
                           GError **error)
{
    if (words->len < command->words_min) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "%s is missing; see --help", command->words);
        return -1;
    }
    if (words->len > command->words_max) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "'%s' is too much; see --help",
                    (const char *)g_ptr_array_index(words, command->words_max));
        return -1;
    }
    return 0;
}

/* argv[0] is the last word of the command's name. */
static int cli_call_command(const struct cli_command *command, int argc, char **argv)
{
    g_autofree char *what = g_strdup_printf("%s%s%s", command->name, command->verb ? " " : "",
                                            command->verb ? command->verb : "");
    g_autofree void *values = g_malloc0(MAX(command->values_bytes, sizeof(void *)));
    if (command->defaults) {
        memcpy(values, command->defaults, command->values_bytes);
    }
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    const struct cli_option *tables[4];
    cli_command_options(command, tables);
    int status;
    if (cli_options_parse(tables, values, argc, argv, words, &error) < 0 ||
        cli_check_words(command, words, &error) < 0) {
        status = cli_usage_error(what, error->message);
    } else {
        struct cli_call call = {command, values, (char **)words->pdata, words->len};
        status = command->run(&call, &error);
        if (error) {
            fprintf(stderr, "microcloud: %s: %s\n", what, error->message);
            status = error->code == CLI_ERROR_USAGE ? CLI_EXIT_USAGE : CLI_EXIT_ERROR;
        }
    }
    cli_options_free(tables, values);
    return status;
}

/* `microcloud help NAME [VERB]`, `microcloud --help`. */
static int cli_help_of(int argc, char **argv)
{
    const char *name = argc > 2 && cli_has_name(argv[2]) ? argv[2] : NULL;
    const char *verb = argc > 3 && name && cli_command_find(name, argv[3]) ? argv[3] : NULL;
    return cli_print_help(name, verb);
}

static int cli_verb_error(const char *name, const char *verb)
{
    g_autofree char *why =
        verb ? g_strdup_printf("unknown verb '%s'; see microcloud %s --help", verb, name)
             : g_strdup_printf("a verb is missing; see microcloud %s --help", name);
    return cli_usage_error(name, why);
}

/* `name` is there; argv[1] stands for it. */
static int cli_run_name(const char *name, int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[2] : NULL;
    const struct cli_command *command = verb ? cli_command_find(name, verb) : NULL;
    int taken = command ? 2 : 1;
    if (!command) {
        command = cli_command_find(name, NULL);
    }
    if (cli_wants_help(command, argv + taken)) {
        return cli_print_help(name, command ? command->verb : NULL);
    }
    return command ? cli_call_command(command, argc - taken, argv + taken)
                   : cli_verb_error(name, verb);
}

/* What was printed must have arrived. A reader that has seen enough (`| head`) is no error worth a
 * word. */
static int cli_finish_output(int status)
{
    bool has_failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !has_failed) {
        return status;
    }
    if (errno != 0 && errno != EPIPE) {
        fprintf(stderr, "microcloud: standard output: %s\n", g_strerror(errno));
    }
    return status == 0 ? CLI_EXIT_ERROR : status;
}

static int cli_do(int argc, char **argv)
{
    if (argc < 2) {
        g_autofree char *text = cli_help(NULL, NULL);
        fputs(text, stderr);
        return CLI_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        return cli_help_of(argc, argv);
    }
    name = strcmp(name, "--version") == 0 ? "version" : name;
    return cli_has_name(name) ? cli_run_name(name, argc, argv)
                              : cli_usage_error(name, "unknown command; see microcloud --help");
}

int cli_main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    return cli_finish_output(cli_do(argc, argv));
}

/* The command line: one constant table of commands, from which help, completion and man pages are
 * made too. Everything but `run` is a client: of the HTTP API, or of the broker over MQTT. */
#pragma once

#include "cli/option.h"
#include <glib.h>
#include <stdbool.h>

struct cli_command;

/* A command with its words taken apart. */
struct cli_call {
    const struct cli_command *command;
    const void *values; /* what command->options were parsed into */
    char **words;       /* what was not an option */
    unsigned word_count;
};

struct cli_command {
    const char *name;                 /* "user" */
    const char *verb;                 /* "add", or NULL */
    const char *words;                /* "NAME", for the help; "" for none */
    const char *summary;              /* one line */
    const char *details;              /* more, or NULL */
    const char *example;              /* with its command line whole; lines are divided by \n */
    const struct cli_option *options; /* ends with an entry without name */
    size_t values_bytes;
    const void *defaults; /* `values` before the options; NULL = zeros */
    unsigned words_min, words_max;
    bool speaks_http; /* has the options that name a node: see cli_node_options */
    bool speaks_mqtt; /* has the options of mqtt_options.h, whose values come first; its -h is the
                         broker's host */
    bool takes_host_letter; /* -h is the broker's host, as mosquitto_pub has it */
    /* Prints to stdout. Returns the exit status; with `error` set that is 1, and it is printed as
     * `microcloud: NAME: why`. */
    int (*run)(const struct cli_call *call, GError **error);
};

#define CLI_EXIT_ERROR 1
#define CLI_EXIT_USAGE 2

/* The whole program but `run`: returns the exit status. */
int cli_main(int argc, char **argv);
/* True when argv asks for the daemon itself (not for its help): `microcloud run ...`. */
bool cli_is_run(int argc, char **argv);

/* All commands in the order of the help, the verbs of one name together; ends with NULL. */
const struct cli_command *const *cli_commands(void);
/* `verb` may be NULL: then the command of that name without verbs. NULL when there is none. */
const struct cli_command *cli_command_find(const char *name, const char *verb);
/* The NULL-ended tables of a command's options; `tables` has room for four. */
void cli_command_options(const struct cli_command *command, const struct cli_option **tables);
/* The help of one command; of all verbs of `name` when `verb` is NULL and it has verbs; of the
 * program when `name` is NULL. */
char *cli_help(const char *name, const char *verb);

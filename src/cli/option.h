/* Options described by constant tables and parsed into a struct: no mutable globals, and help and
 * completion read the same table. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_TEXT,   /* const char *, of argv */
    CLI_NUMBER, /* int64_t, within least..most */
    CLI_REAL,   /* double, within least..most */
    CLI_LIST,   /* GPtrArray * of const char *: may be given several times */
    CLI_WORDS,  /* as CLI_LIST, but takes as many words as `count_words` says and keeps them joined
                   by U+001F */
};

struct cli_option {
    const char *name; /* without "--" */
    char letter;      /* or 0 */
    enum cli_kind kind;
    size_t offset;        /* of its member */
    const char *argument; /* "HOST"; NULL for a flag */
    const char *meaning;
    double least, most; /* both 0: any */
    /* CLI_WORDS: how many words of `words` belong to it; 0 = wrong usage. */
    int (*count_words)(char **words, int left);
};

#define CLI_WORDS_DELIMITER '\x1f'

/* The member of `values` for an option. */
#define CLI_MEMBER(type, values, option) ((type *)(void *)((char *)(values) + (option)->offset))

/* Parses argv[1..] after `tables` (NULL-ended list of tables). What is no option goes to `words`;
 * after "--" nothing is an option. Messages name the option and what it takes. */
int cli_options_parse(const struct cli_option *const *tables, void *values, int argc, char **argv,
                      GPtrArray *words, GError **error);
/* Frees the lists in `values`. */
void cli_options_free(const struct cli_option *const *tables, void *values);
/* Appends the table as lines of help. */
void cli_options_help(const struct cli_option *const *tables, GString *to);

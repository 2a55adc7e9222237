/* Parses options as GNU's getopt_long does: --name VALUE, --name=VALUE, -x VALUE, -xVALUE, flags
 * joined as -xyz, "--" ends them. A name must be whole: abbreviations would break scripts when an
 * option is added. */
#include "cli/option.h"

#include "cli/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct option_parse {
    const struct cli_option *const *tables;
    void *values;
    int argc;
    char **argv;
    int at; /* the next word of argv */
};

static const struct cli_option *option_find(const struct cli_option *const *tables,
                                            const char *name, size_t length, char letter)
{
    for (; *tables; tables++) {
        for (const struct cli_option *option = *tables; option->name; option++) {
            if (name ? strlen(option->name) == length && memcmp(option->name, name, length) == 0
                     : option->letter == letter) {
                return option;
            }
        }
    }
    return NULL;
}

static int option_fail(GError **error, const struct cli_option *option, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static int option_fail(GError **error, const struct cli_option *option, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    g_autofree char *why = g_strdup_vprintf(format, list);
    va_end(list);
    g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "--%s: %s", option->name, why);
    return -EINVAL;
}

static int option_set_number(const struct cli_option *option, void *values, const char *text,
                             GError **error)
{
    char *end;
    errno = 0;
    bool is_real = option->kind == CLI_REAL;
    double real = is_real ? g_ascii_strtod(text, &end) : (double)g_ascii_strtoll(text, &end, 10);
    if (end == text || *end || errno) {
        return option_fail(error, option, "must be a number, got '%s'", text);
    }
    if ((option->least != 0 || option->most != 0) &&
        !(real >= option->least && real <= option->most)) {
        return option_fail(error, option, "must be %.16g..%.16g, got %s", option->least,
                           option->most, text);
    }
    if (is_real) {
        *CLI_MEMBER(double, values, option) = real;
    } else {
        *CLI_MEMBER(gint64, values, option) = g_ascii_strtoll(text, NULL, 10);
    }
    return 0;
}

static GPtrArray *option_list(const struct cli_option *option, void *values)
{
    GPtrArray **list = CLI_MEMBER(GPtrArray *, values, option);
    if (!*list) {
        *list = g_ptr_array_new_with_free_func(g_free);
    }
    return *list;
}

static int option_set(const struct cli_option *option, void *values, const char *text,
                      GError **error)
{
    switch (option->kind) {
    case CLI_TEXT:
        *CLI_MEMBER(const char *, values, option) = text;
        return 0;
    case CLI_NUMBER:
    case CLI_REAL:
        return option_set_number(option, values, text, error);
    case CLI_LIST:
        g_ptr_array_add(option_list(option, values), g_strdup(text));
        return 0;
    default:
        return option_fail(error, option, "takes no value");
    }
}

static int option_take_words(struct option_parse *parse, const struct cli_option *option,
                             GError **error)
{
    int left = parse->argc - parse->at;
    int count = option->count_words(parse->argv + parse->at, left);
    if (count <= 0 || count > left) {
        return option_fail(error, option, "takes %s", option->argument);
    }
    GString *joined = g_string_new(parse->argv[parse->at]);
    for (int i = 1; i < count; i++) {
        g_string_append_c(joined, CLI_WORDS_DELIMITER);
        g_string_append(joined, parse->argv[parse->at + i]);
    }
    parse->at += count;
    g_ptr_array_add(option_list(option, parse->values), g_string_free(joined, FALSE));
    return 0;
}

/* `value` is what stood in the same word, or NULL. */
static int option_take(struct option_parse *parse, const struct cli_option *option,
                       const char *value, GError **error)
{
    if (option->kind == CLI_FLAG) {
        if (value) {
            return option_fail(error, option, "takes no value");
        }
        *CLI_MEMBER(bool, parse->values, option) = true;
        return 0;
    }
    if (option->kind == CLI_WORDS) {
        return option_take_words(parse, option, error);
    }
    if (!value) {
        if (parse->at == parse->argc) {
            return option_fail(error, option, "takes %s", option->argument);
        }
        value = parse->argv[parse->at++];
    }
    return option_set(option, parse->values, value, error);
}

static int option_parse_name(struct option_parse *parse, const char *name, GError **error)
{
    const char *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *option = option_find(parse->tables, name, length, 0);
    if (!option) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "unknown option '--%.*s'; see --help",
                    (int)length, name);
        return -EINVAL;
    }
    return option_take(parse, option, equals ? equals + 1 : NULL, error);
}

static int option_parse_letters(struct option_parse *parse, const char *letters, GError **error)
{
    while (*letters) {
        const struct cli_option *option = option_find(parse->tables, NULL, 0, *letters);
        if (!option) {
            g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "unknown option '-%c'; see --help",
                        *letters);
            return -EINVAL;
        }
        letters++;
        bool takes_rest = option->kind != CLI_FLAG && *letters;
        int r = option_take(parse, option, takes_rest ? letters : NULL, error);
        if (r < 0 || takes_rest) {
            return r;
        }
    }
    return 0;
}

int cli_options_parse(const struct cli_option *const *tables, void *values, int argc, char **argv,
                      GPtrArray *words, GError **error)
{
    struct option_parse parse = {tables, values, argc, argv, 1};
    bool only_words = false;
    while (parse.at < argc) {
        char *word = argv[parse.at++];
        int r = 0;
        if (only_words || word[0] != '-' || word[1] == 0) {
            g_ptr_array_add(words, word);
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
        } else if (word[1] == '-') {
            r = option_parse_name(&parse, word + 2, error);
        } else {
            r = option_parse_letters(&parse, word + 1, error);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

void cli_options_free(const struct cli_option *const *tables, void *values)
{
    for (; *tables; tables++) {
        for (const struct cli_option *option = *tables; option->name; option++) {
            if (option->kind == CLI_LIST || option->kind == CLI_WORDS) {
                GPtrArray **list = CLI_MEMBER(GPtrArray *, values, option);
                g_clear_pointer(list, g_ptr_array_unref);
            }
        }
    }
}

void cli_options_help(const struct cli_option *const *tables, GString *to)
{
    for (; *tables; tables++) {
        for (const struct cli_option *option = *tables; option->name; option++) {
            g_autoptr(GString) left = g_string_new(NULL);
            if (option->letter) {
                g_string_append_printf(left, "  -%c, --%s", option->letter, option->name);
            } else {
                g_string_append_printf(left, "      --%s", option->name);
            }
            if (option->argument) {
                g_string_append_printf(left, " %s", option->argument);
            }
            g_string_append_printf(
                to, left->len < 32 ? "%-32s %s\n" : "%s\n                                 %s\n",
                left->str, option->meaning);
        }
    }
}

/* Options as people write them. */
#include "cli/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct values {
    const char *text;
    gint64 number;
    double real;
    bool flag, other;
    GPtrArray *list, *pairs;
};

static int count_two(char **words, int left)
{
    return left >= 2 ? 2 : 0;
}

#define AT(member) offsetof(struct values, member)

static const struct cli_option options[] = {
    {"text", 't', CLI_TEXT, AT(text), "TEXT", "", 0, 0, NULL},
    {"number", 'n', CLI_NUMBER, AT(number), "N", "", 1, 10, NULL},
    {"real", 0, CLI_REAL, AT(real), "R", "", 0, 0, NULL},
    {"flag", 'f', CLI_FLAG, AT(flag), NULL, "", 0, 0, NULL},
    {"other", 'o', CLI_FLAG, AT(other), NULL, "", 0, 0, NULL},
    {"list", 'l', CLI_LIST, AT(list), "TEXT", "", 0, 0, NULL},
    {"pair", 'D', CLI_WORDS, AT(pairs), "A B", "", 0, 0, count_two},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};
static const struct cli_option *const tables[] = {options, NULL};

static int parse(struct values *values, GPtrArray *words, const char *line, GError **error)
{
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autoptr(GPtrArray) kept = g_ptr_array_new();
    int r = cli_options_parse(tables, values, (int)g_strv_length(argv), argv, kept, error);
    for (guint i = 0; words && i < kept->len; i++) {
        g_ptr_array_add(words, g_strdup(g_ptr_array_index(kept, i)));
    }
    values->text = values->text ? g_intern_string(values->text) : NULL;
    return r;
}

static void values_stand_behind_in_or_after_their_option(void **state)
{
    static const char *const lines[] = {"x --text a --number 7", "x --text=a --number=7",
                                        "x -t a -n 7", "x -ta -n7", "x -n 7 -fta"};
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        struct values values = {0};
        assert_int_equal(parse(&values, NULL, lines[i], NULL), 0);
        assert_string_equal(values.text, "a");
        assert_int_equal(values.number, 7);
    }
}

static void flags_join_and_words_are_kept_in_order(void **state)
{
    struct values values = {0};
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    assert_int_equal(parse(&values, words, "x one -fo - two -- -t", NULL), 0);
    assert_true(values.flag && values.other);
    assert_int_equal(words->len, 4);
    assert_string_equal(g_ptr_array_index(words, 1), "-");
    assert_string_equal(g_ptr_array_index(words, 3), "-t");
    assert_null(values.text);
}

static void lists_gather_and_word_options_take_several_words(void **state)
{
    struct values values = {0};
    assert_int_equal(parse(&values, NULL, "x -l a --list b -D k v --real 1.5", NULL), 0);
    assert_int_equal(values.list->len, 2);
    assert_string_equal(g_ptr_array_index(values.list, 1), "b");
    assert_string_equal(g_ptr_array_index(values.pairs, 0), "k\x1fv");
    assert_true(values.real > 1.4 && values.real < 1.6);
    cli_options_free(tables, &values);
    assert_null(values.list);
}

static void wrong_usage_is_named(void **state)
{
    static const struct {
        const char *line, *why;
    } rows[] = {
        {"x --nosuch", "unknown option '--nosuch'"},
        {"x -z", "unknown option '-z'"},
        {"x --number 11", "must be 1..10, got 11"},
        {"x -n seven", "must be a number, got 'seven'"},
        {"x --text", "takes TEXT"},
        {"x --flag=1", "takes no value"},
        {"x -D k", "takes A B"},
        {"x --tex a", "unknown option '--tex'"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct values values = {0};
        g_autoptr(GError) error = NULL;
        assert_true(parse(&values, NULL, rows[i].line, &error) < 0);
        assert_non_null(strstr(error->message, rows[i].why));
        cli_options_free(tables, &values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_stand_behind_in_or_after_their_option),
        cmocka_unit_test(flags_join_and_words_are_kept_in_order),
        cmocka_unit_test(lists_gather_and_word_options_take_several_words),
        cmocka_unit_test(wrong_usage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

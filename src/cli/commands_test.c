/* The table of commands: what every command must have. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_command_has_help_with_an_example_of_itself(void **state)
{
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        g_autofree char *help = cli_help((*at)->name, (*at)->verb);
        g_autofree char *own =
            g_strdup_printf("microcloud %s%s%s", (*at)->name, (*at)->verb ? " " : "",
                            (*at)->verb ? (*at)->verb : "");
        const char *example = strstr(help, "\nExample:\n");
        assert_true(g_str_has_prefix(help, "Usage: microcloud "));
        assert_non_null(strstr(help, "\nOptions:\n"));
        assert_non_null(example);
        assert_non_null(strstr(example, own));
    }
}

static void commands_of_one_name_stand_together_and_only_once(void **state)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const char *last = "";
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        bool is_new = strcmp((*at)->name, last) != 0;
        assert_true(!is_new || !g_hash_table_contains(names, (*at)->name));
        g_hash_table_add(names, g_strdup((*at)->name));
        assert_ptr_equal(cli_command_find((*at)->name, (*at)->verb), *at);
        last = (*at)->name;
    }
}

static void options_are_unambiguous_within_a_command(void **state)
{
    for (const struct cli_command *const *at = cli_commands(); *at; at++) {
        const struct cli_option *tables[4];
        bool letters[128] = {false};
        g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
        cli_command_options(*at, tables);
        for (unsigned i = 0; tables[i]; i++) {
            for (const struct cli_option *option = tables[i]; option->name; option++) {
                assert_true(g_hash_table_add(names, (gpointer)option->name));
                assert_false(option->letter && letters[(unsigned char)option->letter]);
                letters[(unsigned char)option->letter] = true;
                assert_true((option->kind == CLI_FLAG) == (option->argument == NULL));
                assert_true((*at)->values_bytes > option->offset ||
                            strcmp((*at)->name, "run") == 0);
            }
        }
    }
}

static int call(const char *line)
{
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    return cli_main((int)g_strv_length(argv), argv);
}

static void wrong_usage_exits_with_2_and_failure_with_1(void **state)
{
    assert_int_equal(call("microcloud"), 2);
    assert_int_equal(call("microcloud nosuch"), 2);
    assert_int_equal(call("microcloud user"), 2);
    assert_int_equal(call("microcloud user nosuch"), 2);
    assert_int_equal(call("microcloud user add"), 2);
    assert_int_equal(call("microcloud status extra"), 2);
    assert_int_equal(call("microcloud status --host ftp://x"), 2);
    assert_int_equal(call("microcloud status --host unix:/nonexistent/socket"), 1);
    assert_int_equal(call("microcloud pub -t a+b -m x"), 2);
    assert_int_equal(call("microcloud pub -t a -D publish nosuch 1 -m x -V 5"), 2);
    assert_int_equal(call("microcloud sub -t a -F %y"), 2);
    assert_int_equal(call("microcloud completion ksh"), 2);
    assert_int_equal(call("microcloud version"), 0);
}

static void only_run_without_help_is_the_daemon(void **state)
{
    char *daemon[] = {(char *)"microcloud", (char *)"run", (char *)"--data", (char *)"x", NULL};
    char *help[] = {(char *)"microcloud", (char *)"run", (char *)"--help", NULL};
    char *other[] = {(char *)"microcloud", (char *)"status", NULL};
    assert_true(cli_is_run(4, daemon));
    assert_false(cli_is_run(3, help));
    assert_false(cli_is_run(2, other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_help_with_an_example_of_itself),
        cmocka_unit_test(commands_of_one_name_stand_together_and_only_once),
        cmocka_unit_test(options_are_unambiguous_within_a_command),
        cmocka_unit_test(wrong_usage_exits_with_2_and_failure_with_1),
        cmocka_unit_test(only_run_without_help_is_the_daemon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

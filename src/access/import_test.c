/* Tests of reading mosquitto's password and ACL files. */
#include "access/import.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define HASH_64                                                                                    \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
#define RECORD "$7$101$QFcASF3O3QTtPLtF$" HASH_64

static void on_user(void *owner, const char *name, const char *record)
{
    g_string_append_printf(owner, "%s=%.3s;", name, record);
}

static void on_rule(void *owner, const char *subject, const char *action, const char *filter,
                    bool allow)
{
    g_string_append_printf(owner, "%s%s %s %s;", allow ? "" : "not ", subject, action, filter);
}

static void users(const char *text, const char *expected)
{
    g_autoptr(GString) got = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    assert_int_equal(import_passwords(text, on_user, got, &error), 0);
    assert_string_equal(got->str, expected);
}

static void rules(const char *text, const char *expected)
{
    g_autoptr(GString) got = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    assert_int_equal(import_acl(text, on_rule, got, &error), 0);
    assert_string_equal(got->str, expected);
}

static void refused(bool is_acl, const char *text, const char *part)
{
    g_autoptr(GString) got = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    int r = is_acl ? import_acl(text, on_rule, got, &error)
                   : import_passwords(text, on_user, got, &error);

    assert_true(r < 0);
    assert_non_null(strstr(error->message, part));
    assert_string_equal(got->str, ""); /* nothing of what came before */
}

static void users_are_read_with_comments_and_any_line_end(void **state)
{
    users("", "");
    users("# nobody\n\n   \n", "");
    users("ann:" RECORD "\r\nbob:" RECORD, "ann=$7$;bob=$7$;");
}

static void a_line_that_is_no_user_is_named(void **state)
{
    refused(false, "ann:" RECORD "\nbob\n", "line 2");
    refused(false, ":" RECORD, "line 1");
    refused(false, "ann:" RECORD "\n\n# x\nbob:secret\n", "line 4");
    refused(false, "ann:secret\n", "'ann'");
    refused(false, "\xff:" RECORD, "UTF-8");
}

static void a_password_is_never_in_the_message(void **state)
{
    g_autoptr(GString) got = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    assert_true(import_passwords("ann:open-sesame\n", on_user, got, &error) < 0);
    assert_null(strstr(error->message, "sesame"));
}

static void rules_are_of_the_user_above_them(void **state)
{
    rules("topic read a\nuser ann\ntopic b\ntopic write c/#\nuser bob\ntopic deny d\n",
          "anonymous read a;user:ann readwrite b;user:ann write c/#;not user:bob readwrite d;");
}

static void patterns_are_for_everybody_wherever_they_stand(void **state)
{
    rules("user ann\npattern read state/%c\npattern own/%u/#\n",
          "* read state/%c;* readwrite own/%u/#;");
}

static void names_and_filters_may_hold_spaces(void **state)
{
    rules("user  ann smith \ntopic  read  a b/c d \ntopic reading room\n",
          "user:ann smith read a b/c d;user:ann smith readwrite reading room;");
}

static void a_line_that_is_no_rule_is_named(void **state)
{
    refused(true, "topic a\nallow a\n", "line 2");
    refused(true, "topic read a/#/b\n", "a/#/b");
    refused(true, "topic\n", "line 1");
    refused(true, "user ann\n\ntopic write a#\n", "line 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_are_read_with_comments_and_any_line_end),
        cmocka_unit_test(a_line_that_is_no_user_is_named),
        cmocka_unit_test(a_password_is_never_in_the_message),
        cmocka_unit_test(rules_are_of_the_user_above_them),
        cmocka_unit_test(patterns_are_for_everybody_wherever_they_stand),
        cmocka_unit_test(names_and_filters_may_hold_spaces),
        cmocka_unit_test(a_line_that_is_no_rule_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

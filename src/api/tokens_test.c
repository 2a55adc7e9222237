/* Logins: what a token opens, and for how long. */
#include "api/tokens.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct identity anna = {"anna", ROLE_VIEWER};

static void a_token_names_its_user_until_it_expires(void **unused)
{
    struct api_tokens *tokens = api_tokens_new();
    g_autofree char *token = api_tokens_add(tokens, &anna, 1000);

    assert_int_equal(strlen(token), 64);
    assert_string_equal(api_tokens_find(tokens, token, 1000), "anna");
    assert_non_null(api_tokens_find(tokens, token, 999 + API_TOKEN_SECONDS * 1000ull));
    assert_null(api_tokens_find(tokens, token, 1000 + API_TOKEN_SECONDS * 1000ull));
    api_tokens_free(tokens);
}

static void a_token_that_was_given_back_opens_nothing(void **unused)
{
    struct api_tokens *tokens = api_tokens_new();
    g_autofree char *first = api_tokens_add(tokens, &anna, 0);
    g_autofree char *second = api_tokens_add(tokens, &anna, 0);

    assert_string_not_equal(first, second);
    api_tokens_remove(tokens, first);
    assert_null(api_tokens_find(tokens, first, 1));
    assert_non_null(api_tokens_find(tokens, second, 1));
    assert_null(api_tokens_find(tokens, "", 1));
    api_tokens_free(tokens);
}

static void the_tokens_of_one_user_end_together(void **unused)
{
    static const struct identity berta = {"berta", ROLE_ADMIN};
    struct api_tokens *tokens = api_tokens_new();
    g_autofree char *first = api_tokens_add(tokens, &anna, 0);
    g_autofree char *second = api_tokens_add(tokens, &anna, 0);
    g_autofree char *other = api_tokens_add(tokens, &berta, 0);

    api_tokens_remove_user(tokens, "anna");
    assert_null(api_tokens_find(tokens, first, 1));
    assert_null(api_tokens_find(tokens, second, 1));
    assert_non_null(api_tokens_find(tokens, other, 1));
    api_tokens_free(tokens);
}

static void logins_are_limited_and_the_expired_make_room(void **unused)
{
    struct api_tokens *tokens = api_tokens_new();
    unsigned count = 0;

    for (char *token; count < 100000 && (token = api_tokens_add(tokens, &anna, 0)); count++) {
        g_free(token);
    }
    assert_int_equal(count, API_TOKENS_MAX);
    g_autofree char *late = api_tokens_add(tokens, &anna, API_TOKEN_SECONDS * 1000ull);
    assert_non_null(late);
    api_tokens_free(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_names_its_user_until_it_expires),
        cmocka_unit_test(a_token_that_was_given_back_opens_nothing),
        cmocka_unit_test(the_tokens_of_one_user_end_together),
        cmocka_unit_test(logins_are_limited_and_the_expired_make_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

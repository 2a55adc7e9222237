/* Tokens and addresses: there and back, and what is wrong with those that are none. */
#include "cluster/token.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define CLUSTER "0f8fad5b-d9cb-469f-a165-70867728950e"

static struct token a_token(void)
{
    const char *const addresses[] = {"192.0.2.1:7474", "[2001:db8::1]:7474", "box.lan:7474", NULL};
    uint8_t fingerprint[CA_FINGERPRINT_BYTES];
    struct token token;

    memset(fingerprint, 0xfb, sizeof fingerprint);
    token_make(&token, CLUSTER, fingerprint, addresses);
    return token;
}

static void a_token_comes_back_as_it_was(void **state)
{
    struct token token = a_token(), back;
    g_autofree char *text = token_format(&token);
    g_autofree char *padded = g_strdup_printf("  %s\n", text);
    g_autoptr(GError) error = NULL;

    assert_true(g_str_has_prefix(text, "mc1."));
    assert_null(strpbrk(text, "+/= "));
    assert_int_equal(token_parse(padded, &back, &error), 0);
    assert_string_equal(back.cluster, CLUSTER);
    assert_true(back.id == token.id && back.id != 0);
    assert_memory_equal(back.secret, token.secret, TOKEN_SECRET_BYTES);
    assert_memory_equal(back.fingerprint, token.fingerprint, CA_FINGERPRINT_BYTES);
    assert_int_equal(g_strv_length(back.addresses), 3);
    assert_string_equal(back.addresses[1], "[2001:db8::1]:7474");
    token_deinit(&token);
    token_deinit(&back);
}

static void refused(const char *text, const char *why)
{
    g_autoptr(GError) error = NULL;
    struct token token;

    assert_int_equal(token_parse(text, &token, &error), -EINVAL);
    if (!strstr(error->message, why)) {
        fail_msg("'%s': said \"%s\", not \"%s\"", text, error->message, why);
    }
}

static void what_is_no_token_is_told_apart(void **state)
{
    struct token token = a_token();
    g_autofree char *text = token_format(&token);
    g_autofree char *half = g_strndup(text, strlen(text) / 2);
    g_autofree char *most = g_strndup(text, strlen(text) - 3);
    g_autofree char *mistyped = g_strdup(text);
    g_autofree char *later = g_strdup(text);

    mistyped[20] = mistyped[20] == 'A' ? 'B' : 'A';
    later[2] = '2';
    refused("", "begins with");
    refused("hello", "begins with");
    refused(half, "incomplete");
    refused(most, "incomplete");
    refused(mistyped, "incomplete or mistyped");
    refused(later, "newer version");
    refused("mc1.", "incomplete");
    refused("mc1.ab cd", "characters");
    token_deinit(&token);
}

static void every_cut_and_every_changed_byte_is_noticed(void **state)
{
    struct token token = a_token(), back;
    g_autofree char *text = token_format(&token);

    for (size_t length = 0; length < strlen(text); length++) {
        g_autofree char *cut = g_strndup(text, length);
        assert_true(token_parse(cut, &back, NULL) < 0);
        g_autofree char *changed = g_strdup(text);
        changed[length] = changed[length] == 'x' ? 'y' : 'x';
        if (length + 1 < strlen(text)) { /* the last may hold bits that are not used */
            assert_true(token_parse(changed, &back, NULL) < 0);
        }
    }
    token_deinit(&token);
}

static void the_hash_depends_on_id_and_secret(void **state)
{
    uint8_t secret[TOKEN_SECRET_BYTES] = {1}, a[32], b[32], c[32];

    token_hash(1, secret, a);
    token_hash(2, secret, b);
    secret[15] = 1;
    token_hash(1, secret, c);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
}

static void two_tokens_are_never_the_same(void **state)
{
    struct token a = a_token(), b = a_token();

    assert_true(a.id != b.id);
    assert_memory_not_equal(a.secret, b.secret, TOKEN_SECRET_BYTES);
    token_deinit(&a);
    token_deinit(&b);
}

static void addresses_are_split_and_joined(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", 7474},
        {"192.0.2.1:80", "192.0.2.1", 80},
        {"box.lan:65535", "box.lan", 65535},
        {"[2001:db8::1]:81", "2001:db8::1", 81},
        {"[2001:db8::1]", "2001:db8::1", 7474},
        {"2001:db8::1", "2001:db8::1", 7474},
        {"192.0.2.1:0", NULL, 0},
        {"192.0.2.1:65536", NULL, 0},
        {"", NULL, 0},
        {":7474", NULL, 0},
        {"[2001:db8::1", NULL, 0},
        {"[::1]x", NULL, 0},
        {"a b:80", NULL, 0},
        {"host:", NULL, 0},
        {"[]:80", NULL, 0},
        {"a/b", NULL, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *host = NULL;
        g_autoptr(GError) error = NULL;
        uint16_t port = 7474;
        int r = address_split(cases[i].text, &host, &port, &error);
        if (!cases[i].host) {
            assert_int_equal(r, -EINVAL);
            assert_non_null(error);
            continue;
        }
        assert_int_equal(r, 0);
        assert_string_equal(host, cases[i].host);
        assert_int_equal(port, cases[i].port);
    }
    g_autofree char *ip6 = address_join("::1", 1), *ip4 = address_join("127.0.0.1", 2);
    assert_string_equal(ip6, "[::1]:1");
    assert_string_equal(ip4, "127.0.0.1:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_token_is_told_apart),
        cmocka_unit_test(every_cut_and_every_changed_byte_is_noticed),
        cmocka_unit_test(the_hash_depends_on_id_and_secret),
        cmocka_unit_test(two_tokens_are_never_the_same),
        cmocka_unit_test(addresses_are_split_and_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

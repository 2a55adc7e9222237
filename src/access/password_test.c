/* Tests of password records: ours, and those of mosquitto_passwd. */
#include "access/password.h"
#include "access/access.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* mosquitto_passwd 2.0.11: `-b FILE NAME secret`, and with `-H sha512`. */
#define RECORD_7                                                                                   \
    "$7$101$QFcASF3O3QTtPLtF$oaBv7h8e4tA5Y8qnMm8+C7bkVFUSYGGZuvRPNBAlHzOwbSxqmhJtLWuFAwmG+fN"      \
    "yB8bLBk0dRpHiPlVVFqX8Yg=="

static bool verify(const char *record, const char *password)
{
    return password_verify(record, bytes_from_string(password));
}

static void a_record_knows_its_password(void **state)
{
    g_autofree char *record = password_record_new("open sesame");

    assert_true(password_record_is_valid(record));
    assert_true(verify(record, "open sesame"));
    assert_false(verify(record, "open sesam"));
    assert_false(verify(record, "open sesame "));
    assert_false(verify(record, ""));
    assert_null(strstr(record, "sesame"));
}

static void the_same_password_makes_another_record(void **state)
{
    g_autofree char *one = password_record_new("x"), *two = password_record_new("x");

    assert_string_not_equal(one, two);
    assert_true(verify(one, "x"));
    assert_true(verify(two, "x"));
}

static void a_password_may_hold_anything_but_its_length_counts(void **state)
{
    g_autofree char *record = password_record_new("a");

    assert_false(password_verify(record, (struct bytes){(const uint8_t *)"a\0b", 3}));
    assert_true(password_verify(record, (struct bytes){(const uint8_t *)"a\0b", 1}));
}

/* $6$: SHA512(password, salt), as mosquitto wrote it before 2.0. */
static void a_record_of_old_mosquitto_is_known(void **state)
{
    static const uint8_t salt[12] = "twelve bytes";
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA512);
    uint8_t digest[64];
    gsize length = sizeof digest;

    g_checksum_update(sum, (const guchar *)"secret", 6);
    g_checksum_update(sum, salt, sizeof salt);
    g_checksum_get_digest(sum, digest, &length);
    g_autofree char *salt_text = g_base64_encode(salt, sizeof salt);
    g_autofree char *hash_text = g_base64_encode(digest, sizeof digest);
    g_autofree char *record = g_strdup_printf("$6$%s$%s", salt_text, hash_text);

    assert_true(password_record_is_valid(record));
    assert_true(verify(record, "secret"));
    assert_false(verify(record, "secret!"));
}

static void what_is_no_record_lets_nobody_in(void **state)
{
    static const char *const broken[] = {
        "",
        "secret",
        "$",
        "$7$",
        "$7$101",
        "$7$101$",
        "$7$101$QFcA",
        "$7$101$QFcA$",
        "$7$0$QFcA$AAAA",
        "$7$-1$QFcA$AAAA",
        "$7$99999999999$QFcA$AAAA",
        "$7$101$$AAAA",
        "$7$101$QFcA$AAAA",
        "$6$QFcA$AAAA",
        "$6$$",
        "$5$QFcA$AAAA",
        "$7$x$QFcA$AAAA",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(broken); i++) {
        assert_false(password_record_is_valid(broken[i]));
        assert_false(verify(broken[i], "secret"));
        assert_false(verify(broken[i], ""));
    }
}

static void a_record_has_keys_for_scram(void **state)
{
    g_autofree char *record = password_record_new("pencil");
    struct scram_keys keys, again;

    assert_true(password_record_scram(record, &keys));
    scram_derive(bytes_from_string("pencil"), keys.salt, keys.salt_bytes, keys.iterations, &again);
    assert_memory_equal(keys.stored, again.stored, SHA256_BYTES);
    assert_memory_equal(keys.server, again.server, SHA256_BYTES);
    assert_false(password_record_scram(RECORD_7, &keys));
    assert_false(password_record_scram("$7$101$QFcA$AAAA scram:1:x", &keys));
}

/* RFC 7677, 3: user "user", password "pencil". The proof there is checked by way of the keys. */
static void the_keys_are_those_of_the_rfc(void **state)
{
    gsize salt_bytes;
    g_autofree guchar *salt = g_base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", &salt_bytes);
    struct scram_keys keys;
    static const char message[] =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)"
        "hNlF$k0";

    scram_derive(bytes_from_string("pencil"), salt, salt_bytes, 4096, &keys);
    g_autoptr(GHmac) hmac = g_hmac_new(G_CHECKSUM_SHA256, keys.server, SHA256_BYTES);
    uint8_t signature[SHA256_BYTES];
    gsize length = sizeof signature;
    g_hmac_update(hmac, (const guchar *)message, sizeof message - 1);
    g_hmac_get_digest(hmac, signature, &length);
    g_autofree char *text = g_base64_encode(signature, length);
    assert_string_equal(text, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_knows_its_password),
        cmocka_unit_test(the_same_password_makes_another_record),
        cmocka_unit_test(a_password_may_hold_anything_but_its_length_counts),
        cmocka_unit_test(a_record_of_old_mosquitto_is_known),
        cmocka_unit_test(what_is_no_record_lets_nobody_in),
        cmocka_unit_test(a_record_has_keys_for_scram),
        cmocka_unit_test(the_keys_are_those_of_the_rfc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

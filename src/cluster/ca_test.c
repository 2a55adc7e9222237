/* The CA: signing, what it refuses, renewal, the sealed key. How TLS takes the certificates stands
 * in links_test.c. */
#include "cluster/ca.h"
#include "base/clock.h"
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define DAY_MS (24 * 3600 * 1000ull)

struct world {
    char *certificate, *key, *node_key, *request;
    struct ca *ca;
};

static int set_up(void **state)
{
    struct world *world = g_new0(struct world, 1);

    assert_int_equal(
        ca_found("0f8fad5b-d9cb-469f-a165-70867728950e", &world->certificate, &world->key, NULL),
        0);
    assert_int_equal(ca_request(&world->node_key, &world->request, NULL), 0);
    world->ca = ca_new(world->certificate, world->key, NULL, NULL);
    assert_non_null(world->ca);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    ca_free(world->ca);
    g_free(world->certificate);
    g_free(world->key);
    g_free(world->node_key);
    g_free(world->request);
    g_free(world);
    return 0;
}

static void a_node_s_certificate_names_it_for_a_year(void **state)
{
    struct world *world = *state;
    g_autofree char *chain = NULL;
    struct ca_certificate certificate;
    uint64_t now = clock_unix_ms() / 1000 * 1000;

    assert_int_equal(ca_sign(world->ca, world->request, 0xabcdef, now, &chain, NULL), 0);
    assert_int_equal(ca_look(chain, &certificate, NULL), 0);
    assert_true(certificate.node_id == 0xabcdef);
    assert_int_equal(strlen(certificate.serial), CA_SERIAL_CHARS);
    assert_true(certificate.from_unix_ms == now - DAY_MS);
    assert_true(certificate.until_unix_ms == now + CA_NODE_DAYS * DAY_MS);
    assert_non_null(strstr(chain, world->certificate));
}

static void every_certificate_has_its_own_serial(void **state)
{
    struct world *world = *state;
    g_autofree char *a = NULL, *b = NULL;
    struct ca_certificate first, second;

    ca_sign(world->ca, world->request, 1, clock_unix_ms(), &a, NULL);
    ca_sign(world->ca, world->request, 1, clock_unix_ms(), &b, NULL);
    ca_look(a, &first, NULL);
    ca_look(b, &second, NULL);
    assert_string_not_equal(first.serial, second.serial);
    assert_memory_not_equal(first.fingerprint, second.fingerprint, CA_FINGERPRINT_BYTES);
}

static void a_request_that_is_none_or_changed_is_refused(void **state)
{
    struct world *world = *state;
    g_autofree char *chain = NULL, *changed = g_strdup(world->request);
    g_autoptr(GError) error = NULL;

    assert_int_equal(ca_sign(world->ca, "hello", 1, 0, &chain, &error), -EINVAL);
    assert_non_null(strstr(error->message, "request"));
    char *at = strstr(changed, "\n-----END") - 12; /* in the signature */
    *at = *at == 'A' ? 'B' : 'A';
    assert_int_equal(ca_sign(world->ca, changed, 1, 0, &chain, NULL), -EINVAL);
    assert_null(chain);
}

static void a_request_with_a_key_of_another_kind_is_refused(void **state)
{
    struct world *world = *state;
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    const char *bytes;
    g_autofree char *chain = NULL;

    X509_REQ_set_pubkey(request, key);
    X509_REQ_sign(request, key, NULL);
    PEM_write_bio_X509_REQ(bio, request);
    long length = BIO_get_mem_data(bio, &bytes);
    g_autofree char *pem = g_strndup(bytes, (size_t)length);
    assert_int_equal(ca_sign(world->ca, pem, 1, 0, &chain, NULL), -EINVAL);
    BIO_free(bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
}

static void a_certificate_is_due_after_two_thirds_of_its_life(void **state)
{
    const struct ca_certificate certificate = {.from_unix_ms = 3000, .until_unix_ms = 6000};

    assert_false(ca_is_due(&certificate, 3000));
    assert_false(ca_is_due(&certificate, 4999));
    assert_true(ca_is_due(&certificate, 5000));
    assert_true(ca_is_due(&certificate, 9000));
    assert_true(ca_is_due(&certificate, 2999)); /* a clock that was set back */
}

static void only_sixteen_hex_digits_are_a_node_s_id(void **state)
{
    char text[17];

    ca_format_node_id(0xfedcba9876543210, text);
    assert_string_equal(text, "fedcba9876543210");
    assert_true(ca_node_id(text) == 0xfedcba9876543210);
    assert_true(ca_node_id("0000000000000000") == 0);
    assert_true(ca_node_id("FEDCBA9876543210") == 0);
    assert_true(ca_node_id("fedcba987654321") == 0);
    assert_true(ca_node_id("+edcba9876543210") == 0);
    assert_true(ca_node_id(NULL) == 0);
}

static void a_key_of_another_ca_is_refused(void **state)
{
    struct world *world = *state;
    g_autofree char *certificate = NULL, *key = NULL;
    g_autoptr(GError) error = NULL;

    ca_found("other", &certificate, &key, NULL);
    assert_null(ca_new(world->certificate, key, NULL, &error));
    assert_non_null(strstr(error->message, "do not belong together"));
}

static void the_sealed_key_opens_with_the_cluster_key_alone(void **state)
{
    struct world *world = *state;
    uint8_t cluster_key[CA_KEY_BYTES] = {7}, other[CA_KEY_BYTES] = {8};
    g_autoptr(GBytes) sealed = ca_seal(cluster_key, world->key);
    g_autofree char *opened = ca_unseal(cluster_key, sealed, NULL);
    g_autoptr(GError) error = NULL;
    gsize length;
    const uint8_t *bytes = g_bytes_get_data(sealed, &length);

    assert_string_equal(opened, world->key);
    assert_null(g_strstr_len((const char *)bytes, (gssize)length, "PRIVATE"));
    assert_null(ca_unseal(other, sealed, &error));
    assert_non_null(strstr(error->message, "another cluster"));
    for (gsize i = 0; i < length; i += 7) {
        g_autofree uint8_t *changed = g_memdup2(bytes, length);
        changed[i] ^= 1;
        g_autoptr(GBytes) bad = g_bytes_new(changed, length);
        assert_null(ca_unseal(cluster_key, bad, NULL));
    }
    g_autoptr(GBytes) shorter = g_bytes_new(bytes, 20);
    assert_null(ca_unseal(cluster_key, shorter, NULL));
}

/* ---- rotation ---- */

static GPtrArray *certificates_of(const char *pem)
{
    GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify)X509_free);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate;

    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        g_ptr_array_add(all, certificate);
    }
    BIO_free(bio);
    return all;
}

/* As a node does that has this bundle and is shown this chain. */
static bool trusts(const char *bundle, const char *chain)
{
    g_autoptr(GPtrArray) anchors = certificates_of(bundle), shown = certificates_of(chain);
    STACK_OF(X509) *rest = sk_X509_new_null();
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();

    for (guint i = 0; i < anchors->len; i++) {
        X509_STORE_add_cert(store, g_ptr_array_index(anchors, i));
    }
    for (guint i = 1; i < shown->len; i++) {
        sk_X509_push(rest, g_ptr_array_index(shown, i));
    }
    X509_STORE_CTX_init(context, store, g_ptr_array_index(shown, 0), rest);
    bool is_trusted = X509_verify_cert(context) == 1;
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    sk_X509_free(rest);
    return is_trusted;
}

static char *sign(const struct world *world, const struct ca *ca)
{
    char *chain = NULL;

    assert_int_equal(ca_sign(ca, world->request, 1, clock_unix_ms(), &chain, NULL), 0);
    return chain;
}

static void a_node_that_missed_a_rotation_and_the_others_believe_each_other(void **state)
{
    struct world *world = *state;
    g_autofree char *certificate = NULL, *key = NULL, *previous = NULL;

    ca_found("0f8fad5b-d9cb-469f-a165-70867728950e", &certificate, &key, NULL);
    struct ca *bare = ca_new(certificate, key, NULL, NULL);
    assert_int_equal(ca_previous(world->ca, bare, &previous, NULL), 0);
    struct ca *rotating = ca_new(certificate, key, previous, NULL);
    g_autofree char *away = sign(world, world->ca), *back = sign(world, rotating),
                    *after = sign(world, bare);
    g_autofree char *both = ca_bundle(certificate, previous), *fresh = ca_bundle(certificate, "");

    assert_true(trusts(world->certificate, back)); /* that was away */
    assert_true(trusts(both, away));
    assert_true(trusts(both, back));
    assert_true(trusts(both, after));
    assert_true(trusts(fresh, back)); /* the rotation is over */
    assert_true(trusts(fresh, after));
    assert_false(trusts(fresh, away));
    assert_false(trusts(world->certificate, after));
    ca_free(bare);
    ca_free(rotating);
}

static void the_key_that_ties_two_authorities_signs_for_nobody_else(void **state)
{
    struct world *world = *state;
    g_autofree char *certificate = NULL, *key = NULL, *previous = NULL, *other = NULL,
                    *other_key = NULL;

    ca_found("0f8fad5b-d9cb-469f-a165-70867728950e", &certificate, &key, NULL);
    ca_found("0f8fad5b-d9cb-469f-a165-70867728950e", &other, &other_key, NULL);
    struct ca *bare = ca_new(certificate, key, NULL, NULL);
    ca_previous(world->ca, bare, &previous, NULL);
    struct ca *stranger = ca_new(other, other_key, previous, NULL);
    g_autofree char *chain = sign(world, stranger);

    assert_false(trusts(world->certificate, chain));
    assert_false(trusts(certificate, chain));
    ca_free(bare);
    ca_free(stranger);
}

static void a_rotation_waits_thirty_days_for_those_who_are_away(void **state)
{
    const struct ca_certificate ca = {.from_unix_ms = 100 * DAY_MS};
    uint64_t made = ca.from_unix_ms + CA_BACKDATE_DAYS * DAY_MS;

    assert_false(ca_rotation_is_over(&ca, made));
    assert_false(ca_rotation_is_over(&ca, made + CA_ROTATION_DAYS * DAY_MS - 1));
    assert_true(ca_rotation_is_over(&ca, made + CA_ROTATION_DAYS * DAY_MS));
}

#define CA_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CA_TEST(a_node_s_certificate_names_it_for_a_year),
        CA_TEST(every_certificate_has_its_own_serial),
        CA_TEST(a_request_that_is_none_or_changed_is_refused),
        CA_TEST(a_request_with_a_key_of_another_kind_is_refused),
        cmocka_unit_test(a_certificate_is_due_after_two_thirds_of_its_life),
        cmocka_unit_test(only_sixteen_hex_digits_are_a_node_s_id),
        CA_TEST(a_key_of_another_ca_is_refused),
        CA_TEST(the_sealed_key_opens_with_the_cluster_key_alone),
        CA_TEST(a_node_that_missed_a_rotation_and_the_others_believe_each_other),
        CA_TEST(the_key_that_ties_two_authorities_signs_for_nobody_else),
        cmocka_unit_test(a_rotation_waits_thirty_days_for_those_who_are_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

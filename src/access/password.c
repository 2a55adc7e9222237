/* Password records: "$7$ITERATIONS$SALT$HASH" as mosquitto_passwd writes them (PBKDF2-HMAC-SHA512,
 * base64), followed in ours by " scram:ITERATIONS:SALT:STORED:SERVER" (RFC 5802, RFC 7677) so that
 * SCRAM-SHA-256 works without the password. Imported "$6$SALT$HASH" records (one round of SHA512
 * over password and salt) are still verified. Comparison takes the same time whatever differs. */
#include "access/password.h"
#include "access/access.h"
#include "base/cleanup.h"
#include <glib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define ITERATIONS       50000
#define ITERATIONS_MAX   10000000
#define SCRAM_ITERATIONS 10000
#define SALT_BYTES       16
#define SHA512_BYTES     64

static void hmac_sha256(const uint8_t *key, size_t key_bytes, const char *text,
                        uint8_t out[SHA256_BYTES])
{
    unsigned length = SHA256_BYTES;

    HMAC(EVP_sha256(), key, (int)key_bytes, (const uint8_t *)text, strlen(text), out, &length);
}

void scram_derive(struct bytes password, const uint8_t *salt, size_t salt_bytes,
                  unsigned iterations, struct scram_keys *keys)
{
    uint8_t salted[SHA256_BYTES], client_key[SHA256_BYTES];

    PKCS5_PBKDF2_HMAC((const char *)password.at, (int)password.length, salt, (int)salt_bytes,
                      (int)iterations, EVP_sha256(), sizeof salted, salted);
    hmac_sha256(salted, sizeof salted, "Client Key", client_key);
    EVP_Digest(client_key, sizeof client_key, keys->stored, NULL, EVP_sha256(), NULL);
    hmac_sha256(salted, sizeof salted, "Server Key", keys->server);
    keys->iterations = iterations;
    keys->salt_bytes = MIN(salt_bytes, sizeof keys->salt);
    memcpy(keys->salt, salt, keys->salt_bytes);
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(client_key, sizeof client_key);
}

char *password_record_new(const char *password)
{
    uint8_t salt[SALT_BYTES], scram_salt[SALT_BYTES], hash[SHA512_BYTES];
    struct scram_keys keys;

    if (RAND_bytes(salt, sizeof salt) != 1 || RAND_bytes(scram_salt, sizeof scram_salt) != 1) {
        return NULL;
    }
    PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, sizeof salt, ITERATIONS, EVP_sha512(),
                      sizeof hash, hash);
    scram_derive(bytes_from_string(password), scram_salt, sizeof scram_salt, SCRAM_ITERATIONS,
                 &keys);

    g_autofree char *salt_text = g_base64_encode(salt, sizeof salt);
    g_autofree char *hash_text = g_base64_encode(hash, sizeof hash);
    g_autofree char *scram_salt_text = g_base64_encode(scram_salt, sizeof scram_salt);
    g_autofree char *stored_text = g_base64_encode(keys.stored, sizeof keys.stored);
    g_autofree char *server_text = g_base64_encode(keys.server, sizeof keys.server);
    return g_strdup_printf("$7$%d$%s$%s scram:%d:%s:%s:%s", ITERATIONS, salt_text, hash_text,
                           SCRAM_ITERATIONS, scram_salt_text, stored_text, server_text);
}

static bool decode_exactly(const char *text, uint8_t *out, size_t length)
{
    size_t decoded_bytes;
    g_autofree uint8_t *decoded = g_base64_decode(text, &decoded_bytes);

    if (decoded_bytes != length) {
        return false;
    }
    memcpy(out, decoded, length);
    return true;
}

static bool verify_sha512(char **fields, struct bytes password)
{
    uint8_t expected[SHA512_BYTES], hash[SHA512_BYTES];
    size_t salt_bytes;

    if (g_strv_length(fields) != 4 || !decode_exactly(fields[3], expected, sizeof expected)) {
        return false;
    }
    g_autofree uint8_t *salt = g_base64_decode(fields[2], &salt_bytes);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    EVP_DigestInit_ex(digest, EVP_sha512(), NULL);
    EVP_DigestUpdate(digest, password.at, password.length);
    EVP_DigestUpdate(digest, salt, salt_bytes);
    EVP_DigestFinal_ex(digest, hash, NULL);
    EVP_MD_CTX_free(digest);
    return CRYPTO_memcmp(hash, expected, sizeof hash) == 0;
}

static bool verify_pbkdf2(char **fields, struct bytes password)
{
    uint8_t expected[SHA512_BYTES], hash[SHA512_BYTES];
    size_t salt_bytes;
    guint64 iterations;

    if (g_strv_length(fields) != 5 || !decode_exactly(fields[4], expected, sizeof expected) ||
        !g_ascii_string_to_unsigned(fields[2], 10, 1, ITERATIONS_MAX, &iterations, NULL)) {
        return false;
    }
    g_autofree uint8_t *salt = g_base64_decode(fields[3], &salt_bytes);
    PKCS5_PBKDF2_HMAC((const char *)password.at, (int)password.length, salt, (int)salt_bytes,
                      (int)iterations, EVP_sha512(), sizeof hash, hash);
    return CRYPTO_memcmp(hash, expected, sizeof hash) == 0;
}

bool password_verify(const char *record, struct bytes password)
{
    g_auto(GStrv) parts = g_strsplit(record, " ", 2);
    g_auto(GStrv) fields = g_strsplit(parts[0] ? parts[0] : "", "$", 6);

    if (!fields[0] || !fields[1]) {
        return false;
    }
    if (strcmp(fields[1], "6") == 0) {
        return verify_sha512(fields, password);
    }
    return strcmp(fields[1], "7") == 0 && verify_pbkdf2(fields, password);
}

bool password_record_is_valid(const char *record)
{
    g_auto(GStrv) parts = g_strsplit(record, " ", 2);
    g_auto(GStrv) fields = g_strsplit(parts[0] ? parts[0] : "", "$", 6);
    uint8_t hash[SHA512_BYTES];
    guint64 iterations;
    unsigned count = g_strv_length(fields);

    if (count == 4) {
        return strcmp(fields[1], "6") == 0 && decode_exactly(fields[3], hash, sizeof hash);
    }
    return count == 5 && strcmp(fields[1], "7") == 0 &&
           decode_exactly(fields[4], hash, sizeof hash) &&
           g_ascii_string_to_unsigned(fields[2], 10, 1, ITERATIONS_MAX, &iterations, NULL);
}

bool password_record_scram(const char *record, struct scram_keys *keys)
{
    const char *at = strstr(record, " scram:");
    if (!at) {
        return false;
    }
    g_auto(GStrv) fields = g_strsplit(at + strlen(" scram:"), ":", 5);
    guint64 iterations;
    if (g_strv_length(fields) != 4 ||
        !g_ascii_string_to_unsigned(fields[0], 10, 1, ITERATIONS_MAX, &iterations, NULL) ||
        !decode_exactly(fields[1], keys->salt, SALT_BYTES) ||
        !decode_exactly(fields[2], keys->stored, SHA256_BYTES) ||
        !decode_exactly(fields[3], keys->server, SHA256_BYTES)) {
        return false;
    }
    keys->iterations = (unsigned)iterations;
    keys->salt_bytes = SALT_BYTES;
    return true;
}

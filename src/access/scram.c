/* SCRAM-SHA-256 as server (RFC 5802, 5 to 7; RFC 7677), without channel binding.
 *
 *   START --client-first--> (server-first) PROOF --client-final--> (server-final) DONE
 *     +------- malformed, wrong proof ---------+--------------------------------> FAILED
 *
 * An unknown user is taken through the same steps with a salt made from its name and a secret, so
 * that an answer tells nothing. */
#include "access/access.h"
#include "access/access_private.h"
#include "access/password.h"
#include "state/access_rules.h"
#include <errno.h>
#include <glib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define MESSAGE_BYTES_MAX  2048
#define NONCE_BYTES        18
#define UNKNOWN_ITERATIONS 10000

enum scram_state { SCRAM_START, SCRAM_PROOF, SCRAM_DONE, SCRAM_FAILED };

struct scram {
    struct access *access; /* borrowed */
    enum scram_state state;
    bool is_known;
    char *username;
    char *client_first_bare, *server_first, *nonce, *gs2_header;
    char *reply;
    struct scram_keys keys;
};

struct scram *scram_new(struct access *access)
{
    struct scram *scram = g_new0(struct scram, 1);

    scram->access = access;
    return scram;
}

void scram_free(struct scram *scram)
{
    if (!scram) {
        return;
    }
    g_free(scram->username);
    g_free(scram->client_first_bare);
    g_free(scram->server_first);
    g_free(scram->nonce);
    g_free(scram->gs2_header);
    g_free(scram->reply);
    OPENSSL_cleanse(&scram->keys, sizeof scram->keys);
    g_free(scram);
}

const char *scram_username(const struct scram *scram)
{
    return scram->username;
}

/* "=2C" is ',' and "=3D" is '='; anything else after '=' is an error (RFC 5802, 5.1). */
static char *unescape_name(const char *text)
{
    GString *name = g_string_new(NULL);

    for (const char *at = text; *at; at++) {
        if (*at != '=') {
            g_string_append_c(name, *at);
        } else if (strncmp(at, "=2C", 3) == 0) {
            g_string_append_c(name, ',');
            at += 2;
        } else if (strncmp(at, "=3D", 3) == 0) {
            g_string_append_c(name, '=');
            at += 2;
        } else {
            g_string_free(name, true);
            return NULL;
        }
    }
    return g_string_free(name, false);
}

static void find_keys(struct scram *scram)
{
    const struct user *user = state_find_user(access_state(scram->access), scram->username);

    scram->is_known = user && password_record_scram(user->password, &scram->keys);
    if (!scram->is_known) {
        uint8_t made_up[SHA256_BYTES];
        access_fake_salt(scram->access, scram->username, made_up);
        memcpy(scram->keys.salt, made_up, 16);
        scram->keys.salt_bytes = 16;
        scram->keys.iterations = UNKNOWN_ITERATIONS;
        memcpy(scram->keys.stored, made_up, SHA256_BYTES);
    }
}

/* gs2-header "n,," or "y,,", then "n=NAME,r=NONCE" and possibly extensions. */
static int client_first(struct scram *scram, char *text)
{
    uint8_t random[NONCE_BYTES];
    char *bare =
        (text[0] == 'n' || text[0] == 'y') && text[1] == ',' ? strchr(text + 2, ',') : NULL;

    if (!bare) {
        return -EPROTO;
    }
    bare++;
    scram->gs2_header = g_strndup(text, (size_t)(bare - text));
    g_auto(GStrv) fields = g_strsplit(bare, ",", 4);
    if (g_strv_length(fields) < 2 || !g_str_has_prefix(fields[0], "n=") ||
        !g_str_has_prefix(fields[1], "r=") || fields[0][2] == '\0' || fields[1][2] == '\0') {
        return -EPROTO;
    }
    scram->username = unescape_name(fields[0] + 2);
    if (!scram->username || RAND_bytes(random, sizeof random) != 1) {
        return -EPROTO;
    }
    find_keys(scram);
    g_autofree char *random_text = g_base64_encode(random, sizeof random);
    g_autofree char *salt = g_base64_encode(scram->keys.salt, scram->keys.salt_bytes);
    scram->client_first_bare = g_strdup(bare);
    scram->nonce = g_strconcat(fields[1] + 2, random_text, NULL);
    scram->server_first =
        g_strdup_printf("r=%s,s=%s,i=%u", scram->nonce, salt, scram->keys.iterations);
    scram->reply = g_strdup(scram->server_first);
    scram->state = SCRAM_PROOF;
    return 0;
}

static void hmac(const uint8_t *key, const char *text, uint8_t out[SHA256_BYTES])
{
    unsigned length = SHA256_BYTES;

    HMAC(EVP_sha256(), key, SHA256_BYTES, (const uint8_t *)text, strlen(text), out, &length);
}

/* ClientKey = proof XOR HMAC(StoredKey, AuthMessage); its hash must be StoredKey. */
static bool is_proof_right(const struct scram *scram, const char *auth_message,
                           const char *proof_text)
{
    uint8_t signature[SHA256_BYTES], client_key[SHA256_BYTES], hash[SHA256_BYTES];
    size_t proof_bytes;
    g_autofree uint8_t *proof = g_base64_decode(proof_text, &proof_bytes);

    if (proof_bytes != SHA256_BYTES) {
        return false;
    }
    hmac(scram->keys.stored, auth_message, signature);
    for (unsigned i = 0; i < SHA256_BYTES; i++) {
        client_key[i] = proof[i] ^ signature[i];
    }
    EVP_Digest(client_key, sizeof client_key, hash, NULL, EVP_sha256(), NULL);
    return CRYPTO_memcmp(hash, scram->keys.stored, SHA256_BYTES) == 0 && scram->is_known;
}

/* "c=BASE64(gs2-header),r=NONCE,p=PROOF" */
static int client_final(struct scram *scram, const char *text)
{
    const char *proof = strstr(text, ",p=");
    if (!proof) {
        return -EPROTO;
    }
    g_autofree char *without_proof = g_strndup(text, (size_t)(proof - text));
    g_autofree char *header =
        g_base64_encode((const uint8_t *)scram->gs2_header, strlen(scram->gs2_header));
    g_autofree char *expected = g_strdup_printf("c=%s,r=%s", header, scram->nonce);
    if (strcmp(without_proof, expected) != 0) {
        return -EACCES;
    }
    g_autofree char *auth_message =
        g_strconcat(scram->client_first_bare, ",", scram->server_first, ",", without_proof, NULL);
    if (!is_proof_right(scram, auth_message, proof + 3)) {
        return -EACCES;
    }
    uint8_t signature[SHA256_BYTES];
    hmac(scram->keys.server, auth_message, signature);
    g_autofree char *signature_text = g_base64_encode(signature, sizeof signature);
    g_free(scram->reply);
    scram->reply = g_strconcat("v=", signature_text, NULL);
    scram->state = SCRAM_DONE;
    return 1;
}

int scram_step(struct scram *scram, struct bytes message, struct bytes *reply)
{
    int r = -EPROTO;

    if (message.length > 0 && message.length <= MESSAGE_BYTES_MAX &&
        !memchr(message.at, '\0', message.length)) {
        g_autofree char *text = g_strndup((const char *)message.at, message.length);
        if (scram->state == SCRAM_START) {
            r = client_first(scram, text);
        } else if (scram->state == SCRAM_PROOF) {
            r = client_final(scram, text);
        }
    }
    if (r < 0) {
        scram->state = SCRAM_FAILED;
    } else {
        *reply = bytes_from_string(scram->reply);
    }
    return r;
}

/* See tokens.h. */
#include "api/tokens.h"
#include "base/cleanup.h"
#include <glib.h>
#include <openssl/rand.h>
#include <string.h>

#define TOKEN_BYTES 32

struct api_token {
    char *username;
    uint64_t expires_ms;
};

struct api_tokens {
    GHashTable *by_hash; /* SHA-256 in hex -> struct api_token */
};

static void token_free(void *pointer)
{
    struct api_token *token = pointer;

    g_free(token->username);
    g_free(token);
}

struct api_tokens *api_tokens_new(void)
{
    struct api_tokens *tokens = g_new0(struct api_tokens, 1);

    tokens->by_hash = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, token_free);
    return tokens;
}

void api_tokens_free(struct api_tokens *tokens)
{
    g_hash_table_unref(tokens->by_hash);
    g_free(tokens);
}

static char *hash_of(const char *token)
{
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, token, -1);
}

static gboolean is_expired(gpointer key, gpointer value, gpointer now_ms)
{
    return ((const struct api_token *)value)->expires_ms <= *(const uint64_t *)now_ms;
}

char *api_tokens_add(struct api_tokens *tokens, const struct identity *identity, uint64_t now_ms)
{
    uint8_t random[TOKEN_BYTES];

    g_hash_table_foreach_remove(tokens->by_hash, is_expired, &now_ms);
    if (g_hash_table_size(tokens->by_hash) >= API_TOKENS_MAX ||
        RAND_bytes(random, sizeof random) != 1) {
        return NULL;
    }
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < sizeof random; i++) {
        g_string_append_printf(text, "%02x", random[i]);
    }
    struct api_token *token = g_new0(struct api_token, 1);
    token->username = g_strdup(identity->username);
    token->expires_ms = now_ms + API_TOKEN_SECONDS * 1000ull;
    g_hash_table_insert(tokens->by_hash, hash_of(text->str), token);
    return g_string_free(text, false);
}

const char *api_tokens_find(struct api_tokens *tokens, const char *token, uint64_t now_ms)
{
    g_autofree char *hash = hash_of(token);
    const struct api_token *found = g_hash_table_lookup(tokens->by_hash, hash);

    return found && found->expires_ms > now_ms ? found->username : NULL;
}

void api_tokens_remove(struct api_tokens *tokens, const char *token)
{
    g_autofree char *hash = hash_of(token);

    g_hash_table_remove(tokens->by_hash, hash);
}

static gboolean is_of(gpointer key, gpointer value, gpointer username)
{
    return strcmp(((const struct api_token *)value)->username, username) == 0;
}

void api_tokens_remove_user(struct api_tokens *tokens, const char *username)
{
    g_hash_table_foreach_remove(tokens->by_hash, is_of, (char *)username);
}

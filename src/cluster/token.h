/* Join tokens: what a person carries from one node to a new one. Text form: "mc1." and base64url of
 * a version, the CA's fingerprint, cluster id, token id, secret, addresses and a checksum. Pure but
 * for token_make. */
#pragma once

#include "cluster/ca.h"
#include <glib.h>
#include <stdint.h>

#define TOKEN_SECRET_BYTES  16
#define TOKEN_HASH_BYTES    32
#define TOKEN_ADDRESSES_MAX 16
#define TOKEN_CHARS_MAX     4096
#define TOKEN_PREFIX        "mc1."

struct token {
    uint8_t fingerprint[CA_FINGERPRINT_BYTES]; /* of the CA */
    char *cluster;                             /* a UUID, owned */
    uint64_t id;
    uint8_t secret[TOKEN_SECRET_BYTES];
    char **addresses; /* "host:port", "[2001:db8::1]:7474"; owned, NULL at the end */
};

/* Draws an id and a secret; the rest is copied. `addresses`: at most TOKEN_ADDRESSES_MAX count. */
void token_make(struct token *token, const char *cluster,
                const uint8_t fingerprint[CA_FINGERPRINT_BYTES], const char *const *addresses);
void token_deinit(struct token *token);
/* Caller frees. */
char *token_format(const struct token *token);
/* Blanks around it are skipped. -EINVAL with what is wrong: no token at all, of a newer version,
 * not copied whole. */
int token_parse(const char *text, struct token *token, GError **error);
/* What the replicated state keeps instead of the secret (SHA-256 over id and secret). */
void token_hash(uint64_t id, const uint8_t secret[TOKEN_SECRET_BYTES],
                uint8_t hash[TOKEN_HASH_BYTES]);

/* "host", "host:port", "[2001:db8::1]:7474"; `port` stays when there is none. Caller frees `host`.
 */
int address_split(const char *text, char **host, uint16_t *port, GError **error);
/* With brackets round IPv6. Caller frees. */
char *address_join(const char *host, uint16_t port);

/* See token.h. Bytes: version (1), fingerprint (32), cluster as 16 bytes of its UUID, token id (8),
 * secret (16), number of addresses (1), each with its length in a byte, then the first four bytes
 * of the SHA-256 of all that: whoever copies half a token is told so. */
#include "cluster/token.h"
#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#define VERSION        1
#define UUID_BYTES     16
#define CHECK_BYTES    4
#define HEAD_BYTES     (1 + CA_FINGERPRINT_BYTES + UUID_BYTES + 8 + TOKEN_SECRET_BYTES + 1)
#define ADDRESS_LENGTH UINT8_MAX

static int fail(GError **error, const char *what)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "token: %s", what);
    return -EINVAL;
}

void token_make(struct token *token, const char *cluster,
                const uint8_t fingerprint[CA_FINGERPRINT_BYTES], const char *const *addresses)
{
    *token =
        (struct token){.cluster = g_strdup(cluster), .addresses = g_strdupv((char **)addresses)};
    memcpy(token->fingerprint, fingerprint, sizeof token->fingerprint);
    while (token->id == 0) {
        RAND_bytes((uint8_t *)&token->id, sizeof token->id);
    }
    RAND_bytes(token->secret, sizeof token->secret);
}

void token_deinit(struct token *token)
{
    g_clear_pointer(&token->cluster, g_free);
    g_clear_pointer(&token->addresses, g_strfreev);
}

/* ---- bytes ---- */

static void hash_of(const uint8_t *bytes, size_t length, uint8_t hash[32])
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize hash_bytes = 32;

    g_checksum_update(checksum, bytes, (gssize)length);
    g_checksum_get_digest(checksum, hash, &hash_bytes);
}

static void put_id(GByteArray *out, uint64_t id)
{
    uint64_t big = GUINT64_TO_BE(id);

    g_byte_array_append(out, (const uint8_t *)&big, sizeof big);
}

static void put_cluster(GByteArray *out, const char *uuid)
{
    uint8_t bytes[UUID_BYTES] = {0};
    unsigned count = 0;

    for (const char *at = uuid; *at && count < 2 * UUID_BYTES; at++) {
        if (g_ascii_isxdigit(*at)) {
            bytes[count / 2] |= (uint8_t)(g_ascii_xdigit_value(*at) << (count % 2 ? 0 : 4));
            count++;
        }
    }
    g_byte_array_append(out, bytes, sizeof bytes);
}

static char *get_cluster(const uint8_t bytes[UUID_BYTES])
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < UUID_BYTES; i++) {
        bool is_after_dash = i == 4 || i == 6 || i == 8 || i == 10;
        g_string_append_printf(text, "%s%02x", is_after_dash ? "-" : "", bytes[i]);
    }
    return g_string_free(text, FALSE);
}

char *token_format(const struct token *token)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint8_t version = VERSION, count = 0, hash[32];
    unsigned given = token->addresses ? g_strv_length(token->addresses) : 0;

    g_byte_array_append(bytes, &version, 1);
    g_byte_array_append(bytes, token->fingerprint, sizeof token->fingerprint);
    put_cluster(bytes, token->cluster);
    put_id(bytes, token->id);
    g_byte_array_append(bytes, token->secret, sizeof token->secret);
    g_byte_array_append(bytes, &count, 1);
    for (unsigned i = 0; i < given && count < TOKEN_ADDRESSES_MAX; i++) {
        size_t length = strlen(token->addresses[i]);
        uint8_t length_byte = (uint8_t)length;
        if (length > 0 && length <= ADDRESS_LENGTH) {
            g_byte_array_append(bytes, &length_byte, 1);
            g_byte_array_append(bytes, (const uint8_t *)token->addresses[i], (guint)length);
            count++;
        }
    }
    bytes->data[HEAD_BYTES - 1] = count;
    hash_of(bytes->data, bytes->len, hash);
    g_byte_array_append(bytes, hash, CHECK_BYTES);

    g_autofree char *base64 = g_base64_encode(bytes->data, bytes->len);
    g_strdelimit(base64, "+", '-');
    g_strdelimit(base64, "/", '_');
    base64[strcspn(base64, "=")] = '\0';
    return g_strconcat(TOKEN_PREFIX, base64, NULL);
}

static bool read_addresses(const uint8_t *at, const uint8_t *end, unsigned count, GPtrArray *out)
{
    for (unsigned i = 0; i < count; i++) {
        if (at == end || *at == 0 || (size_t)(end - at) < (size_t)*at + 1) {
            return false;
        }
        char *address = g_strndup((const char *)at + 1, *at);
        bool is_text = strlen(address) == *at && g_str_is_ascii(address);
        g_ptr_array_add(out, address);
        if (!is_text) {
            return false;
        }
        at += (size_t)*at + 1;
    }
    g_ptr_array_add(out, NULL);
    return at == end;
}

static int decode(const uint8_t *bytes, size_t length, struct token *token, GError **error)
{
    uint8_t hash[32];

    if (length > 0 && bytes[0] != VERSION) {
        return fail(error, "of a newer version of microcloud than this one; update this node");
    }
    if (length < HEAD_BYTES + CHECK_BYTES) {
        return fail(error, "incomplete; copy the whole line that `microcloud token` printed");
    }
    length -= CHECK_BYTES;
    hash_of(bytes, length, hash);
    if (memcmp(hash, bytes + length, CHECK_BYTES) != 0) {
        return fail(error, "incomplete or mistyped; copy the whole line that `microcloud token` "
                           "printed");
    }
    const uint8_t *at = bytes + 1;
    g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(g_free);
    unsigned count = bytes[HEAD_BYTES - 1];
    if (count == 0 || count > TOKEN_ADDRESSES_MAX ||
        !read_addresses(bytes + HEAD_BYTES, bytes + length, count, addresses)) {
        return fail(error, "names no address of the cluster");
    }
    *token = (struct token){.cluster = get_cluster(at + CA_FINGERPRINT_BYTES)};
    memcpy(token->fingerprint, at, CA_FINGERPRINT_BYTES);
    at += CA_FINGERPRINT_BYTES + UUID_BYTES;
    uint64_t big;
    memcpy(&big, at, sizeof big);
    token->id = GUINT64_FROM_BE(big);
    memcpy(token->secret, at + sizeof big, TOKEN_SECRET_BYTES);
    token->addresses = (char **)g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
    return 0;
}

int token_parse(const char *text, struct token *token, GError **error)
{
    g_autofree char *stripped = g_strstrip(g_strdup(text));
    size_t length = strlen(stripped);

    if (!g_str_has_prefix(stripped, TOKEN_PREFIX)) {
        bool is_later = g_str_has_prefix(stripped, "mc") && g_ascii_isdigit(stripped[2]);
        return fail(error, is_later ? "of a newer version of microcloud than this one; update this "
                                      "node"
                                    : "begins with \"" TOKEN_PREFIX "\"; `microcloud token` on a "
                                      "node of the cluster prints one");
    }
    if (length > TOKEN_CHARS_MAX) {
        return fail(error, "longer than any token is");
    }
    const char *body = stripped + strlen(TOKEN_PREFIX);
    if (strspn(body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") !=
        strlen(body)) {
        return fail(error, "has characters that no token has; copy it as it was printed");
    }
    static const char *const padding[] = {"", "===", "==", "="};
    g_autofree char *base64 = g_strconcat(body, padding[strlen(body) % 4], NULL);
    g_strdelimit(base64, "-", '+');
    g_strdelimit(base64, "_", '/');
    gsize count;
    g_autofree uint8_t *bytes = g_base64_decode(base64, &count);
    return decode(bytes, count, token, error);
}

void token_hash(uint64_t id, const uint8_t secret[TOKEN_SECRET_BYTES],
                uint8_t hash[TOKEN_HASH_BYTES])
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    put_id(bytes, id);
    g_byte_array_append(bytes, secret, TOKEN_SECRET_BYTES);
    hash_of(bytes->data, bytes->len, hash);
}

/* ---- addresses ---- */

static int bad_address(GError **error, const char *text)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                "address '%s': must be HOST, HOST:PORT or [IPv6]:PORT", text);
    return -EINVAL;
}

int address_split(const char *text, char **host, uint16_t *port, GError **error)
{
    const char *begin = text, *end, *colon = NULL;

    if (text[0] == '[') {
        begin = text + 1;
        end = strchr(begin, ']');
        if (!end || (end[1] != '\0' && end[1] != ':')) {
            return bad_address(error, text);
        }
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strrchr(text, ':');
        if (colon && strchr(text, ':') != colon) { /* IPv6 without brackets: no port */
            colon = NULL;
        }
        end = colon ? colon : text + strlen(text);
    }
    guint64 number = *port;
    if (begin == end || strcspn(begin, " \t/") < (size_t)(end - begin) ||
        (colon && !g_ascii_string_to_unsigned(colon + 1, 10, 1, UINT16_MAX, &number, NULL))) {
        return bad_address(error, text);
    }
    *host = g_strndup(begin, (size_t)(end - begin));
    *port = (uint16_t)number;
    return 0;
}

char *address_join(const char *host, uint16_t port)
{
    return strchr(host, ':') ? g_strdup_printf("[%s]:%u", host, port)
                             : g_strdup_printf("%s:%u", host, port);
}

/* See ca.h. P-256 everywhere: what every machine of a home signs in a millisecond. Serials are
 * random, 127 bits: nobody has to count. */
#include "cluster/ca.h"
#include "base/cleanup.h"
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#define DAY_S        86400L
#define PEM_END      "-----END CERTIFICATE-----\n"
#define SEAL_NONCE   12
#define SEAL_TAG     16
#define SEAL_FORMAT  1
#define SERIAL_BYTES 16

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

struct ca {
    X509 *certificate;
    EVP_PKEY *key;
    char *rest_pem; /* of chains */
};

static int fail(GError **error, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s%s%s", what, reason ? ": " : "",
                reason ? reason : "");
    ERR_clear_error();
    return -EINVAL;
}

static char *bio_to_text(BIO *bio)
{
    const char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);

    return g_strndup(bytes, (size_t)length);
}

static char *certificate_to_pem(X509 *certificate)
{
    _cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());

    PEM_write_bio_X509(bio, certificate);
    return bio_to_text(bio);
}

static char *key_to_pem(EVP_PKEY *key)
{
    _cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());

    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    return bio_to_text(bio);
}

static X509 *certificate_from_pem(const char *pem)
{
    _cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(pem, -1);

    return PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

static EVP_PKEY *key_from_pem(const char *pem)
{
    _cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(pem, -1);

    return PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
}

/* ---- making ---- */

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static void make_ca(X509 *certificate, X509 *issuer, time_t now)
{
    ASN1_TIME_adj(X509_getm_notBefore(certificate), now, -CA_BACKDATE_DAYS, 0);
    ASN1_TIME_adj(X509_getm_notAfter(certificate), now, CA_YEARS * 365, 0);
    add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
}

static void set_times(X509 *certificate, time_t now, long days)
{
    ASN1_TIME_adj(X509_getm_notBefore(certificate), now, -CA_BACKDATE_DAYS, 0);
    ASN1_TIME_adj(X509_getm_notAfter(certificate), now, (int)days, 0);
}

static X509 *begin_certificate(EVP_PKEY *key, const char *name)
{
    X509 *certificate = X509_new();
    uint8_t serial[SERIAL_BYTES];

    RAND_bytes(serial, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, and always as long */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    X509_set_version(certificate, X509_VERSION_3);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               (const uint8_t *)name, -1, -1, 0);
    return certificate;
}

int ca_found(const char *cluster_id, char **certificate_pem, char **key_pem, GError **error)
{
    _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
    g_autofree char *name = g_strdup_printf("microcloud %.36s", cluster_id);

    if (!key) {
        return fail(error, "key of the CA");
    }
    _cleanup_(X509_freep) X509 *certificate = begin_certificate(key, name);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    make_ca(certificate, certificate, time(NULL));
    if (X509_sign(certificate, key, EVP_sha256()) == 0) {
        return fail(error, "certificate of the CA");
    }
    *certificate_pem = certificate_to_pem(certificate);
    *key_pem = key_to_pem(key);
    return 0;
}

struct ca *ca_new(const char *certificate_pem, const char *key_pem, const char *previous_pem,
                  GError **error)
{
    struct ca *ca = g_new0(struct ca, 1);

    ERR_clear_error();
    ca->certificate = certificate_from_pem(certificate_pem);
    ca->key = key_from_pem(key_pem);
    if (!ca->certificate || !ca->key || X509_check_private_key(ca->certificate, ca->key) != 1) {
        fail(error, "the CA's certificate and key do not belong together");
        ca_free(ca);
        return NULL;
    }
    ca->rest_pem = ca_chain_rest(certificate_pem, previous_pem);
    return ca;
}

void ca_free(struct ca *ca)
{
    if (ca) {
        X509_free(ca->certificate);
        EVP_PKEY_free(ca->key);
        g_free(ca->rest_pem);
        g_free(ca);
    }
}

int ca_request(char **key_pem, char **request_pem, GError **error)
{
    _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_(X509_REQ_freep) X509_REQ *request = X509_REQ_new();
    _cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());

    if (!key || X509_REQ_set_pubkey(request, key) != 1 ||
        X509_REQ_sign(request, key, EVP_sha256()) == 0) {
        return fail(error, "request for a certificate");
    }
    PEM_write_bio_X509_REQ(bio, request);
    *key_pem = key_to_pem(key);
    *request_pem = bio_to_text(bio);
    return 0;
}

static bool is_p256(EVP_PKEY *key)
{
    char name[64];

    return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name,
                                          NULL) == 1 &&
           (strcmp(name, "prime256v1") == 0 || strcmp(name, "P-256") == 0);
}

void ca_format_node_id(uint64_t node_id, char text[17])
{
    g_snprintf(text, 17, "%016" G_GINT64_MODIFIER "x", node_id);
}

int ca_sign(const struct ca *ca, const char *request_pem, uint64_t node_id, uint64_t now_unix_ms,
            char **chain_pem, GError **error)
{
    _cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(request_pem, -1);
    char name[17];

    ERR_clear_error();
    _cleanup_(X509_REQ_freep) X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;
    if (!key || !is_p256(key) || X509_REQ_verify(request, key) != 1) {
        return fail(error, "the request for a certificate is none, or not signed by its own key");
    }
    ca_format_node_id(node_id, name);
    _cleanup_(X509_freep) X509 *certificate = begin_certificate(key, name);
    X509_set_issuer_name(certificate, X509_get_subject_name(ca->certificate));
    set_times(certificate, (time_t)(now_unix_ms / 1000), CA_NODE_DAYS);
    add_extension(certificate, ca->certificate, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(certificate, ca->certificate, NID_key_usage, "critical,digitalSignature");
    add_extension(certificate, ca->certificate, NID_ext_key_usage, "serverAuth,clientAuth");
    add_extension(certificate, ca->certificate, NID_authority_key_identifier, "keyid");
    if (X509_sign(certificate, ca->key, EVP_sha256()) == 0) {
        return fail(error, "certificate of a node");
    }
    g_autofree char *pem = certificate_to_pem(certificate);
    *chain_pem = g_strconcat(pem, ca->rest_pem, NULL);
    return 0;
}

/* ---- rotation ---- */

int ca_previous(const struct ca *previous, const struct ca *fresh, char **pem, GError **error)
{
    const X509_NAME *name = X509_get_subject_name(fresh->certificate);

    ERR_clear_error();
    _cleanup_(X509_freep) X509 *tie = begin_certificate(fresh->key, "");
    X509_set_subject_name(tie, name);
    X509_set_issuer_name(tie, X509_get_subject_name(previous->certificate));
    make_ca(tie, previous->certificate, time(NULL));
    add_extension(tie, previous->certificate, NID_authority_key_identifier, "keyid");
    if (X509_sign(tie, previous->key, EVP_sha256()) == 0) {
        return fail(error, "certificate of the new CA by the previous one");
    }
    g_autofree char *own = certificate_to_pem(previous->certificate);
    g_autofree char *tied = certificate_to_pem(tie);
    *pem = g_strconcat(own, tied, NULL);
    return 0;
}

/* Behind the first certificate of a text. */
static const char *behind_first(const char *pem)
{
    const char *end = pem ? strstr(pem, PEM_END) : NULL;

    return end ? end + strlen(PEM_END) : "";
}

char *ca_bundle(const char *certificate_pem, const char *previous_pem)
{
    const char *rest = behind_first(previous_pem);
    g_autofree char *first =
        previous_pem ? g_strndup(previous_pem, strlen(previous_pem) - strlen(rest)) : NULL;

    return g_strconcat(certificate_pem, first, NULL);
}

char *ca_chain_rest(const char *certificate_pem, const char *previous_pem)
{
    return g_strconcat(behind_first(previous_pem), certificate_pem, NULL);
}

bool ca_rotation_is_over(const struct ca_certificate *ca, uint64_t now_unix_ms)
{
    uint64_t days = CA_BACKDATE_DAYS + CA_ROTATION_DAYS;

    return now_unix_ms >= ca->from_unix_ms + days * DAY_S * 1000;
}

/* ---- looking ---- */

uint64_t ca_node_id(const char *common_name)
{
    guint64 id = 0;

    if (!common_name || strlen(common_name) != 16 ||
        strspn(common_name, "0123456789abcdef") != 16 ||
        !g_ascii_string_to_unsigned(common_name, 16, 1, UINT64_MAX, &id, NULL)) {
        return 0;
    }
    return id;
}

static uint64_t time_to_unix_ms(const ASN1_TIME *time)
{
    ASN1_TIME *zero = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0;

    ASN1_TIME_diff(&days, &seconds, zero, time);
    ASN1_TIME_free(zero);
    int64_t s = days * (int64_t)DAY_S + seconds;
    return s > 0 ? (uint64_t)s * 1000 : 0;
}

int ca_look(const char *pem, struct ca_certificate *out, GError **error)
{
    ERR_clear_error();
    _cleanup_(X509_freep) X509 *certificate = certificate_from_pem(pem);
    char name[64] = "";
    unsigned length;

    if (!certificate) {
        return fail(error, "not a certificate in PEM");
    }
    *out = (struct ca_certificate){.node_id = 0};
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                              sizeof name);
    out->node_id = ca_node_id(name);
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = BN_bn2hex(serial);
    g_autofree char *lower = g_ascii_strdown(hex, -1);
    g_strlcpy(out->serial, lower, sizeof out->serial);
    OPENSSL_free(hex);
    BN_free(serial);
    out->from_unix_ms = time_to_unix_ms(X509_get0_notBefore(certificate));
    out->until_unix_ms = time_to_unix_ms(X509_get0_notAfter(certificate));
    X509_digest(certificate, EVP_sha256(), out->fingerprint, &length);
    return 0;
}

bool ca_is_due(const struct ca_certificate *certificate, uint64_t now_unix_ms)
{
    uint64_t life_ms = certificate->until_unix_ms - certificate->from_unix_ms;

    return now_unix_ms < certificate->from_unix_ms ||
           now_unix_ms - certificate->from_unix_ms >= life_ms / 3 * 2;
}

/* ---- the key at rest ---- */

GBytes *ca_seal(const uint8_t cluster_key[CA_KEY_BYTES], const char *key_pem)
{
    _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    size_t length = strlen(key_pem);
    uint8_t *out = g_malloc(1 + SEAL_NONCE + length + SEAL_TAG);
    uint8_t *nonce = out + 1, *body = nonce + SEAL_NONCE;
    int n;

    out[0] = SEAL_FORMAT;
    RAND_bytes(nonce, SEAL_NONCE);
    EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, cluster_key, nonce);
    EVP_EncryptUpdate(cipher, NULL, &n, out, 1);
    EVP_EncryptUpdate(cipher, body, &n, (const uint8_t *)key_pem, (int)length);
    EVP_EncryptFinal_ex(cipher, body + n, &n);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, SEAL_TAG, body + length);
    return g_bytes_new_take(out, 1 + SEAL_NONCE + length + SEAL_TAG);
}

char *ca_unseal(const uint8_t cluster_key[CA_KEY_BYTES], GBytes *sealed, GError **error)
{
    _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    gsize length;
    const uint8_t *in = g_bytes_get_data(sealed, &length);
    int n;

    ERR_clear_error();
    if (length < 1 + SEAL_NONCE + SEAL_TAG || in[0] != SEAL_FORMAT) {
        fail(error, "the CA's key is not as microcloud seals it");
        return NULL;
    }
    const uint8_t *nonce = in + 1, *body = nonce + SEAL_NONCE;
    size_t body_length = length - 1 - SEAL_NONCE - SEAL_TAG;
    g_autofree char *key_pem = g_malloc0(body_length + 1);
    EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, cluster_key, nonce);
    EVP_DecryptUpdate(cipher, NULL, &n, in, 1);
    EVP_DecryptUpdate(cipher, (uint8_t *)key_pem, &n, body, (int)body_length);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, SEAL_TAG, (void *)(body + body_length));
    if (EVP_DecryptFinal_ex(cipher, (uint8_t *)key_pem + n, &n) != 1) {
        fail(error, "the CA's key cannot be opened: tls/cluster.key is of another cluster");
        return NULL;
    }
    return TAKE(key_pem);
}

/* See tls.h. A reload makes a new SSL_CTX from the same options; connections hold a reference of
 * the one they began with. */
#include "net/tls.h"
#include "base/cleanup.h"
#include "net/tls_private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/auxv.h>
#include <unistd.h>

struct tls_context {
    unsigned references; /* the owner's, and one of each SSL_CTX that somebody still uses */
    SSL_CTX *ctx;
    bool is_client, require_client_certificate, insecure, any_name, is_pinned;
    char *certificate_file, *key_file, *ca_file, *minimum_version, *maximum_version, *ciphers,
        *alpn, *certificate_pem, *key_pem;
    uint8_t ca_sha256[32];
};

static const char *last_error(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);

    return text ? text : "unknown OpenSSL error";
}

static int fail(GError **error, const char *what, const char *file, const char *advice)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s '%s': %s: %s", what, file,
                last_error(), advice);
    ERR_clear_error();
    return -EINVAL;
}

static int load_pem(const struct tls_context *context, SSL_CTX *ctx, GError **error)
{
    BIO *certificate_bio = BIO_new_mem_buf(context->certificate_pem, -1);
    BIO *key_bio = BIO_new_mem_buf(context->key_pem, -1);
    X509 *certificate = PEM_read_bio_X509(certificate_bio, NULL, NULL, NULL), *more;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    bool is_right = certificate && key && SSL_CTX_use_certificate(ctx, certificate) == 1 &&
                    SSL_CTX_use_PrivateKey(ctx, key) == 1;

    while (is_right && (more = PEM_read_bio_X509(certificate_bio, NULL, NULL, NULL))) {
        SSL_CTX_add0_chain_cert(ctx, more);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    BIO_free(certificate_bio);
    BIO_free(key_bio);
    if (!is_right) {
        return fail(error, "certificate", "in memory", "it and its key must be PEM");
    }
    ERR_clear_error();
    return 0;
}

static int load_authorities(const struct tls_context *context, SSL_CTX *ctx, GError **error)
{
    const char *path = context->ca_file;
    bool is_directory = g_file_test(path, G_FILE_TEST_IS_DIR);

    if (SSL_CTX_load_verify_locations(ctx, is_directory ? NULL : path,
                                      is_directory ? path : NULL) != 1) {
        return fail(error, "CA file", path, "give a readable PEM file with the CA's certificate");
    }
    if (!context->is_client) {
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(path));
    }
    return 0;
}

static int load_files(const struct tls_context *context, SSL_CTX *ctx, GError **error)
{
    ERR_clear_error();
    if (context->certificate_pem && load_pem(context, ctx, error) < 0) {
        return -EINVAL;
    }
    if (context->certificate_file &&
        SSL_CTX_use_certificate_chain_file(ctx, context->certificate_file) != 1) {
        return fail(error, "certificate", context->certificate_file,
                    "give a readable PEM file with the chain");
    }
    const char *key_file = context->key_file ? context->key_file : context->certificate_file;
    if (key_file && SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1) {
        return fail(error, "key", key_file, "give the readable PEM key of the certificate");
    }
    if (key_file && SSL_CTX_check_private_key(ctx) != 1) {
        return fail(error, "key", key_file, "it does not belong to the certificate");
    }
    return context->ca_file ? load_authorities(context, ctx, error) : 0;
}

/* Trusts the one certificate of the peer's chain that has the fingerprint, and nothing else. */
static int verify_pinned(X509_STORE_CTX *store, void *owner)
{
    const struct tls_context *context = owner;
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    STACK_OF(X509) *trusted = sk_X509_new_null();
    uint8_t sha256[EVP_MAX_MD_SIZE];
    unsigned length;

    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        if (X509_digest(certificate, EVP_sha256(), sha256, &length) == 1 &&
            memcmp(sha256, context->ca_sha256, sizeof context->ca_sha256) == 0) {
            sk_X509_push(trusted, certificate);
        }
    }
    int r = 0;
    if (sk_X509_num(trusted) > 0) {
        X509_STORE_CTX_set0_trusted_stack(store, trusted);
        r = X509_verify_cert(store);
    } else {
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    }
    sk_X509_free(trusted);
    return r;
}

static void set_verification(const struct tls_context *context, SSL_CTX *ctx)
{
    if (context->is_client) {
        if (!context->ca_file && !context->is_pinned) {
            SSL_CTX_set_default_verify_paths(ctx);
        }
        if (context->is_pinned) {
            SSL_CTX_set_cert_verify_callback(ctx, verify_pinned, (void *)context);
        }
        SSL_CTX_set_verify(ctx, context->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    } else if (context->ca_file) {
        SSL_CTX_set_verify(
            ctx,
            SSL_VERIFY_PEER |
                (context->require_client_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
            NULL);
    }
}

/* The first protocol of the client's that is among ours. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_length,
                       const unsigned char *in, unsigned in_length, void *owner)
{
    const struct tls_context *context = owner;
    g_auto(GStrv) ours = g_strsplit(context->alpn, " ", -1);

    for (unsigned at = 0; at < in_length && at + 1 + in[at] <= in_length; at += 1 + in[at]) {
        g_autofree char *theirs = g_strndup((const char *)in + at + 1, in[at]);
        if (g_strv_contains((const char *const *)ours, theirs)) {
            *out = in + at + 1;
            *out_length = in[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Whoever lacks instructions for AES (a Raspberry Pi 4) is several times as fast with ChaCha20. */
static bool has_fast_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#elif defined(__arm__)
    return (getauxval(AT_HWCAP2) & HWCAP2_AES) != 0;
#else
    return false;
#endif
}

/* ChaCha20 when either side has it first, else AES with 128 bits. */
static void set_ciphers_1_3(SSL_CTX *ctx)
{
    SSL_CTX_set_ciphersuites(
        ctx, has_fast_aes()
                 ? "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
                 : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
    SSL_CTX_set_options(ctx, SSL_OP_PRIORITIZE_CHACHA);
}

static int set_choices(const struct tls_context *context, SSL_CTX *ctx, GError **error)
{
    if (context->ciphers && SSL_CTX_set_cipher_list(ctx, context->ciphers) != 1) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "ciphers '%s': none of them is known; `openssl ciphers` lists them",
                    context->ciphers);
        return -EINVAL;
    }
    size_t length = context->alpn ? strlen(context->alpn) : 0;
    if (length > UINT8_MAX) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "ALPN: at most 255 bytes");
        return -EINVAL;
    }
    if (length > 0 && !context->is_client) {
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, (void *)context);
    } else if (length > 0) {
        g_autofree char *wire = g_strdup_printf("%c%s", (int)length, context->alpn);
        SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)wire, (unsigned)length + 1);
    }
    return 0;
}

/* ---- life ---- */

static void unref(struct tls_context *context)
{
    if (--context->references > 0) {
        return;
    }
    g_free(context->certificate_file);
    g_free(context->key_file);
    g_free(context->ca_file);
    g_free(context->minimum_version);
    g_free(context->maximum_version);
    g_free(context->ciphers);
    g_free(context->alpn);
    g_free(context->certificate_pem);
    g_free(context->key_pem);
    g_free(context);
}

static void on_ctx_free(void *parent, void *context, CRYPTO_EX_DATA *data, int index, long argument,
                        void *pointer)
{
    if (context) {
        unref(context);
    }
}

/* Its callbacks look at the context, as long as a handshake lasts: so it holds a reference. */
static SSL_CTX *ctx_new(struct tls_context *context)
{
    static int index = -1;

    if (index < 0) {
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
    }
    SSL_CTX *ctx = SSL_CTX_new(context->is_client ? TLS_client_method() : TLS_server_method());
    SSL_CTX_set_ex_data(ctx, index, context);
    context->references++;
    return ctx;
}

static SSL_CTX *make(struct tls_context *context, GError **error)
{
    SSL_CTX *ctx = ctx_new(context);
    bool is_1_3 = g_strcmp0(context->minimum_version, "1.3") == 0;

    if (g_strcmp0(context->maximum_version, "1.2") == 0) {
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    }
    SSL_CTX_set_min_proto_version(ctx, is_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(ctx, 1); /* header and content of a record with one recv */
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"microcloud", 10);
    set_ciphers_1_3(ctx);
    set_verification(context, ctx);
    if (set_choices(context, ctx, error) < 0 || load_files(context, ctx, error) < 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

struct tls_context *tls_context_new(const struct tls_options *options, GError **error)
{
    struct tls_context *context = g_new0(struct tls_context, 1);

    context->references = 1;
    context->is_client = options->is_client;
    context->require_client_certificate = options->require_client_certificate;
    context->insecure = options->insecure;
    context->certificate_file = g_strdup(options->certificate_file);
    context->key_file = g_strdup(options->key_file);
    context->ca_file = g_strdup(options->ca_file);
    context->minimum_version = g_strdup(options->minimum_version);
    context->maximum_version = g_strdup(options->maximum_version);
    context->ciphers = g_strdup(options->ciphers);
    context->alpn = g_strdup(options->alpn);
    context->certificate_pem = g_strdup(options->certificate_pem);
    context->key_pem = g_strdup(options->key_pem);
    context->any_name = options->any_name;
    context->is_pinned = options->ca_sha256 != NULL;
    if (context->is_pinned) {
        memcpy(context->ca_sha256, options->ca_sha256, sizeof context->ca_sha256);
    }
    context->ctx = make(context, error);
    if (!context->ctx) {
        tls_context_free(context);
        return NULL;
    }
    return context;
}

int tls_context_reload(struct tls_context *context, GError **error)
{
    SSL_CTX *fresh = make(context, error);

    if (!fresh) {
        return -EINVAL;
    }
    SSL_CTX_free(context->ctx);
    context->ctx = fresh;
    return 0;
}

void tls_context_free(struct tls_context *context)
{
    if (!context) {
        return;
    }
    SSL_CTX_free(context->ctx);
    unref(context);
}

SSL *tls_connection_new(struct tls_context *context, const char *host)
{
    SSL *ssl = SSL_new(context->ctx);

    if (!context->is_client) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    if (context->any_name || context->is_pinned) {
        return ssl;
    }
    struct in6_addr address;
    bool is_address = host && (inet_pton(AF_INET, host, &address) == 1 ||
                               inet_pton(AF_INET6, host, &address) == 1);
    if (is_address) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
    } else if (host) {
        SSL_set_tlsext_host_name(ssl, host);
        SSL_set1_host(ssl, host);
    }
    return ssl;
}

/* ---- a certificate of one's own ---- */

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static X509 *sign(EVP_PKEY *key, const char *name)
{
    X509 *certificate = X509_new();
    uint8_t serial[16];
    g_autofree char *names = g_strdup_printf("DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1", name);

    RAND_bytes(serial, sizeof serial);
    serial[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    X509_set_version(certificate, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3650L * 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    add_extension(certificate, NID_subject_alt_name, names);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(certificate, key, EVP_sha256());
    return certificate;
}

static char *bio_to_text(BIO *bio)
{
    const char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    char *text = g_strndup(bytes, (size_t)length);

    BIO_free(bio);
    return text;
}

int tls_make_certificate(const char *name, char **certificate_pem, char **key_pem,
                         uint8_t sha256[32], GError **error)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    unsigned length;

    if (!key) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "key: %s", last_error());
        return -EIO;
    }
    X509 *certificate = sign(key, name);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    *certificate_pem = bio_to_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    *key_pem = bio_to_text(bio);
    X509_digest(certificate, EVP_sha256(), sha256, &length);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return 0;
}

static FILE *create(const char *file, mode_t mode, GError **error)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "'%s': %s", file,
                    g_strerror(errno));
        return NULL;
    }
    return fdopen(fd, "w");
}

static int close_synced(FILE *file, const char *name, GError **error)
{
    bool is_written = fflush(file) == 0 && fsync(fileno(file)) == 0;

    is_written &= fclose(file) == 0;
    if (!is_written) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "'%s': %s", name,
                    g_strerror(errno));
    }
    return is_written ? 0 : -EIO;
}

static int write_pair(EVP_PKEY *key, X509 *certificate, const char *certificate_file,
                      const char *key_file, GError **error)
{
    FILE *file = create(key_file, 0600, error);

    if (!file) {
        return -EIO;
    }
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    if (close_synced(file, key_file, error) < 0 ||
        !(file = create(certificate_file, 0644, error))) {
        return -EIO;
    }
    PEM_write_X509(file, certificate);
    return close_synced(file, certificate_file, error);
}

int tls_make_self_signed(const char *certificate_file, const char *key_file, const char *name,
                         GError **error)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");

    if (!key) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "key: %s", last_error());
        return -EIO;
    }
    X509 *certificate = sign(key, name);
    int r = write_pair(key, certificate, certificate_file, key_file, error);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return r;
}

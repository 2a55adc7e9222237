/* TLS contexts (OpenSSL 3): 1.2 and 1.3, certificates reloadable without dropping anyone. */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct tls_context;

struct tls_options {
    bool is_client;
    const char *certificate_file; /* PEM chain; clients: optional */
    const char *key_file;
    const char *ca_file; /* servers: client certificates are verified against it; clients: NULL =
                            system's */
    bool require_client_certificate; /* servers */
    bool insecure;                   /* clients: do not verify (only on explicit request) */
    const char *minimum_version;     /* "1.2" (default) or "1.3" */
    const char *maximum_version;     /* "1.2" or "1.3" (default) */
    const char *ciphers;             /* of TLS 1.2, as openssl lists them; NULL = its default */
    const char *alpn;                /* clients: the protocol to ask for; NULL for none */
};

/* Messages name the file and what to do. */
struct tls_context *tls_context_new(const struct tls_options *options, GError **error);
/* Reads the files again for new connections; on error the old ones stay. */
int tls_context_reload(struct tls_context *context, GError **error);
void tls_context_free(struct tls_context *context); /* streams hold their own reference */
/* Makes a self-signed certificate and key (P-256, ten years) at the two paths, key 0600. */
int tls_make_self_signed(const char *certificate_file, const char *key_file, const char *name,
                         GError **error);

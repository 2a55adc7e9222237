/* TLS contexts (OpenSSL 3): 1.2 and 1.3, certificates reloadable without dropping anyone. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

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
    const char *alpn;                /* clients: the protocol to ask for; servers: those that are
                                        spoken, one of which must be asked for: "raft link join";
                                        NULL for none */
    const char *certificate_pem, *key_pem; /* instead of the two files */
    const uint8_t *ca_sha256; /* clients: 32 bytes; the peer's chain must hold a certificate with
                                 this fingerprint, which then is the only one that is trusted */
    bool any_name; /* clients: the certificate need not name the host; its owner looks at the CN */
};

/* Messages name the file and what to do. With `ca_sha256`, or `alpn` of a server, it must live
 * until no handshake is under way. */
struct tls_context *tls_context_new(const struct tls_options *options, GError **error);
/* Reads the files again for new connections; on error the old ones stay. */
int tls_context_reload(struct tls_context *context, GError **error);
void tls_context_free(struct tls_context *context); /* streams hold their own reference */
/* A self-signed certificate and key (P-256, ten years) as PEM, for a connection that is told their
 * fingerprint by another way (32 bytes); the caller frees both. */
int tls_make_certificate(const char *name, char **certificate_pem, char **key_pem,
                         uint8_t sha256[32], GError **error);
/* Makes a self-signed certificate and key (P-256, ten years) at the two paths, key 0600. */
int tls_make_self_signed(const char *certificate_file, const char *key_file, const char *name,
                         GError **error);

/* Inside of net/: a new OpenSSL connection from a context. */
#pragma once

#include <openssl/types.h>
#include <stdbool.h>

struct tls_context;

/* In accept or connect state; `host` is verified and sent as SNI (clients; NULL for none). */
SSL *tls_connection_new(struct tls_context *context, const char *host);

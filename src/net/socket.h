/* Streams over sockets: TCP, Unix, and TLS over either. Inside of net/. */
#pragma once

#include "net/stream.h"
#include <openssl/types.h>

/* Takes the connected, non-blocking `fd`, and `ssl` (a new connection in accept or connect state;
 * NULL for none). `address` replaces the peer's own when set (PROXY). */
struct stream *socket_stream_new(struct loop *loop, int fd, SSL *ssl, const char *address,
                                 uint16_t port);
/* Memory of an idle plain one, without its address. */
size_t socket_stream_bytes(void);

/* Outgoing connections (bridges, command line): resolves a name off the loop, tries each address,
 * then TLS. */
#pragma once

#include <stdint.h>

struct loop;
struct stream;
struct connector;
struct tls_context;

/* `on_done` runs once: with a stream that it now owns, or NULL and a message. TLS is complete and
 * verified by then. `host` "unix:PATH" is a Unix socket. */
struct connector *
connector_new(struct loop *loop, const char *host, uint16_t port, struct tls_context *tls,
              uint64_t timeout_ms,
              void (*on_done)(void *owner, struct stream *stream, const char *error), void *owner);
/* Connects from this numeric address of this machine; right after connector_new, for TCP. */
void connector_bind(struct connector *connector, const char *address);
/* Gives up when it is still under way (then `on_done` is not called). */
void connector_free(struct connector *connector);

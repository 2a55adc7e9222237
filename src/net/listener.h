/* Listening sockets: TCP (IPv4, IPv6), TLS over TCP, Unix; optionally PROXY protocol v2 before the
 * rest. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct stream;
struct listener;
struct tls_context;

struct listener_options {
    const char *address;     /* numeric; NULL or "" = every address, both families on one port */
    uint16_t port;           /* 0 = any free one: see listener_port */
    const char *unix_path;   /* set: a Unix socket instead; a stale socket file is replaced */
    unsigned unix_mode;      /* its file mode, 0600 when 0 */
    struct tls_context *tls; /* borrowed; NULL for none */
    bool proxy_protocol;     /* a PROXY v2 header must come first (bounded in size and time) */
};

/* `on_stream` gets each accepted stream, after the PROXY header and before a TLS handshake is
 * through; it takes ownership and calls stream_start, or stream_reset to refuse. Errors name the
 * address: "address in use". */
struct listener *listener_new(struct loop *loop, const struct listener_options *options,
                              void (*on_stream)(void *owner, struct stream *stream), void *owner,
                              GError **error);
/* Stops listening; accepted streams live on. */
void listener_free(struct listener *listener);
uint16_t listener_port(const struct listener *listener);

/* libraft's connections: TLS streams with ALPN `raft` outside, one end of a socket pair for libraft
 * inside; bytes are copied both ways, each side held back when the other does not take them. Knows
 * nothing of what the bytes mean. The owner hands what comes out to consensus (consensus.h). */
#pragma once

#include <stdint.h>

struct loop;
struct raft_transport;
struct stream;
struct tls_context;

struct raft_transport_events {
    /* Ends a raft_transport_connect: a descriptor that the callee now owns, or a negative errno. */
    void (*on_connected)(void *owner, uint64_t token, int fd_or_error);
    /* Of a raft_transport_accept; the callee owns `fd`. */
    void (*on_accepted)(void *owner, uint64_t node_id, int fd);
};

struct raft_transport_options {
    struct loop *loop;
    struct tls_context *client; /* ALPN "raft", the node's certificate; borrowed */
    unsigned silence_ms;        /* TCP_USER_TIMEOUT; 0 = 3000 */
    const struct raft_transport_events *events;
    void *owner;
};

struct raft_transport *raft_transport_new(const struct raft_transport_options *options);
/* Closes all; no event comes any more. */
void raft_transport_free(struct raft_transport *transport);

/* Of connections that are made from now on; dialling has two thirds of it. */
void raft_transport_set_silence(struct raft_transport *transport, unsigned silence_ms);

/* Dials `address` ("host:port") and checks that the node there is the one meant: on_connected comes
 * later, once, unless it is cancelled. */
void raft_transport_connect(struct raft_transport *transport, uint64_t node_id, const char *address,
                            uint64_t token);
void raft_transport_cancel(struct raft_transport *transport, uint64_t token);
/* From the peer listener; takes the stream. */
void raft_transport_accept(struct raft_transport *transport, uint64_t node_id,
                           struct stream *stream);
/* The node was removed: its connections end. */
void raft_transport_drop(struct raft_transport *transport, uint64_t node_id);
/* Those whose other side's certificate was signed by any other CA than this one end. */
void raft_transport_drop_others(struct raft_transport *transport, const uint8_t ca_sha256[32]);
unsigned raft_transport_count(const struct raft_transport *transport);

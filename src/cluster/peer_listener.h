/* Port 7474: TLS 1.3, sorted by ALPN and by the id in the client's certificate. `raft` and `link`
 * want a certificate of the cluster's CA whose node is in the state; `join` wants none. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct peer_listener;
struct stream;
struct tls_context;

#define PEER_ALPN                "raft link join"
#define PEER_PORT                7474
#define PEER_HANDSHAKES_MAX      256 /* under way at once; more are refused */
#define PEER_REFUSED_LOG_EACH_MS 60000

struct peer_listener_events {
    /* All get a stream with its handshake done that is not started yet, and own it. */
    void (*on_raft)(void *owner, uint64_t node_id, struct stream *stream);
    void (*on_link)(void *owner, uint64_t node_id, struct stream *stream);
    void (*on_join)(void *owner, struct stream *stream);
    /* Whether this node belongs to the cluster (not removed). */
    bool (*is_member)(void *owner, uint64_t node_id);
    /* For a link: a member, or one that may have become one without this node knowing of it. */
    bool (*let_in)(void *owner, uint64_t node_id);
    /* One that is no member, with a certificate of the cluster's CA: was it removed? Then it gets
     * its stream to be told so. */
    bool (*was_removed)(void *owner, uint64_t node_id);
    void (*on_removed)(void *owner, struct stream *stream);
};

struct peer_listener_options {
    struct loop *loop;
    const char *address;     /* numeric; NULL = every address */
    uint16_t port;           /* 0 = any free one */
    struct tls_context *tls; /* peer_tls_server; borrowed */
    const struct peer_listener_events *events;
    void *owner;
};

struct peer_listener *peer_listener_new(const struct peer_listener_options *options,
                                        GError **error);
void peer_listener_free(struct peer_listener *listener);
/* The certificate is another: handshakes under way, which show the old one, end. */
void peer_listener_renew(struct peer_listener *listener);
uint16_t peer_listener_port(const struct peer_listener *listener);

/* The contexts of a node, from its files: tls/node.pem (chain), tls/node.key, tls/ca.pem (one or
 * two CAs). tls_context_reload after they were replaced. */
struct tls_context *peer_tls_server(const char *directory, GError **error);
struct tls_context *peer_tls_client(const char *directory, const char *alpn, GError **error);

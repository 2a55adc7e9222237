/* See peer_listener.h. A handshake that is under way is a `greeting`; they are bounded in number,
 * and net/ bounds each in time. */
#include "cluster/peer_listener.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cluster/ca.h"
#include "loop/loop.h"
#include "net/listener.h"
#include "net/stream.h"
#include "net/tls.h"
#include <errno.h>
#include <string.h>

struct greeting {
    struct peer_listener *listener;
    struct stream *stream;
};

struct peer_listener {
    struct loop *loop;
    struct listener *listener;
    const struct peer_listener_events *events;
    void *owner;
    GPtrArray *greetings; /* of struct greeting */
    uint64_t refused_logged_ms;
};

/* ---- who it is ---- */

static void refuse(struct peer_listener *listener, struct stream *stream, const char *why)
{
    struct stream_peer peer;
    uint64_t now_ms = loop_now_ms(listener->loop);

    stream_peer(stream, &peer);
    if (listener->refused_logged_ms == 0 ||
        now_ms >= listener->refused_logged_ms + PEER_REFUSED_LOG_EACH_MS) {
        listener->refused_logged_ms = now_ms;
        log_warning("refused at the port for nodes", "address=%s why=\"%s\"", peer.address, why);
    }
    stream_reset(stream);
}

static void sort_out(struct peer_listener *listener, struct stream *stream)
{
    const struct peer_listener_events *events = listener->events;
    struct stream_peer peer;

    stream_peer(stream, &peer);
    bool is_raft = g_strcmp0(peer.alpn, "raft") == 0;
    uint64_t node_id = peer.certificate_cn ? ca_node_id(peer.certificate_cn) : 0;
    if (g_strcmp0(peer.alpn, "join") == 0) {
        events->on_join(listener->owner, stream);
    } else if (node_id == 0) {
        refuse(listener, stream, "it has no certificate of this cluster");
    } else if (!events->is_member(listener->owner, node_id) && !is_raft &&
               events->was_removed(listener->owner, node_id)) {
        events->on_removed(listener->owner, stream);
    } else if (!(is_raft ? events->is_member : events->let_in)(listener->owner, node_id)) {
        refuse(listener, stream, "its node does not belong to the cluster, or not any more");
    } else if (is_raft) {
        events->on_raft(listener->owner, node_id, stream);
    } else {
        events->on_link(listener->owner, node_id, stream);
    }
}

static void on_handshake(void *owner, const char *error)
{
    struct greeting *greeting = owner;
    struct peer_listener *listener = greeting->listener;
    struct stream *stream = TAKE(greeting->stream);

    g_ptr_array_remove_fast(listener->greetings, greeting);
    g_free(greeting);
    if (error) {
        refuse(listener, stream, error);
    } else {
        sort_out(listener, stream);
    }
}

static void on_stream(void *owner, struct stream *stream)
{
    struct peer_listener *listener = owner;

    if (listener->greetings->len >= PEER_HANDSHAKES_MAX) {
        refuse(listener, stream, "too many handshakes at once");
        return;
    }
    struct greeting *greeting = g_new0(struct greeting, 1);
    *greeting = (struct greeting){listener, stream};
    g_ptr_array_add(listener->greetings, greeting);
    stream_handshake(stream, on_handshake, greeting);
}

/* ---- life ---- */

struct peer_listener *peer_listener_new(const struct peer_listener_options *options, GError **error)
{
    struct peer_listener *listener = g_new0(struct peer_listener, 1);
    struct listener_options tcp = {
        .address = options->address, .port = options->port, .tls = options->tls};

    listener->loop = options->loop;
    listener->events = options->events;
    listener->owner = options->owner;
    listener->greetings = g_ptr_array_new();
    listener->listener = listener_new(options->loop, &tcp, on_stream, listener, error);
    if (!listener->listener) {
        g_prefix_error(error, "port for other nodes (--peer-port): ");
        g_clear_pointer(&listener, peer_listener_free);
    }
    return listener;
}

void peer_listener_renew(struct peer_listener *listener)
{
    for (guint i = 0; i < listener->greetings->len; i++) {
        struct greeting *greeting = g_ptr_array_index(listener->greetings, i);
        stream_reset(greeting->stream);
        g_free(greeting);
    }
    g_ptr_array_set_size(listener->greetings, 0);
}

void peer_listener_free(struct peer_listener *listener)
{
    if (!listener) {
        return;
    }
    if (listener->listener) {
        listener_free(listener->listener);
    }
    peer_listener_renew(listener);
    g_ptr_array_unref(listener->greetings);
    g_free(listener);
}

uint16_t peer_listener_port(const struct peer_listener *listener)
{
    return listener_port(listener->listener);
}

/* ---- contexts ---- */

static struct tls_context *make_context(const char *directory, bool is_client, const char *alpn,
                                        GError **error)
{
    g_autofree char *certificate = g_build_filename(directory, "tls", "node.pem", NULL);
    g_autofree char *key = g_build_filename(directory, "tls", "node.key", NULL);
    g_autofree char *authority = g_build_filename(directory, "tls", "ca.pem", NULL);
    struct tls_options options = {.is_client = is_client,
                                  .certificate_file = certificate,
                                  .key_file = key,
                                  .ca_file = authority,
                                  .minimum_version = "1.3",
                                  .alpn = alpn,
                                  .any_name = is_client};

    return tls_context_new(&options, error);
}

struct tls_context *peer_tls_server(const char *directory, GError **error)
{
    return make_context(directory, false, PEER_ALPN, error);
}

struct tls_context *peer_tls_client(const char *directory, const char *alpn, GError **error)
{
    return make_context(directory, true, alpn, error);
}

/* See raft_transport.h. A pipe is one connection of libraft's: `outer` speaks TLS with the other
 * node, `inner` is our end of the socket pair. What comes in on one is written to the other, and
 * reading stops while the other has much to send. When one ends, so does the other. */
#include "cluster/raft_transport.h"
#include "base/log.h"
#include "cluster/ca.h"
#include "cluster/token.h"
#include "loop/loop.h"
#include "net/connector.h"
#include "net/stream.h"
#include "net/stream_pair.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SILENCE_MS   3000
#define LINGER_MS    500
#define PORT         7474
#define WARN_EACH_MS 60000

struct pipe {
    struct raft_transport *transport;
    uint64_t node_id;
    struct stream *outer, *inner;
};

/* A connection that libraft wants. */
struct dial {
    struct raft_transport *transport;
    uint64_t node_id, token;
    struct connector *connector;
};

struct raft_transport {
    struct raft_transport_options options;
    GPtrArray *pipes;   /* of struct pipe */
    GPtrArray *dials;   /* of struct dial */
    uint64_t warned_ms; /* 0 = never */
};

/* ---- copying ---- */

static void end_pipe(struct pipe *pipe)
{
    stream_close(pipe->outer, LINGER_MS);
    stream_close(pipe->inner, LINGER_MS);
    g_ptr_array_remove_fast(pipe->transport->pipes, pipe);
    g_free(pipe);
}

static size_t copy(struct stream *from, struct stream *to, const uint8_t *bytes, size_t length)
{
    stream_write(to, bytes, length);
    if (stream_pending_bytes(to) > STREAM_HIGH_WATER_BYTES) {
        stream_pause(from);
    }
    return length;
}

static size_t on_outer_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct pipe *pipe = owner;

    return copy(pipe->outer, pipe->inner, bytes, length);
}

static size_t on_inner_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct pipe *pipe = owner;

    return copy(pipe->inner, pipe->outer, bytes, length);
}

static void on_outer_drained(void *owner)
{
    stream_resume(((struct pipe *)owner)->inner);
}

static void on_inner_drained(void *owner)
{
    stream_resume(((struct pipe *)owner)->outer);
}

static void on_outer_end(void *owner, int error)
{
    struct pipe *pipe = owner;

    stream_close(pipe->inner, LINGER_MS);
    g_ptr_array_remove_fast(pipe->transport->pipes, pipe);
    g_free(pipe);
}

static void on_inner_end(void *owner, int error)
{
    struct pipe *pipe = owner;

    stream_close(pipe->outer, LINGER_MS);
    g_ptr_array_remove_fast(pipe->transport->pipes, pipe);
    g_free(pipe);
}

static const struct stream_events outer_events = {on_outer_bytes, on_outer_drained, on_outer_end};
static const struct stream_events inner_events = {on_inner_bytes, on_inner_drained, on_inner_end};

/* Returns libraft's descriptor, or a negative errno; then `outer` is gone. */
static int open_pipe(struct raft_transport *transport, uint64_t node_id, struct stream *outer)
{
    struct stream *inner;
    int fd;
    int r = stream_pair_with_fd(transport->options.loop, &inner, &fd);

    if (r < 0) {
        stream_reset(outer);
        return r;
    }
    struct pipe *pipe = g_new0(struct pipe, 1);
    *pipe = (struct pipe){transport, node_id, outer, inner};
    g_ptr_array_add(transport->pipes, pipe);
    stream_set_silence_ms(outer, transport->options.silence_ms);
    stream_start(outer, &outer_events, pipe);
    stream_start(inner, &inner_events, pipe);
    return fd;
}

/* ---- dialling ---- */

static void end_dial(struct dial *dial)
{
    connector_free(dial->connector);
    g_ptr_array_remove_fast(dial->transport->dials, dial);
    g_free(dial);
}

/* libraft tries again several times a second, for as long as it is so. */
static void warn_of_stranger(struct raft_transport *transport, uint64_t node_id,
                             const char *address)
{
    uint64_t now_ms = loop_now_ms(transport->options.loop);

    if (transport->warned_ms == 0 || now_ms >= transport->warned_ms + WARN_EACH_MS) {
        transport->warned_ms = MAX(now_ms, 1);
        log_warning("another node answers there", "wanted=%016" G_GINT64_MODIFIER "x address=%s",
                    node_id, address);
    }
}

static void on_dialled(void *owner, struct stream *stream, const char *error)
{
    struct dial *dial = owner;
    struct raft_transport *transport = dial->transport;
    uint64_t token = dial->token, node_id = dial->node_id;
    int fd = -ECONNREFUSED;

    end_dial(dial);
    if (stream) {
        struct stream_peer peer;
        stream_peer(stream, &peer);
        if (ca_node_id(peer.certificate_cn) == node_id) {
            fd = open_pipe(transport, node_id, stream);
        } else {
            warn_of_stranger(transport, node_id, peer.address);
            stream_reset(stream);
        }
    }
    transport->options.events->on_connected(transport->options.owner, token, fd);
}

void raft_transport_connect(struct raft_transport *transport, uint64_t node_id, const char *address,
                            uint64_t token)
{
    g_autofree char *host = NULL;
    uint16_t port = PORT;
    struct dial *dial = g_new0(struct dial, 1);

    *dial = (struct dial){.transport = transport, .node_id = node_id, .token = token};
    g_ptr_array_add(transport->dials, dial);
    /* An address that is none does not resolve either. */
    if (address_split(address, &host, &port, NULL) < 0) {
        host = g_strdup(address);
    }
    dial->connector = connector_new(transport->options.loop, host, port, transport->options.client,
                                    transport->options.silence_ms * 2 / 3, on_dialled, dial);
}

void raft_transport_cancel(struct raft_transport *transport, uint64_t token)
{
    for (guint i = 0; i < transport->dials->len; i++) {
        struct dial *dial = g_ptr_array_index(transport->dials, i);
        if (dial->token == token) {
            end_dial(dial);
            return;
        }
    }
}

/* ---- accepting ---- */

void raft_transport_accept(struct raft_transport *transport, uint64_t node_id,
                           struct stream *stream)
{
    int fd = open_pipe(transport, node_id, stream);

    if (fd >= 0) {
        transport->options.events->on_accepted(transport->options.owner, node_id, fd);
    } else {
        log_warning("no descriptor for a connection of the log", "error=\"%s\"", g_strerror(-fd));
    }
}

/* ---- life ---- */

struct raft_transport *raft_transport_new(const struct raft_transport_options *options)
{
    struct raft_transport *transport = g_new0(struct raft_transport, 1);

    transport->options = *options;
    transport->options.silence_ms = options->silence_ms ? options->silence_ms : SILENCE_MS;
    transport->pipes = g_ptr_array_new();
    transport->dials = g_ptr_array_new();
    return transport;
}

void raft_transport_set_silence(struct raft_transport *transport, unsigned silence_ms)
{
    transport->options.silence_ms = silence_ms;
}

void raft_transport_drop(struct raft_transport *transport, uint64_t node_id)
{
    for (guint i = transport->pipes->len; i > 0; i--) {
        struct pipe *pipe = g_ptr_array_index(transport->pipes, i - 1);
        if (pipe->node_id == node_id) {
            end_pipe(pipe);
        }
    }
}

void raft_transport_drop_others(struct raft_transport *transport, const uint8_t ca_sha256[32])
{
    for (guint i = transport->pipes->len; i > 0; i--) {
        struct pipe *pipe = g_ptr_array_index(transport->pipes, i - 1);
        struct stream_peer peer;
        stream_peer(pipe->outer, &peer);
        if (!peer.issuer_sha256 || memcmp(peer.issuer_sha256, ca_sha256, 32) != 0) {
            end_pipe(pipe);
        }
    }
}

unsigned raft_transport_count(const struct raft_transport *transport)
{
    return transport->pipes->len;
}

void raft_transport_free(struct raft_transport *transport)
{
    if (!transport) {
        return;
    }
    while (transport->dials->len > 0) {
        end_dial(g_ptr_array_index(transport->dials, 0));
    }
    while (transport->pipes->len > 0) {
        end_pipe(g_ptr_array_index(transport->pipes, 0));
    }
    g_ptr_array_unref(transport->dials);
    g_ptr_array_unref(transport->pipes);
    g_free(transport);
}

/* libraft connects to each node that it sends to, and is connected to by each that sends to it;
 * both are streams of one direction. A connection that it wants is asked of the network, and waits
 * here until the answer comes or libraft closes. */
#include "consensus/transport.h"

#include "base/cleanup.h"
#include "consensus/engine.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include <errno.h>
#include <unistd.h>
#include <uv.h>

struct pending_connect {
    struct pending_connect *next;
    struct raft_uv_connect *request;
    uint64_t token;
};

static struct consensus *consensus_of(struct raft_uv_transport *transport)
{
    return transport->impl; /* `data` is libraft's */
}

static int on_init(struct raft_uv_transport *transport, raft_id id, const char *address)
{
    return 0;
}

static int on_listen(struct raft_uv_transport *transport, raft_uv_accept_cb accept)
{
    consensus_of(transport)->accept = accept;
    return 0;
}

static int on_connect(struct raft_uv_transport *transport, struct raft_uv_connect *request,
                      raft_id id, const char *address, raft_uv_connect_cb connected)
{
    struct consensus *self = consensus_of(transport);
    if (!self->network) {
        return RAFT_NOCONNECTION;
    }
    struct pending_connect *pending = g_new0(struct pending_connect, 1);
    request->cb = connected;
    pending->request = request;
    pending->token = ++self->next_token;
    pending->next = self->connects;
    self->connects = pending;
    self->network->connect(self->network->owner, id, pending->token);
    return 0;
}

static void on_close(struct raft_uv_transport *transport, raft_uv_transport_close_cb closed)
{
    struct consensus *self = consensus_of(transport);
    while (self->connects) {
        struct pending_connect *pending = self->connects;
        self->connects = pending->next;
        pending->request->cb(pending->request, NULL, RAFT_CANCELED);
        g_free(pending);
    }
    self->accept = NULL;
    closed(transport);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    raft_free(handle);
}

/* Memory of libraft's: it closes and frees the stream. NULL when the kernel refuses. */
static struct uv_stream_s *stream_of(struct consensus *self, int fd)
{
    uv_pipe_t *pipe = raft_malloc(sizeof *pipe);
    if (!pipe) {
        close(fd);
        return NULL;
    }
    uv_pipe_init(loop_native(self->loop), pipe, 0);
    if (uv_pipe_open(pipe, fd) != 0) {
        close(fd);
        uv_close((uv_handle_t *)pipe, on_pipe_closed);
        return NULL;
    }
    return (struct uv_stream_s *)pipe;
}

void consensus_connected(struct consensus *self, uint64_t token, int fd)
{
    struct pending_connect **at = &self->connects;
    while (*at && (*at)->token != token) {
        at = &(*at)->next;
    }
    struct pending_connect *pending = *at;
    if (!pending) { /* libraft has given up meanwhile */
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    *at = pending->next;
    struct uv_stream_s *stream = fd < 0 ? NULL : stream_of(self, fd);
    pending->request->cb(pending->request, stream, stream ? 0 : RAFT_NOCONNECTION);
    g_free(pending);
}

void consensus_accept(struct consensus *self, uint64_t node_id, int fd)
{
    if (!self->accept || self->stop_stage == STOP_CLOSING) {
        close(fd);
        return;
    }
    struct uv_stream_s *stream = stream_of(self, fd);
    if (stream) {
        self->accept(&self->transport, node_id, "", stream);
    }
}

static void on_probed(struct raft_io_send *request, int status)
{
    g_free(request);
}

/* libraft only hears that a connection is gone from the first message that it loses, and a lost
 * vote costs an election. So it loses this one, which means nothing to anybody (no term), as soon
 * as the node is there again. */
void transport_probe(struct consensus *self, uint64_t node_id)
{
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE_RESULT, .server_id = node_id, .server_address = ""};

    if (!self->is_engine_open || self->stop_stage == STOP_CLOSING || !self->accept) {
        return;
    }
    message.request_vote_result.version = 2;
    struct raft_io_send *request = g_new0(struct raft_io_send, 1);
    if (self->io.send(&self->io, request, &message, on_probed) != 0) {
        g_free(request);
    }
}

void transport_init(struct consensus *self)
{
    self->transport = (struct raft_uv_transport){
        .version = 1,
        .impl = self,
        .init = on_init,
        .listen = on_listen,
        .connect = on_connect,
        .close = on_close,
    };
}

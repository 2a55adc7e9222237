/* The seam for several nodes: `listen` keeps the callback and `connect` will hand out one end of a
 * socket pair whose other end is a TLS stream of `net`. A cluster of one has nobody to connect to.
 */
#include "consensus/transport.h"

#include <raft/uv.h>
#include <string.h>

static int on_init(struct raft_uv_transport *transport, raft_id id, const char *address)
{
    return 0;
}

static int on_listen(struct raft_uv_transport *transport, raft_uv_accept_cb accept)
{
    return 0;
}

static int on_connect(struct raft_uv_transport *transport, struct raft_uv_connect *request,
                      raft_id id, const char *address, raft_uv_connect_cb connected)
{
    return RAFT_NOCONNECTION;
}

static void on_close(struct raft_uv_transport *transport, raft_uv_transport_close_cb closed)
{
    closed(transport);
}

void transport_init(struct raft_uv_transport *transport)
{
    memset(transport, 0, sizeof *transport);
    transport->version = 1;
    transport->init = on_init;
    transport->listen = on_listen;
    transport->connect = on_connect;
    transport->close = on_close;
}

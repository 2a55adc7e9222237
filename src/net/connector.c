/* See connector.h. Each address of a name is tried for an equal share of the time; the last error
 * is told. */
#include "net/connector.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include "net/socket.h"
#include "net/stream_pair.h"
#include "net/tls.h"
#include "net/tls_private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

struct connector {
    struct loop *loop;
    struct tls_context *tls;
    char *host, *source; /* source: numeric, or NULL */
    uv_getaddrinfo_t lookup;
    uv_poll_t *poll; /* of the address being tried; freed when closed */
    struct addrinfo *addresses, *at;
    struct timer *timer;
    struct stream *handshaking; /* TLS; owned until done */
    void (*on_done)(void *owner, struct stream *stream, const char *error); /* NULL once given up */
    void *owner;
    uint64_t timeout_ms;
    int fd, last_error;
    bool is_looking_up, is_freed;
};

static void destroy(struct connector *connector)
{
    if (connector->addresses) {
        uv_freeaddrinfo(connector->addresses);
    }
    timer_free(connector->timer);
    g_free(connector->host);
    g_free(connector->source);
    g_free(connector);
}

static void on_poll_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void stop_polling(struct connector *connector)
{
    if (connector->poll) {
        uv_close((uv_handle_t *)TAKE(connector->poll), on_poll_closed);
    }
}

static void finish(struct connector *connector, struct stream *stream, const char *error)
{
    void (*on_done)(void *, struct stream *, const char *) = TAKE(connector->on_done);

    timer_stop(connector->timer);
    on_done(connector->owner, stream, error); /* frees the connector, or not: it is its caller's */
}

/* ---- TLS ---- */

static void on_handshake(void *owner, const char *error)
{
    struct connector *connector = owner;
    struct stream *stream = TAKE(connector->handshaking);

    if (error) {
        stream_reset(stream);
        finish(connector, NULL, error);
    } else {
        finish(connector, stream, NULL);
    }
}

static void connected(struct connector *connector)
{
    int fd = connector->fd;

    connector->fd = -1;
    if (!connector->tls) {
        finish(connector, socket_stream_new(connector->loop, fd, NULL, NULL, 0), NULL);
        return;
    }
    timer_stop(connector->timer);
    connector->handshaking = socket_stream_new(
        connector->loop, fd, tls_connection_new(connector->tls, connector->host), NULL, 0);
    stream_handshake(connector->handshaking, on_handshake, connector);
}

/* ---- TCP ---- */

static void try_next(struct connector *connector);

static void failed(struct connector *connector, int error)
{
    connector->last_error = error;
    stop_polling(connector);
    if (connector->fd >= 0) {
        close(connector->fd);
        connector->fd = -1;
    }
    try_next(connector);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
    struct connector *connector = poll->data;
    int error = 0;
    socklen_t length = sizeof error;

    getsockopt(connector->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (status < 0 || error != 0) {
        failed(connector, error ? error : -status);
        return;
    }
    stop_polling(connector);
    connected(connector);
}

/* False with errno when there is a source that is not of this family or not of this machine. */
static bool bind_source(const struct connector *connector, int family)
{
    struct sockaddr_in ip4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6};

    if (!connector->source) {
        return true;
    }
    if (family == AF_INET && inet_pton(AF_INET, connector->source, &ip4.sin_addr) == 1) {
        return bind(connector->fd, (struct sockaddr *)&ip4, sizeof ip4) == 0;
    }
    if (family == AF_INET6 && inet_pton(AF_INET6, connector->source, &ip6.sin6_addr) == 1) {
        return bind(connector->fd, (struct sockaddr *)&ip6, sizeof ip6) == 0;
    }
    errno = EAFNOSUPPORT;
    return false;
}

static void start(struct connector *connector, const struct sockaddr *address, socklen_t length)
{
    connector->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connector->fd < 0 || !bind_source(connector, address->sa_family) ||
        (connect(connector->fd, address, length) < 0 && errno != EINPROGRESS)) {
        connector->last_error = errno;
        if (connector->fd >= 0) {
            close(connector->fd);
            connector->fd = -1;
        }
        timer_start(connector->timer, 0); /* the next one, from the loop */
        return;
    }
    connector->poll = g_new0(uv_poll_t, 1);
    uv_poll_init(loop_native(connector->loop), connector->poll, connector->fd);
    connector->poll->data = connector;
    uv_poll_start(connector->poll, UV_WRITABLE, on_connected);
    timer_start(connector->timer, connector->timeout_ms);
}

static void try_next(struct connector *connector)
{
    struct addrinfo *address = connector->at;

    if (!address) {
        g_autofree char *text =
            g_strdup_printf("%s: %s", connector->host, g_strerror(connector->last_error));
        finish(connector, NULL, text);
        return;
    }
    connector->at = address->ai_next;
    start(connector, address->ai_addr, address->ai_addrlen);
}

static void on_timer(void *owner)
{
    struct connector *connector = owner;

    if (connector->is_looking_up) {
        g_autofree char *text = g_strdup_printf("%s: cannot be resolved in time", connector->host);
        finish(connector, NULL, text);
        return;
    }
    failed(connector, connector->fd >= 0 ? ETIMEDOUT : connector->last_error);
}

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *addresses)
{
    struct connector *connector = lookup->data;

    connector->is_looking_up = false;
    connector->addresses = connector->at = addresses;
    if (connector->is_freed) {
        destroy(connector);
        return;
    }
    if (!connector->on_done) { /* it took too long */
        return;
    }
    if (status < 0) {
        g_autofree char *text =
            g_strdup_printf("%s: cannot be resolved: %s", connector->host, uv_strerror(status));
        finish(connector, NULL, text);
        return;
    }
    unsigned count = 0;
    for (struct addrinfo *at = addresses; at; at = at->ai_next) {
        count++;
    }
    connector->timeout_ms /= MAX(count, 1);
    try_next(connector);
}

struct connector *
connector_new(struct loop *loop, const char *host, uint16_t port, struct tls_context *tls,
              uint64_t timeout_ms,
              void (*on_done)(void *owner, struct stream *stream, const char *error), void *owner)
{
    struct connector *connector = g_new0(struct connector, 1);

    connector->loop = loop;
    connector->tls = tls;
    connector->host = g_strdup(host);
    connector->on_done = on_done;
    connector->owner = owner;
    connector->timeout_ms = timeout_ms;
    connector->fd = -1;
    connector->timer = timer_new(loop, on_timer, connector);
    if (g_str_has_prefix(host, "unix:")) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (g_strlcpy(address.sun_path, host + 5, sizeof address.sun_path) >=
            sizeof address.sun_path) {
            connector->last_error = ENAMETOOLONG;
            timer_start(connector->timer, 0);
            return connector;
        }
        start(connector, (struct sockaddr *)&address, sizeof address);
        return connector;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    g_autofree char *service = g_strdup_printf("%u", port);
    connector->lookup.data = connector;
    connector->is_looking_up = true;
    int r =
        uv_getaddrinfo(loop_native(loop), &connector->lookup, on_resolved, host, service, &hints);
    if (r < 0) { /* a name that is none */
        connector->is_looking_up = false;
        connector->last_error = EINVAL;
        timer_start(connector->timer, 0);
    } else {
        timer_start(connector->timer, timeout_ms);
    }
    return connector;
}

void connector_bind(struct connector *connector, const char *address)
{
    g_free(connector->source);
    connector->source = g_strdup(address);
}

void connector_free(struct connector *connector)
{
    if (!connector) {
        return;
    }
    connector->on_done = NULL;
    connector->is_freed = true;
    stop_polling(connector);
    timer_stop(connector->timer);
    if (connector->fd >= 0) {
        close(connector->fd);
        connector->fd = -1;
    }
    if (connector->handshaking) {
        stream_reset(TAKE(connector->handshaking));
    }
    if (connector->is_looking_up) {
        uv_cancel((uv_req_t *)&connector->lookup); /* on_resolved comes all the same and frees */
    } else {
        destroy(connector);
    }
}

int stream_pair_with_fd(struct loop *loop, struct stream **stream, int *fd)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
        return -errno;
    }
    *stream = socket_stream_new(loop, fds[0], NULL, NULL, 0);
    *fd = fds[1];
    return 0;
}

int stream_pair_new(struct loop *loop, struct stream **a, struct stream **b)
{
    int fd = -1, r = stream_pair_with_fd(loop, a, &fd);

    if (r == 0) {
        *b = socket_stream_new(loop, fd, NULL, NULL, 0);
    }
    return r;
}

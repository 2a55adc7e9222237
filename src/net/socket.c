/* A stream on a file descriptor. Reads go into one large buffer that the loop lends; what was left over of the last read is put in front of it, so that
 * an owner sees whole packets and nothing is copied twice. Writes are one writev a turn. TLS goes the same two ways through SSL_read and SSL_write.
 *
 * Polling is changed lazily: a stream that is paused and resumed within a turn costs no system call; one that is paused when input comes stops polling. */
#include "net/socket.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include "net/transport.h"
#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define VECTORS_MAX 64
#define READS_PER_TURN 4
#define TAKE_BYTES_MAX 16384
#define DIRECT_READ_BYTES 65536
#define HANDSHAKE_TIMEOUT_MS 10000

struct tls_side {
    SSL *ssl;
    struct timer *timer; /* until the handshake is through */
    void (*on_handshake)(void *owner, const char *error);
    void *owner;
    char *common_name;
    bool wants_write, is_through;
};

struct socket_stream {
    struct stream stream;
    uv_poll_t poll;
    struct tls_side *tls; /* NULL for plain ones */
    char *address;        /* owned */
    int fd;
    uint16_t port;
    bool is_loopback, is_reading, is_unix;
    uint8_t events; /* that uv polls for now */
};

static struct socket_stream *socket_of(const struct stream *stream)
{
    return container_of(stream, struct socket_stream, stream);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void set_events(struct socket_stream *socket, int events)
{
    if (socket->events == events || uv_is_closing((uv_handle_t *)&socket->poll)) {
        return;
    }
    socket->events = (uint8_t)events;
    if (events == 0) {
        uv_poll_stop(&socket->poll);
    } else {
        uv_poll_start(&socket->poll, events, on_poll);
    }
}

static bool wants_write(const struct socket_stream *socket)
{
    return socket->stream.is_blocked || (socket->tls && socket->tls->wants_write);
}

static void update_events(struct socket_stream *socket)
{
    set_events(socket, (socket->is_reading ? UV_READABLE : 0) | (wants_write(socket) ? UV_WRITABLE : 0));
}

/* ---- TLS ---- */

static void end_handshake(struct socket_stream *socket, const char *error)
{
    struct tls_side *tls = socket->tls;

    if (tls->is_through) {
        return;
    }
    tls->is_through = true;
    timer_free(TAKE(tls->timer));
    if (tls->on_handshake) {
        void (*on_handshake)(void *, const char *) = TAKE(tls->on_handshake);
        on_handshake(tls->owner, error);
    }
}

static const char *tls_error_text(const struct socket_stream *socket)
{
    long verdict = SSL_get_verify_result(socket->tls->ssl);

    if (verdict != X509_V_OK) {
        return X509_verify_cert_error_string(verdict);
    }
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "TLS handshake failed";
}

/* Returns -EAGAIN, 0 for the end, or -EPROTO. */
static int tls_result(struct socket_stream *socket, int r)
{
    int error = SSL_get_error(socket->tls->ssl, r);

    socket->tls->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return -EAGAIN;
    }
    if (!socket->tls->is_through) {
        end_handshake(socket, tls_error_text(socket));
    }
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -EPROTO;
}

static ssize_t tls_read(struct socket_stream *socket, uint8_t *to, size_t length)
{
    ERR_clear_error();
    int r = SSL_read(socket->tls->ssl, to, (int)MIN(length, INT_MAX));

    if (r > 0) {
        end_handshake(socket, NULL);
        return r;
    }
    return tls_result(socket, r);
}

static ssize_t tls_write(struct socket_stream *socket, const struct iovec *vectors, int count)
{
    ssize_t sent = 0;

    for (int i = 0; i < count; i++) {
        ERR_clear_error();
        int r = SSL_write(socket->tls->ssl, vectors[i].iov_base, (int)vectors[i].iov_len);
        if (r <= 0) {
            int error = tls_result(socket, r);
            return sent > 0 ? sent : error == 0 ? -EPIPE : error;
        }
        end_handshake(socket, NULL);
        sent += r;
        if ((size_t)r < vectors[i].iov_len) {
            break;
        }
    }
    return sent;
}

static void on_handshake_timeout(void *owner)
{
    struct socket_stream *socket = owner;

    end_handshake(socket, "TLS handshake timed out");
    stream_input_end(&socket->stream, -ETIMEDOUT);
}

/* Goes on with a handshake nobody reads or writes in yet. */
static void drive_handshake(struct socket_stream *socket)
{
    ERR_clear_error();
    int r = SSL_do_handshake(socket->tls->ssl);

    if (r == 1) {
        end_handshake(socket, NULL);
        return;
    }
    r = tls_result(socket, r);
    if (r != -EAGAIN) {
        stream_input_end(&socket->stream, r);
    }
    update_events(socket);
}

/* ---- input ---- */

static ssize_t read_some(struct socket_stream *socket, uint8_t *to, size_t length)
{
    if (socket->tls) {
        return tls_read(socket, to, length);
    }
    ssize_t n = recv(socket->fd, to, length, 0);
    return n < 0 ? -errno : n;
}

/* Returns false when there is no more for now. */
static bool read_once(struct socket_stream *socket)
{
    struct stream *stream = &socket->stream;
    size_t buffer_bytes, space, taken = 0;
    uint8_t *buffer = loop_read_buffer(stream->loop, &buffer_bytes);
    uint8_t *direct = NULL;

    if (stream->leftover_bytes > 0) {
        taken = stream_input_take(stream, buffer, TAKE_BYTES_MAX);
        if (taken == 0) {
            direct = stream_input_space(stream, DIRECT_READ_BYTES, &space);
        }
    }
    size_t wanted = direct ? space : buffer_bytes - taken;
    ssize_t n = read_some(socket, direct ? direct : buffer + taken, wanted);
    if (n > 0 && direct) {
        stream_input_filled(stream, (size_t)n);
    } else if (n > 0 || taken > 0) {
        stream_input(stream, buffer, taken + (size_t)MAX(n, 0)); /* presents again what was taken */
    }
    if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR)) {
        stream_input_end(stream, (int)n);
    }
    return n > 0 && ((size_t)n == wanted || (socket->tls && SSL_pending(socket->tls->ssl) > 0));
}

static void on_readable(struct socket_stream *socket)
{
    if (!socket->is_reading) {
        update_events(socket); /* paused since: now polling stops */
        return;
    }
    for (unsigned i = 0; i < READS_PER_TURN && socket->is_reading; i++) {
        if (!read_once(socket)) {
            return;
        }
    }
    if (socket->tls && socket->is_reading && SSL_pending(socket->tls->ssl) > 0) {
        socket->stream.wants_presenting = true; /* OpenSSL holds bytes that poll does not see */
        deferred_schedule(socket->stream.loop, &socket->stream.turn);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct socket_stream *socket = poll->data;

    if (status < 0) {
        stream_input_end(&socket->stream, status);
        return;
    }
    if (socket->tls && !socket->tls->is_through && socket->stream.state == STREAM_NEW) {
        drive_handshake(socket);
        return;
    }
    bool wants_write_for_read = socket->tls && socket->tls->wants_write;
    if (events & UV_WRITABLE) {
        if (socket->tls) {
            socket->tls->wants_write = false;
        }
        socket->stream.is_blocked = false;
        stream_turn(&socket->stream);
        update_events(socket);
    }
    if ((events & UV_READABLE) || (wants_write_for_read && (events & UV_WRITABLE))) {
        on_readable(socket);
        update_events(socket);
    }
}

/* ---- output ---- */

static ssize_t write_some(struct socket_stream *socket, const struct iovec *vectors, int count)
{
    if (socket->tls) {
        return tls_write(socket, vectors, count);
    }
    struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(socket->fd, &message, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static void flush(struct stream *stream)
{
    struct socket_stream *socket = socket_of(stream);
    struct iovec vectors[VECTORS_MAX];
    int count;

    while (!stream->has_ended && (count = stream_output_peek(stream, vectors, VECTORS_MAX)) > 0) {
        size_t offered = 0;
        for (int i = 0; i < count; i++) {
            offered += vectors[i].iov_len;
        }
        ssize_t n = write_some(socket, vectors, count);
        if (n >= 0) {
            stream_output_consume(stream, (size_t)n);
        } else if (n != -EAGAIN && n != -EINTR) {
            stream_input_end(stream, (int)n);
            return;
        }
        if (n != (ssize_t)offered && n != -EINTR && !(socket->tls && n > 0)) {
            stream->is_blocked = true;
            update_events(socket);
            return;
        }
    }
}

static void set_reading(struct stream *stream, bool is_reading)
{
    struct socket_stream *socket = socket_of(stream);

    socket->is_reading = is_reading;
    if (is_reading || stream->has_ended) {
        update_events(socket);
        if (is_reading && socket->tls && SSL_pending(socket->tls->ssl) > 0) {
            on_readable(socket);
        }
    }
}

/* ---- life ---- */

static void find_common_name(struct tls_side *tls)
{
    char name[256];
    X509 *certificate = SSL_get0_peer_certificate(tls->ssl);

    if (!certificate || SSL_get_verify_result(tls->ssl) != X509_V_OK) {
        return;
    }
    int length = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
    if (length > 0 && strlen(name) == (size_t)length) { /* no embedded NUL */
        tls->common_name = g_strdup(name);
    }
}

static void peer(const struct stream *stream, struct stream_peer *out)
{
    const struct socket_stream *socket = socket_of(stream);

    if (socket->tls && !socket->tls->common_name) {
        find_common_name(socket->tls);
    }
    *out = (struct stream_peer){
        .kind = socket->tls ? STREAM_TLS : socket->is_unix ? STREAM_UNIX : STREAM_TCP,
        .is_loopback = socket->is_loopback,
        .address = socket->address,
        .port = socket->port,
        .certificate_cn = socket->tls ? socket->tls->common_name : NULL,
    };
}

static void on_closed(uv_handle_t *handle)
{
    struct socket_stream *socket = handle->data;

    stream_deinit(&socket->stream);
    g_free(socket->address);
    g_free(socket);
}

static void close_socket(struct stream *stream)
{
    struct socket_stream *socket = socket_of(stream);

    if (socket->tls) {
        struct tls_side *tls = TAKE(socket->tls);
        if (!stream->has_ended && !stream->is_reset && tls->is_through) {
            SSL_shutdown(tls->ssl);
        }
        timer_free(tls->timer);
        SSL_free(tls->ssl);
        g_free(tls->common_name);
        g_free(tls);
    }
    if (stream->is_reset) {
        struct linger linger = {.l_onoff = 1};
        setsockopt(socket->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    uv_close((uv_handle_t *)&socket->poll, on_closed); /* stops polling at once */
    close(socket->fd);
}

static const struct transport socket_transport = {flush, set_reading, peer, close_socket};

static void identify(struct socket_stream *socket)
{
    struct sockaddr_storage storage = {0};
    socklen_t length = sizeof storage;
    char text[INET6_ADDRSTRLEN] = "unix";

    getpeername(socket->fd, (struct sockaddr *)&storage, &length);
    if (storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&storage;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        socket->port = ntohs(in->sin_port);
        socket->is_loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
    } else if (storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&storage;
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        inet_ntop(is_mapped ? AF_INET : AF_INET6, is_mapped ? (const void *)&in6->sin6_addr.s6_addr[12] : &in6->sin6_addr, text,
                  sizeof text);
        socket->port = ntohs(in6->sin6_port);
        socket->is_loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) || (is_mapped && in6->sin6_addr.s6_addr[12] == 127);
    } else {
        socket->is_unix = socket->is_loopback = true;
    }
    socket->address = g_strdup(text);
}

static bool is_loopback_text(const char *address)
{
    return g_str_has_prefix(address, "127.") || strcmp(address, "::1") == 0;
}

struct stream *socket_stream_new(struct loop *loop, int fd, SSL *ssl, const char *address, uint16_t port)
{
    struct socket_stream *socket = g_new0(struct socket_stream, 1);
    int on = 1;

    stream_init(&socket->stream, loop, &socket_transport);
    socket->fd = fd;
    identify(socket);
    if (address) {
        g_free(socket->address);
        socket->address = g_strdup(address);
        socket->port = port;
        socket->is_loopback = is_loopback_text(address);
    }
    if (!socket->is_unix) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (ssl) {
        socket->tls = g_new0(struct tls_side, 1);
        socket->tls->ssl = ssl;
        SSL_set_fd(ssl, fd);
        socket->tls->timer = timer_new(loop, on_handshake_timeout, socket);
        timer_start(socket->tls->timer, HANDSHAKE_TIMEOUT_MS);
    }
    uv_poll_init(loop_native(loop), &socket->poll, fd);
    socket->poll.data = socket;
    return &socket->stream;
}

void socket_stream_handshake(struct stream *stream, void (*fn)(void *owner, const char *error), void *owner)
{
    struct socket_stream *socket = socket_of(stream);

    socket->tls->on_handshake = fn;
    socket->tls->owner = owner;
    socket->is_reading = true;
    drive_handshake(socket);
    update_events(socket);
}

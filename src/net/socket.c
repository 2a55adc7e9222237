/* A stream on a file descriptor. Reads go into one large buffer that the loop lends; what was left
 * over of the last read is put in front of it, so that an owner sees whole packets and nothing is
 * copied twice. Writes are one sendmsg a turn. TLS goes the same two ways through SSL_read and
 * SSL_write; it reads ahead, so a small record costs one recv, and whether there is more is asked
 * of OpenSSL, not of the kernel: what is still there makes poll return again.
 *
 * Polling is changed lazily: a stream that is paused and resumed within a turn costs no system
 * call; one that is paused when input comes stops polling.
 *
 * When the peer has gone, what it sent before is read first: a DISCONNECT that was sent just before
 * the close counts, even when writing fails earlier. */
#include "net/socket.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "loop/loop.h"
#include "loop/watch.h"
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

#define VECTORS_MAX          64
#define READS_PER_TURN       16 /* more a turn: more for each subscriber goes out with one write */
#define TLS_RECORD_BYTES     16384
#define DISCARDS_AT_CLOSE    4
#define TAKE_BYTES_MAX       16384
#define DIRECT_READ_BYTES    65536
#define HANDSHAKE_TIMEOUT_MS 10000

struct tls_side {
    SSL *ssl;
    struct timer *timer; /* until the handshake is through */
    void (*on_handshake)(void *owner, const char *error);
    void *owner;
    char *common_name, *alpn;
    uint8_t issuer_sha256[EVP_MAX_MD_SIZE];
    bool has_issuer;
    bool wants_write; /* to go on reading */
    bool wants_read;  /* to go on writing */
    bool is_through;
    bool has_ended; /* nothing more is to be read */
    int end_result; /* of the last read that gave nothing */
};

struct socket_stream {
    struct stream stream;
    struct watch watch;
    struct tls_side *tls; /* NULL for plain ones */
    char *address;        /* a GRefString: many connections have the same */
    uint16_t port;
    bool is_loopback, is_reading, is_unix;
};

static struct socket_stream *socket_of(const struct stream *stream)
{
    return container_of(stream, struct socket_stream, stream);
}

static void set_events(struct socket_stream *socket, unsigned events)
{
    int r = watch_set(socket->stream.loop, &socket->watch, events);

    if (r < 0) { /* the kernel's memory has run out: like a lost connection */
        stream_input_end(&socket->stream, r);
    }
}

static void update_events(struct socket_stream *socket)
{
    const struct tls_side *tls = socket->tls;
    bool wants_read = socket->is_reading;
    bool wants_write = socket->stream.is_blocked;

    if (tls) {
        wants_write = (wants_write && !tls->wants_read) || tls->wants_write;
        wants_read |= tls->wants_read;
    }
    if (socket->stream.state != STREAM_CLOSED) {
        set_events(socket, (wants_read ? WATCH_READABLE : 0) | (wants_write ? WATCH_WRITABLE : 0));
    }
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
    if (error) {
        log_debug("TLS handshake failed", "address=%s error=\"%s\"", socket->address, error);
    }
    if (tls->on_handshake && socket->stream.state == STREAM_NEW) {
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

/* Returns -EAGAIN, 0 for the end, or another negative errno. */
static int tls_result(struct socket_stream *socket, int r)
{
    int system_error = errno;
    int error = SSL_get_error(socket->tls->ssl, r);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        if (SSL_is_init_finished(socket->tls->ssl)) {
            end_handshake(socket, NULL);
        }
        return -EAGAIN;
    }
    if (!socket->tls->is_through) {
        end_handshake(socket, tls_error_text(socket));
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    return error == SSL_ERROR_SYSCALL && system_error != 0 ? -system_error : -EPROTO;
}

/* Without asking the kernel. */
static bool has_more(const struct tls_side *tls)
{
    return tls->has_ended || SSL_has_pending(tls->ssl) == 1;
}

/* As many records as there is room for: what stands in them is looked at together. An end behind
 * the first is kept for the next read, since OpenSSL would not say the same again. */
static ssize_t tls_read(struct socket_stream *socket, uint8_t *to, size_t length)
{
    struct tls_side *tls = socket->tls;
    size_t n = 0;
    int r;

    if (tls->has_ended) {
        return tls->end_result;
    }
    do {
        ERR_clear_error();
        errno = 0;
        r = SSL_read(tls->ssl, to + n, (int)MIN(length - n, INT_MAX));
        n += r > 0 ? (size_t)r : 0;
    } while (r > 0 && n < length && (r == TLS_RECORD_BYTES || has_more(tls)));
    if (r <= 0) {
        int result = tls_result(socket, r);
        tls->wants_write = SSL_want_write(tls->ssl);
        tls->has_ended = result != -EAGAIN;
        tls->end_result = result;
    } else {
        tls->wants_write = false;
        end_handshake(socket, NULL);
    }
    return n > 0 ? (ssize_t)n : tls->end_result;
}

static ssize_t tls_write_once(struct socket_stream *socket, const void *bytes, size_t length)
{
    struct tls_side *tls = socket->tls;

    ERR_clear_error();
    errno = 0;
    int r = SSL_write(tls->ssl, bytes, (int)MIN(length, INT_MAX));
    tls->wants_read = r <= 0 && SSL_want_read(tls->ssl);
    if (r > 0) {
        end_handshake(socket, NULL);
        return r;
    }
    r = tls_result(socket, r);
    return r == 0 ? -EPIPE : r;
}

/* Small pieces are gathered into one record: a record costs some 30 bytes and a system call. */
static ssize_t tls_write(struct socket_stream *socket, const struct iovec *vectors, int count)
{
    uint8_t record[TLS_RECORD_BYTES];
    size_t length = 0;

    if (count == 1 || vectors[0].iov_len >= sizeof record) {
        return tls_write_once(socket, vectors[0].iov_base, vectors[0].iov_len);
    }
    for (int i = 0; i < count && length < sizeof record; i++) {
        size_t part = MIN(vectors[i].iov_len, sizeof record - length);
        memcpy(record + length, vectors[i].iov_base, part);
        length += part;
    }
    return tls_write_once(socket, record, length);
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

    socket->tls->wants_write = r <= 0 && SSL_want_write(socket->tls->ssl);
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
    ssize_t n = recv(socket->watch.fd, to, length, 0);
    return n < 0 ? -errno : n;
}

/* Returns what recv does; `is_full` when there may be more. */
static ssize_t read_once(struct socket_stream *socket, bool *is_full)
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
    } else if (n > 0) {
        stream_input(stream, buffer, taken + (size_t)n);
    } else if (taken > 0) {
        stream_input_untake(stream, taken);
    }
    if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR)) {
        stream_input_end(stream, (int)n);
    }
    *is_full = n > 0 && (socket->tls ? has_more(socket->tls) : (size_t)n == wanted);
    return n;
}

static void on_readable(struct socket_stream *socket)
{
    unsigned reads = READS_PER_TURN;
    bool is_full = true;

    while (is_full && reads-- > 0 && socket->is_reading) {
        read_once(socket, &is_full);
    }
    if (socket->tls && socket->is_reading && is_full) {
        socket->stream.wants_presenting = true; /* OpenSSL holds bytes that poll does not see */
        deferred_schedule(socket->stream.loop, &socket->stream.turn);
    }
    update_events(socket); /* when paused by now, polling stops */
}

/* The connection was reset, or takes nothing more: what came before that is still there. */
static void read_to_end(struct socket_stream *socket)
{
    struct stream *stream = &socket->stream;
    bool is_full;

    while (socket->is_reading && !stream->has_ended && stream->state == STREAM_OPEN) {
        if (read_once(socket, &is_full) == -EAGAIN) {
            break;
        }
    }
    if (!stream->has_ended) { /* who ended it matters: silence is no reset */
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(socket->watch.fd, SOL_SOCKET, SO_ERROR, &error, &length);
        stream_input_end(stream, error ? -error : -ECONNRESET);
    }
}

static void on_writable(struct socket_stream *socket)
{
    socket->stream.is_blocked = false;
    stream_turn(&socket->stream);
}

static void on_events(struct watch *watch, unsigned events)
{
    struct socket_stream *socket = container_of(watch, struct socket_stream, watch);
    struct tls_side *tls = socket->tls;
    bool may_write = (events & WATCH_WRITABLE) != 0, may_read = (events & WATCH_READABLE) != 0;

    if (tls && !tls->is_through && socket->stream.state == STREAM_NEW) {
        drive_handshake(socket);
        return;
    }
    if (events & WATCH_ERROR) {
        set_events(socket, 0); /* it would come again and again */
        read_to_end(socket);
        return;
    }
    if (tls) { /* either direction may wait for the other's bytes */
        bool wanted_read = tls->wants_read;
        may_write |= wanted_read && may_read;
        may_read |= tls->wants_write && may_write;
        tls->wants_read = tls->wants_write = false;
    }
    if (may_write && socket->stream.is_blocked) {
        on_writable(socket);
    }
    if (socket->stream.state == STREAM_CLOSED) {
        return;
    }
    if (may_read && socket->is_reading) {
        on_readable(socket);
    } else {
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
    ssize_t n = sendmsg(socket->watch.fd, &message, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* What the peer sent before it went is read to its end, but not from inside here. OpenSSL would
 * tell any end as that of the peer: one that is none (silence) is told as what it is. */
static void on_write_error(struct socket_stream *socket, int error)
{
    struct stream *stream = &socket->stream;
    bool is_peers = error == -ECONNRESET || error == -EPIPE;

    stream_output_drop(stream);
    if ((!socket->tls || is_peers) && socket->is_reading && stream->state == STREAM_OPEN) {
        stream->is_output_broken = stream->wants_presenting = true;
        deferred_schedule(stream->loop, &stream->turn);
    } else {
        stream_input_end(stream, error);
    }
}

static void flush(struct stream *stream)
{
    struct socket_stream *socket = socket_of(stream);
    struct iovec vectors[VECTORS_MAX];
    int count;

    while ((count = stream_output_peek(stream, vectors, VECTORS_MAX)) > 0) {
        size_t offered = 0;
        for (int i = 0; i < count; i++) {
            offered += vectors[i].iov_len;
        }
        ssize_t n = write_some(socket, vectors, count);
        if (n >= 0) {
            stream_output_consume(stream, (size_t)n);
        } else if (n != -EAGAIN && n != -EINTR) {
            on_write_error(socket, (int)n);
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
    if (is_reading && stream->is_output_broken) {
        read_to_end(socket);
    } else if (is_reading || stream->has_ended) {
        update_events(socket);
        if (is_reading && socket->tls && has_more(socket->tls)) {
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
    int length = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                           sizeof name);
    if (length > 0 && strlen(name) == (size_t)length) { /* no embedded NUL */
        tls->common_name = g_strdup(name);
    }
}

static void find_issuer(struct tls_side *tls)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(tls->ssl);
    unsigned length;

    tls->has_issuer =
        SSL_get_verify_result(tls->ssl) == X509_V_OK && sk_X509_num(chain) > 1 &&
        X509_digest(sk_X509_value(chain, 1), EVP_sha256(), tls->issuer_sha256, &length) == 1;
}

static void find_alpn(struct tls_side *tls)
{
    const unsigned char *name;
    unsigned length;

    SSL_get0_alpn_selected(tls->ssl, &name, &length);
    if (length > 0) {
        tls->alpn = g_strndup((const char *)name, length);
    }
}

static void peer(const struct stream *stream, struct stream_peer *out)
{
    const struct socket_stream *socket = socket_of(stream);

    if (socket->tls && !socket->tls->common_name) {
        find_common_name(socket->tls);
        find_issuer(socket->tls);
    }
    if (socket->tls && !socket->tls->alpn) {
        find_alpn(socket->tls);
    }
    *out = (struct stream_peer){
        .kind = socket->tls       ? STREAM_TLS
                : socket->is_unix ? STREAM_UNIX
                                  : STREAM_TCP,
        .is_loopback = socket->is_loopback,
        .address = socket->address,
        .port = socket->port,
        .certificate_cn = socket->tls ? socket->tls->common_name : NULL,
        .issuer_sha256 = socket->tls && socket->tls->has_issuer ? socket->tls->issuer_sha256 : NULL,
        .alpn = socket->tls ? socket->tls->alpn : NULL,
    };
}

static void free_socket(void *owner)
{
    struct socket_stream *socket = owner;

    stream_deinit(&socket->stream);
    g_ref_string_release(socket->address);
    g_free(socket);
}

/* Closing with unread input makes the kernel send a reset, which may destroy on its way what we
 * sent last: the reason why. */
static void discard_input(struct socket_stream *socket)
{
    size_t length;
    uint8_t *buffer = loop_read_buffer(socket->stream.loop, &length);

    for (unsigned i = 0; i < DISCARDS_AT_CLOSE && recv(socket->watch.fd, buffer, length, 0) > 0;
         i++) {
    }
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
        g_free(tls->alpn);
        g_free(tls);
    }
    if (stream->is_reset) {
        struct linger linger = {.l_onoff = 1};
        setsockopt(socket->watch.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    set_events(socket, 0);
    if (!stream->has_ended && !stream->is_reset) {
        discard_input(socket);
    }
    close(socket->watch.fd);
    /* Callers further up may still look at it: its memory goes at the end of the turn. */
    deferred_deinit(&stream->turn);
    deferred_init(&stream->turn, free_socket, socket);
    deferred_schedule(stream->loop, &stream->turn);
}

static const struct transport socket_transport = {flush, set_reading, peer, close_socket};

static void identify(struct socket_stream *socket)
{
    struct sockaddr_storage storage = {0};
    socklen_t length = sizeof storage;
    char text[INET6_ADDRSTRLEN] = "unix";

    getpeername(socket->watch.fd, (struct sockaddr *)&storage, &length);
    if (storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&storage;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        socket->port = ntohs(in->sin_port);
        socket->is_loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
    } else if (storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&storage;
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
        inet_ntop(is_mapped ? AF_INET : AF_INET6,
                  is_mapped ? (const void *)&in6->sin6_addr.s6_addr[12] : &in6->sin6_addr, text,
                  sizeof text);
        socket->port = ntohs(in6->sin6_port);
        socket->is_loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
                              (is_mapped && in6->sin6_addr.s6_addr[12] == 127);
    } else {
        socket->is_unix = socket->is_loopback = true;
    }
    socket->address = g_ref_string_new_intern(text);
}

void stream_set_silence_ms(struct stream *stream, unsigned silence_ms)
{
    if (stream->transport == &socket_transport && !socket_of(stream)->is_unix) {
        setsockopt(socket_of(stream)->watch.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms,
                   sizeof silence_ms);
    }
}

int stream_descriptor(const struct stream *stream)
{
    return stream->transport == &socket_transport ? ((const struct socket_stream *)stream)->watch.fd
                                                  : -1;
}

size_t socket_stream_bytes(void)
{
    return sizeof(struct socket_stream);
}

static bool is_loopback_text(const char *address)
{
    return g_str_has_prefix(address, "127.") || strcmp(address, "::1") == 0;
}

struct stream *socket_stream_new(struct loop *loop, int fd, SSL *ssl, const char *address,
                                 uint16_t port)
{
    struct socket_stream *socket = g_new0(struct socket_stream, 1);
    int on = 1;

    stream_init(&socket->stream, loop, &socket_transport);
    watch_init(&socket->watch, fd, on_events);
    identify(socket);
    if (address) {
        g_ref_string_release(socket->address);
        socket->address = g_ref_string_new_intern(address);
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
    return &socket->stream;
}

void stream_handshake(struct stream *stream, void (*fn)(void *owner, const char *error),
                      void *owner)
{
    struct socket_stream *socket = socket_of(stream);

    socket->tls->on_handshake = fn;
    socket->tls->owner = owner;
    socket->is_reading = true;
    drive_handshake(socket);
    update_events(socket);
}

/* Accepting; see listener.h. One listener may have two sockets (IPv4 and IPv6). When descriptors
 * run out, accepting rests for a second instead of spinning. With PROXY protocol a connection waits
 * aside until its header is whole, bounded in size and time. */
#include "net/listener.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "loop/loop.h"
#include "net/proxy_header.h"
#include "net/socket.h"
#include "net/tls.h"
#include "net/tls_private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#define BACKLOG                 4096
#define ACCEPTS_PER_TURN        256
#define REST_MS                 1000
#define PROXY_TIMEOUT_MS        5000
#define PROXY_WAITING_MAX       4096
#define REFUSED_LOG_INTERVAL_MS 60000

struct listening {
    uv_poll_t poll;
    struct listener *listener;
    int fd;
};

struct listener {
    struct loop *loop;
    struct tls_context *tls; /* borrowed */
    void (*on_stream)(void *owner, struct stream *stream);
    void *owner;
    struct listening *sockets[2];
    struct timer *rest;
    struct list waiting; /* of proxy_wait.link, owned */
    char *unix_path;
    uint64_t refused_logged_ms;
    unsigned waiting_count;
    uint16_t port;
    bool proxy_protocol, is_resting;
};

/* A connection whose PROXY header is not whole yet. No byte behind the header is read. */
struct proxy_wait {
    struct list link;
    struct listener *listener;
    struct timer *timer;
    uv_poll_t poll;
    int fd;
    size_t length; /* of bytes */
    uint8_t bytes[PROXY_HEADER_BYTES_MAX];
};

static void hand_over(struct listener *listener, int fd, const char *address, uint16_t port)
{
    SSL *ssl = listener->tls ? tls_connection_new(listener->tls, NULL) : NULL;

    listener->on_stream(listener->owner, socket_stream_new(listener->loop, fd, ssl, address, port));
}

/* ---- PROXY protocol ---- */

static void on_wait_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

/* Returns the descriptor. */
static int wait_free(struct proxy_wait *wait)
{
    int fd = wait->fd;

    wait->listener->waiting_count--;
    list_remove(&wait->link);
    timer_free(wait->timer);
    uv_close((uv_handle_t *)&wait->poll, on_wait_closed);
    return fd;
}

static void refuse(struct proxy_wait *wait, const char *why)
{
    struct listener *listener = wait->listener;
    uint64_t now_ms = loop_now_ms(listener->loop);

    if (listener->refused_logged_ms == 0 ||
        now_ms - listener->refused_logged_ms >= REFUSED_LOG_INTERVAL_MS) {
        log_warning("connection without PROXY header refused", "error=\"%s\"", why);
        listener->refused_logged_ms = now_ms;
    }
    close(wait_free(wait));
}

static void on_proxy_timeout(void *owner)
{
    refuse(owner, "the header did not come in time");
}

static void on_proxy_bytes(uv_poll_t *poll, int status, int events)
{
    struct proxy_wait *wait = poll->data;
    struct listener *listener = wait->listener;
    struct proxy_header header;
    int r = 0;

    while (r == 0) {
        size_t needed = proxy_header_needed((struct bytes){wait->bytes, wait->length});
        ssize_t n = recv(wait->fd, wait->bytes + wait->length, needed, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            refuse(wait, "closed before the header was whole");
            return;
        }
        wait->length += (size_t)n;
        r = proxy_header_parse((struct bytes){wait->bytes, wait->length}, &header);
    }
    if (r < 0) {
        refuse(wait, "not a PROXY v2 header");
        return;
    }
    int fd = wait_free(wait);
    hand_over(listener, fd, header.has_address ? header.address : NULL, header.port);
}

static void wait_for_proxy(struct listener *listener, int fd)
{
    if (listener->waiting_count >= PROXY_WAITING_MAX) {
        close(fd);
        return;
    }
    struct proxy_wait *wait = g_new0(struct proxy_wait, 1);
    listener->waiting_count++;
    wait->listener = listener;
    wait->fd = fd;
    list_append(&listener->waiting, &wait->link);
    uv_poll_init(loop_native(listener->loop), &wait->poll, fd);
    wait->poll.data = wait;
    uv_poll_start(&wait->poll, UV_READABLE, on_proxy_bytes);
    wait->timer = timer_new(listener->loop, on_proxy_timeout, wait);
    timer_start(wait->timer, PROXY_TIMEOUT_MS);
}

/* ---- accepting ---- */

static void on_connections(uv_poll_t *poll, int status, int events);

static void rest(struct listener *listener)
{
    if (!listener->is_resting) {
        log_warning("no descriptor for a new connection", "error=\"%s\"", g_strerror(errno));
    }
    listener->is_resting = true;
    for (unsigned i = 0; i < 2 && listener->sockets[i]; i++) {
        uv_poll_stop(&listener->sockets[i]->poll);
    }
    timer_start(listener->rest, REST_MS);
}

static void on_rested(void *owner)
{
    struct listener *listener = owner;

    for (unsigned i = 0; i < 2 && listener->sockets[i]; i++) {
        uv_poll_start(&listener->sockets[i]->poll, UV_READABLE, on_connections);
    }
}

static void on_connections(uv_poll_t *poll, int status, int events)
{
    struct listening *listening = poll->data;
    struct listener *listener = listening->listener;

    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listening->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                rest(listener);
            }
            return;
        }
        listener->is_resting = false;
        if (listener->proxy_protocol) {
            wait_for_proxy(listener, fd);
        } else {
            hand_over(listener, fd, NULL, 0);
        }
    }
}

/* ---- listening ---- */

static void add_socket(struct listener *listener, int fd)
{
    struct listening *listening = g_new0(struct listening, 1);

    listening->listener = listener;
    listening->fd = fd;
    uv_poll_init(loop_native(listener->loop), &listening->poll, fd);
    listening->poll.data = listening;
    uv_poll_start(&listening->poll, UV_READABLE, on_connections);
    listener->sockets[listener->sockets[0] ? 1 : 0] = listening;
}

static int fail(GError **error, const char *where, const char *why)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "listen on %s: %s", where, why);
    return -1;
}

static const char *bind_error(void)
{
    return errno == EADDRINUSE ? "address in use: is another broker or node running there?"
           : errno == EACCES   ? "permission denied: ports below 1024 need the right to bind them"
           : errno == EADDRNOTAVAIL ? "this machine does not have the address"
                                    : g_strerror(errno);
}

static int listen_on(struct listener *listener, const struct sockaddr *address, socklen_t length,
                     const char *where, GError **error)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0) {
        return fail(error, where, g_strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0) {
        fail(error, where, bind_error());
        close(fd);
        return -1;
    }
    add_socket(listener, fd);
    return fd;
}

static int listen_ip4(struct listener *listener, const char *text, uint16_t port, GError **error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    g_autofree char *where = g_strdup_printf("%s:%u", text ? text : "0.0.0.0", port);

    if (text) {
        inet_pton(AF_INET, text, &address.sin_addr);
    }
    int fd = listen_on(listener, (struct sockaddr *)&address, sizeof address, where, error);
    if (fd >= 0) {
        getsockname(fd, (struct sockaddr *)&address, &length);
        listener->port = ntohs(address.sin_port);
    }
    return fd;
}

static int listen_ip6(struct listener *listener, const char *text, uint16_t port, GError **error)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    socklen_t length = sizeof address;
    g_autofree char *where = g_strdup_printf("[%s]:%u", text ? text : "::", port);

    if (text) {
        inet_pton(AF_INET6, text, &address.sin6_addr);
    }
    int fd = listen_on(listener, (struct sockaddr *)&address, sizeof address, where, error);
    if (fd >= 0) {
        getsockname(fd, (struct sockaddr *)&address, &length);
        listener->port = ntohs(address.sin6_port);
    }
    return fd;
}

static bool machine_has_ip6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static int listen_tcp(struct listener *listener, const struct listener_options *options,
                      GError **error)
{
    const char *text = options->address && options->address[0] ? options->address : NULL;
    struct in6_addr scratch;

    if (!text) {
        if (listen_ip4(listener, NULL, options->port, error) < 0) {
            return -1;
        }
        return machine_has_ip6() ? listen_ip6(listener, NULL, listener->port, error) : 0;
    }
    if (inet_pton(AF_INET, text, &scratch) == 1) {
        return listen_ip4(listener, text, options->port, error);
    }
    if (inet_pton(AF_INET6, text, &scratch) == 1) {
        return listen_ip6(listener, text, options->port, error);
    }
    return fail(error, text, "not a numeric IPv4 or IPv6 address");
}

/* A socket file that nobody listens on is left of an earlier life: it goes. Anything else stays. */
static int remove_stale(const struct sockaddr_un *address, GError **error)
{
    struct stat status;

    if (lstat(address->sun_path, &status) < 0) {
        return 0;
    }
    if (!S_ISSOCK(status.st_mode)) {
        return fail(error, address->sun_path, "a file that is no socket is there");
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_alive = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    close(fd);
    if (is_alive) {
        return fail(error, address->sun_path, "another process listens there");
    }
    unlink(address->sun_path);
    return 0;
}

static int listen_unix(struct listener *listener, const struct listener_options *options,
                       GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(options->unix_path) >= sizeof address.sun_path) {
        return fail(error, options->unix_path, "the path is longer than 107 bytes");
    }
    strcpy(address.sun_path, options->unix_path);
    if (remove_stale(&address, error) < 0) {
        return -1;
    }
    mode_t mask = umask(0177);
    int fd =
        listen_on(listener, (struct sockaddr *)&address, sizeof address, options->unix_path, error);
    umask(mask);
    if (fd >= 0) {
        listener->unix_path = g_strdup(options->unix_path);
        chmod(options->unix_path, options->unix_mode ? options->unix_mode : 0600);
    }
    return fd;
}

struct listener *listener_new(struct loop *loop, const struct listener_options *options,
                              void (*on_stream)(void *owner, struct stream *stream), void *owner,
                              GError **error)
{
    struct listener *listener = g_new0(struct listener, 1);

    listener->loop = loop;
    listener->tls = options->tls;
    listener->on_stream = on_stream;
    listener->owner = owner;
    listener->proxy_protocol = options->proxy_protocol;
    listener->rest = timer_new(loop, on_rested, listener);
    list_init(&listener->waiting);
    int r = options->unix_path ? listen_unix(listener, options, error)
                               : listen_tcp(listener, options, error);
    if (r < 0) {
        listener_free(listener);
        return NULL;
    }
    return listener;
}

static void on_listening_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

void listener_free(struct listener *listener)
{
    if (!listener) {
        return;
    }
    for (unsigned i = 0; i < 2 && listener->sockets[i]; i++) {
        struct listening *listening = listener->sockets[i];
        uv_close((uv_handle_t *)&listening->poll, on_listening_closed);
        close(listening->fd);
    }
    while (!list_is_empty(&listener->waiting)) {
        close(wait_free(list_entry(listener->waiting.next, struct proxy_wait, link)));
    }
    if (listener->unix_path) {
        unlink(listener->unix_path);
    }
    timer_free(listener->rest);
    g_free(listener->unix_path);
    g_free(listener);
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

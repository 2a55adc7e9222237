/* Sockets, epoll and framing of the load generator.
 *
 * A turn: wait, then for each ready socket write what is pending and read once (256 KiB), cutting
 * the input into packets; what they made the owner write is flushed when the socket's input is
 * through. Level-triggered, one read a turn each, so that no connection starves another. Whatever
 * goes wrong with any socket is kept in `failure`, because a run with a broken connection measures
 * nothing. */
#include "cli/bench/connection.h"
#include "cli/error.h"

#include "cli/bench/load.h"
#include "cli/bench/wire.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define INPUT_BYTES      ((size_t)256 * 1024)
#define PACKET_BYTES_MAX ((size_t)1024 * 1024)
#define EVENTS_MAX       256

uint64_t load_now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int load_engine_fail(struct load_engine *engine, const struct load_connection *connection,
                            const char *what)
{
    if (!engine->failure) {
        g_set_error(&engine->failure, CLI_ERROR, CLI_ERROR_FAILED, "connection %u: %s",
                    connection->index, what);
    }
    return -1;
}

int load_engine_aim(struct load_engine *engine, const char *host, uint16_t port, GError **error)
{
    char service[8];
    g_snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int r = getaddrinfo(host, service, &hints, &list);
    if (r != 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "host '%s': %s", host, gai_strerror(r));
        return -1;
    }
    memcpy(&engine->address, list->ai_addr, list->ai_addrlen);
    engine->address_length = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

int load_engine_init(struct load_engine *engine, const char *host, uint16_t port, GError **error)
{
    *engine = (struct load_engine){.epoll_fd = -1};
    if (load_engine_aim(engine, host, port, error) < 0) {
        return -1;
    }
    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll_fd < 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "epoll: %s", g_strerror(errno));
        return -1;
    }
    engine->input = g_malloc(INPUT_BYTES + PACKET_BYTES_MAX);
    engine->dirty = g_ptr_array_new();
    return 0;
}

void load_engine_deinit(struct load_engine *engine)
{
    if (engine->epoll_fd >= 0) {
        close(engine->epoll_fd);
    }
    g_free(engine->input);
    g_ptr_array_free(engine->dirty, TRUE);
    g_clear_error(&engine->failure);
}

int load_connection_open(struct load_connection *connection, struct load_engine *engine,
                         unsigned index, const GByteArray *hello)
{
    *connection = (struct load_connection){
        .engine = engine, .owner = connection->owner, .index = index, .next_id = 1};
    connection->fd =
        socket(engine->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) {
        return load_engine_fail(engine, connection, g_strerror(errno));
    }
    int one = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(connection->fd, (struct sockaddr *)&engine->address, engine->address_length) != 0 &&
        errno != EINPROGRESS) {
        return load_engine_fail(engine, connection, g_strerror(errno));
    }
    load_connection_write(connection, hello->data, hello->len);
    connection->waits_for_room = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    if (epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
        return load_engine_fail(engine, connection, g_strerror(errno));
    }
    return 0;
}

void load_connection_close(struct load_connection *connection)
{
    if (connection->engine && connection->fd >= 0) {
        close(connection->fd);
        if (connection->dirty) {
            g_ptr_array_remove_fast(connection->engine->dirty, connection);
        }
    }
    g_free(connection->rest);
    g_free(connection->out);
    *connection = (struct load_connection){.fd = -1};
}

uint8_t *load_connection_reserve(struct load_connection *connection, size_t length)
{
    if (connection->out_end + length > connection->out_capacity) {
        size_t pending = connection->out_end - connection->out_start;
        if (connection->out_start > 0) {
            memmove(connection->out, connection->out + connection->out_start, pending);
            connection->out_start = 0;
            connection->out_end = pending;
        }
        if (pending + length > connection->out_capacity) {
            connection->out_capacity =
                MAX(MAX(connection->out_capacity * 2, pending + length), 256);
            connection->out = g_realloc(connection->out, connection->out_capacity);
        }
    }
    uint8_t *at = connection->out + connection->out_end;
    connection->out_end += length;
    if (!connection->dirty) {
        connection->dirty = true;
        g_ptr_array_add(connection->engine->dirty, connection);
    }
    return at;
}

void load_connection_write(struct load_connection *connection, const void *bytes, size_t length)
{
    memcpy(load_connection_reserve(connection, length), bytes, length);
}

uint16_t load_connection_next_id(struct load_connection *connection)
{
    uint16_t id = connection->next_id++;
    if (connection->next_id == 0) {
        connection->next_id = 1;
    }
    return id;
}

static void load_connection_watch(struct load_connection *connection, bool for_room)
{
    if (connection->waits_for_room == for_room) {
        return;
    }
    connection->waits_for_room = for_room;
    struct epoll_event event = {.events = for_room ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = connection};
    epoll_ctl(connection->engine->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
}

static int load_connection_flush(struct load_connection *connection)
{
    while (connection->out_start < connection->out_end) {
        ssize_t written = send(connection->fd, connection->out + connection->out_start,
                               connection->out_end - connection->out_start, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0 && errno == EAGAIN) {
            load_connection_watch(connection, true);
            return 0;
        }
        if (written < 0) {
            return load_engine_fail(connection->engine, connection, g_strerror(errno));
        }
        connection->out_start += (size_t)written;
    }
    connection->out_start = connection->out_end = 0;
    load_connection_watch(connection, false);
    return 0;
}

static int load_connection_connack(struct load_connection *connection, const uint8_t *body,
                                   uint32_t length)
{
    if (length < 2 || body[1] != 0) {
        g_autofree char *what =
            g_strdup_printf("refused with code 0x%02x", length < 2 ? 0u : body[1]);
        return load_engine_fail(connection->engine, connection, what);
    }
    connection->connected = true;
    connection->engine->connected++;
    return 0;
}

/* Cuts the input into packets. Returns the bytes used, or -1. */
static ssize_t load_connection_cut(struct load_connection *connection, const uint8_t *at,
                                   size_t there)
{
    struct load_engine *engine = connection->engine;
    const uint8_t *begin = at;
    const uint8_t *end = at + there;
    while (end - at >= 2) {
        uint32_t length;
        int taken = wire_length(at + 1, (size_t)(end - at) - 1, &length);
        if (taken < 0 || (taken > 0 && length > PACKET_BYTES_MAX - 8)) {
            return load_engine_fail(engine, connection, "the broker sent a malformed packet");
        }
        if (taken == 0 || (size_t)(end - at) < 1u + (unsigned)taken + length) {
            break;
        }
        const uint8_t *body = at + 1 + taken;
        if (connection->connected) {
            engine->on_packet(connection, at[0], body, length);
        } else if (load_connection_connack(connection, body, length) < 0) {
            return -1;
        }
        at = body + length;
    }
    return at - begin;
}

static int load_connection_read(struct load_connection *connection)
{
    struct load_engine *engine = connection->engine;
    uint8_t *input = engine->input;
    size_t kept = connection->rest_bytes;
    if (kept > 0) {
        memcpy(input, connection->rest, kept);
    }
    ssize_t got = recv(connection->fd, input + kept, INPUT_BYTES, 0);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR
                   ? 0
                   : load_engine_fail(engine, connection, g_strerror(errno));
    }
    if (got == 0) {
        return load_engine_fail(engine, connection, "closed by the broker");
    }
    engine->now_ns = load_now_ns();
    size_t there = kept + (size_t)got;
    ssize_t used = load_connection_cut(connection, input, there);
    if (used < 0) {
        return -1;
    }
    connection->rest_bytes = (uint32_t)(there - (size_t)used);
    if (connection->rest_bytes > connection->rest_capacity) {
        connection->rest_capacity = connection->rest_bytes;
        connection->rest = g_realloc(connection->rest, connection->rest_capacity);
    }
    if (connection->rest_bytes > 0) {
        memcpy(connection->rest, input + used, connection->rest_bytes);
    }
    return 0;
}

static int load_engine_flush(struct load_engine *engine)
{
    for (guint i = 0; i < engine->dirty->len; i++) {
        struct load_connection *connection = g_ptr_array_index(engine->dirty, i);
        connection->dirty = false;
        if (!connection->waits_for_room && load_connection_flush(connection) < 0) {
            return -1;
        }
    }
    g_ptr_array_set_size(engine->dirty, 0);
    return 0;
}

int load_engine_turn(struct load_engine *engine, uint64_t timeout_ns)
{
    struct epoll_event events[EVENTS_MAX];
    if (load_engine_flush(engine) < 0) {
        return -1;
    }
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                               .tv_nsec = (long)(timeout_ns % 1000000000u)};
    int count = epoll_pwait2(engine->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        struct load_connection *connection = events[i].data.ptr;
        if (events[i].events & EPOLLOUT && load_connection_flush(connection) < 0) {
            return -1;
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) &&
            load_connection_read(connection) < 0) {
            return -1;
        }
    }
    return load_engine_flush(engine);
}

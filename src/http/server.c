/* See server.h.
 *
 *   HEAD --whole head--> BODY --whole body--> WORKING --http_respond--> HEAD, or closed
 *     |                                         +--http_begin_stream--> STREAMING --> closed
 *     |                                         +--http_upgrade--> (another owner's)
 *     +--refuse--> REFUSED --the client ends, or LINGER_MS--> closed
 *
 * What a refused client still sends is read and dropped for a moment: closing on it would reset the
 * connection, and the answer with it (RFC 9112, 9.6).
 *
 * An exchange outlives its connection: when the client leaves while somebody works on the answer,
 * the answer goes nowhere. */
#include "http/server.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "http/websocket.h"
#include "http/websocket_frame.h"
#include "loop/loop.h"
#include <glib.h>

#define LINGER_MS        1000
#define STREAM_BYTES_MAX (1024 * 1024)

enum connection_phase { PHASE_HEAD, PHASE_BODY, PHASE_WORKING, PHASE_STREAMING, PHASE_REFUSED };

struct http_connection {
    struct list link; /* in server.connections */
    struct http_server *server;
    struct stream *stream;          /* NULL once it has ended */
    struct http_exchange *exchange; /* from the head on */
    struct timer *timer;
    enum connection_phase phase;
    bool is_trusted;
};

struct http_exchange {
    struct http_connection *connection; /* NULL once the client has left */
    struct http_head head;
    uint8_t *head_bytes;
    GByteArray *body;
    void (*on_gone)(void *owner);
    void *gone_owner;
    void *data;
    bool is_trusted;
};

struct http_server {
    struct http_server_options options;
    struct list connections;
    uint32_t connection_count;
};

/* ---- life ---- */

static void exchange_free(struct http_exchange *exchange)
{
    if (exchange->connection) {
        exchange->connection->exchange = NULL;
    }
    g_free(exchange->head_bytes);
    g_byte_array_unref(exchange->body);
    g_free(exchange);
}

/* The stream has been closed or handed on before. */
static void connection_free(struct http_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;

    if (exchange) {
        exchange->connection = NULL;
        if (connection->phase == PHASE_HEAD || connection->phase == PHASE_BODY) {
            exchange_free(exchange); /* nobody has seen it */
        } else if (connection->phase == PHASE_STREAMING && exchange->on_gone) {
            exchange->on_gone(exchange->gone_owner);
        }
    }
    list_remove(&connection->link);
    connection->server->connection_count--;
    timer_free(connection->timer);
    g_free(connection);
}

static void end(struct http_connection *connection)
{
    if (connection->stream) {
        stream_close(TAKE(connection->stream), LINGER_MS);
    }
    connection_free(connection);
}

static void on_timeout(void *owner)
{
    end(owner);
}

/* ---- answers ---- */

/* With Content-Length unless the answer has no body by its status, or is a stream. */
static void write_head(struct stream *stream, const struct http_answer *answer, bool has_length,
                       bool keeps_alive)
{
    g_autoptr(GString) head = g_string_new(NULL);

    g_string_append_printf(head, "HTTP/1.1 %u %s\r\n", answer->status,
                           http_status_text(answer->status));
    if (answer->content_type) {
        g_string_append_printf(head, "Content-Type: %s\r\n", answer->content_type);
    }
    if (has_length) {
        g_string_append_printf(head, "Content-Length: %zu\r\n", answer->body.length);
    }
    g_string_append_printf(head, "X-Content-Type-Options: nosniff\r\n%s%s\r\n",
                           answer->headers ? answer->headers : "",
                           keeps_alive ? "" : "Connection: close\r\n");
    stream_write(stream, head->str, head->len);
}

static void refuse(struct http_connection *connection, unsigned status)
{
    g_autofree char *body =
        g_strdup_printf("{\"error\":{\"code\":\"http_%u\",\"message\":\"%s\"}}\n", status,
                        http_status_text(status));

    struct http_answer answer = {
        .status = status, .content_type = "application/json", .body = bytes_from_string(body)};
    write_head(connection->stream, &answer, true, false);
    stream_write(connection->stream, body, strlen(body));
    connection->phase = PHASE_REFUSED;
    timer_start(connection->timer, LINGER_MS);
}

static void await_next(struct http_connection *connection)
{
    connection->phase = PHASE_HEAD;
    timer_start(connection->timer, connection->server->options.request_ms_max);
    stream_resume(connection->stream);
}

void http_respond(struct http_exchange *exchange, const struct http_answer *answer)
{
    struct http_connection *connection = exchange->connection;
    bool is_head = bytes_equal(exchange->head.method, bytes_from_string("HEAD"));
    bool keeps_alive = exchange->head.keeps_alive;

    if (connection) {
        bool has_length = answer->status != 204 && answer->status != 304;
        write_head(connection->stream, answer, has_length, keeps_alive);
        if (!is_head) {
            stream_write(connection->stream, answer->body.at, answer->body.length);
        }
    }
    exchange_free(exchange);
    if (connection && keeps_alive) {
        await_next(connection);
    } else if (connection) {
        end(connection);
    }
}

void http_begin_stream(struct http_exchange *exchange, const char *content_type,
                       void (*on_gone)(void *owner), void *owner)
{
    struct http_connection *connection = exchange->connection;

    exchange->on_gone = on_gone;
    exchange->gone_owner = owner;
    if (!connection) {
        on_gone(owner);
        return;
    }
    connection->phase = PHASE_STREAMING;
    timer_stop(connection->timer);
    struct http_answer answer = {
        .status = 200, .content_type = content_type, .headers = "Cache-Control: no-store\r\n"};
    write_head(connection->stream, &answer, false, false);
    stream_resume(connection->stream); /* to see it leave */
}

bool http_write_stream(struct http_exchange *exchange, struct bytes bytes)
{
    struct http_connection *connection = exchange->connection;

    if (!connection || stream_pending_bytes(connection->stream) + bytes.length > STREAM_BYTES_MAX) {
        return false;
    }
    stream_write(connection->stream, bytes.at, bytes.length);
    return true;
}

void http_end_stream(struct http_exchange *exchange)
{
    struct http_connection *connection = exchange->connection;

    exchange_free(exchange);
    if (connection) {
        end(connection);
    }
}

struct stream *http_upgrade(struct http_exchange *exchange, const char *protocol)
{
    struct http_connection *connection = exchange->connection;
    g_autofree char *key =
        websocket_accept_key(http_header_find(&exchange->head, "sec-websocket-key"));
    struct bytes version = http_header_find(&exchange->head, "sec-websocket-version");

    if (!exchange->head.wants_websocket || !key || !bytes_equal(version, bytes_from_string("13"))) {
        http_respond(
            exchange,
            &(struct http_answer){
                .status = 426, .headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"});
        return NULL;
    }
    if (!connection) {
        exchange_free(exchange);
        return NULL;
    }
    g_autofree char *head = g_strdup_printf(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
        key, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "",
        protocol ? "\r\n" : "");
    struct stream *stream = TAKE(connection->stream);
    stream_write(stream, head, strlen(head));
    exchange_free(exchange);
    struct stream *websocket = websocket_stream_new(connection->server->options.loop, stream);
    connection_free(connection);
    return websocket;
}

/* ---- requests ---- */

const struct http_head *http_request_head(const struct http_exchange *exchange)
{
    return &exchange->head;
}

struct bytes http_request_body(const struct http_exchange *exchange)
{
    return (struct bytes){exchange->body->data, exchange->body->len};
}

void http_request_peer(const struct http_exchange *exchange, struct stream_peer *peer)
{
    *peer = (struct stream_peer){.address = "gone"};
    if (exchange->connection) {
        stream_peer(exchange->connection->stream, peer);
    }
}

bool http_request_is_trusted(const struct http_exchange *exchange)
{
    return exchange->is_trusted;
}

void http_set_data(struct http_exchange *exchange, void *data)
{
    exchange->data = data;
}

void *http_data(const struct http_exchange *exchange)
{
    return exchange->data;
}

/* The views of the head point into bytes that the stream forgets: they are copied with them. */
static struct http_exchange *exchange_new(struct http_connection *connection, const uint8_t *bytes,
                                          size_t length)
{
    struct http_exchange *exchange = g_new0(struct http_exchange, 1);

    exchange->connection = connection;
    exchange->is_trusted = connection->is_trusted;
    exchange->head_bytes = g_memdup2(bytes, length);
    exchange->body = g_byte_array_new();
    http_head_parse((struct bytes){exchange->head_bytes, length}, &exchange->head);
    return exchange;
}

static unsigned check_head(const struct http_server *server, const struct http_head *head)
{
    if (head->is_chunked) {
        return 411;
    }
    return head->content_length > server->options.body_bytes_max ? 413 : 0;
}

/* Returns false when it was refused. */
static bool take_head(struct http_connection *connection, const uint8_t *bytes, size_t length,
                      size_t *consumed)
{
    struct http_head head;
    int r = http_head_parse((struct bytes){bytes, length}, &head);
    unsigned status = r < 0 ? (unsigned)-r : r > 0 ? check_head(connection->server, &head) : 0;

    if (status != 0) {
        refuse(connection, status);
        return false;
    }
    if (r > 0) {
        *consumed = (size_t)r;
        connection->exchange = exchange_new(connection, bytes, (size_t)r);
        connection->phase = PHASE_BODY;
        if (head.expects_continue && head.content_length > 0) {
            static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
            stream_write(connection->stream, go_on, sizeof go_on - 1);
        }
    }
    return true;
}

static size_t take_body(struct http_connection *connection, const uint8_t *bytes, size_t length)
{
    struct http_exchange *exchange = connection->exchange;
    size_t part = MIN(length, exchange->head.content_length - exchange->body->len);

    g_byte_array_append(exchange->body, bytes, (guint)part);
    if (exchange->body->len == exchange->head.content_length) {
        struct http_server *server = connection->server;
        connection->phase = PHASE_WORKING;
        timer_stop(connection->timer);
        stream_pause(connection->stream);
        server->options.on_request(server->options.owner, exchange); /* may free the connection */
    }
    return part;
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct http_connection *connection = owner;
    size_t consumed = 0;

    if (connection->phase == PHASE_STREAMING || connection->phase == PHASE_REFUSED) {
        return length; /* nothing more is expected */
    }
    if (connection->phase == PHASE_HEAD && !take_head(connection, bytes, length, &consumed)) {
        return length;
    }
    return connection->phase == PHASE_BODY
               ? consumed + take_body(connection, bytes + consumed, length - consumed)
               : consumed;
}

static void on_drained(void *owner)
{
}

static void on_end(void *owner, int error)
{
    struct http_connection *connection = owner;

    connection->stream = NULL;
    connection_free(connection);
}

static const struct stream_events stream_events = {on_bytes, on_drained, on_end};

void http_server_accept(struct http_server *server, struct stream *stream, bool is_trusted)
{
    struct http_connection *connection = g_new0(struct http_connection, 1);

    connection->server = server;
    connection->stream = stream;
    connection->is_trusted = is_trusted;
    connection->timer = timer_new(server->options.loop, on_timeout, connection);
    timer_start(connection->timer, server->options.request_ms_max);
    list_append(&server->connections, &connection->link);
    server->connection_count++;
    stream_start(stream, &stream_events, connection);
    if (server->connection_count > server->options.connections_max) {
        refuse(connection, 503);
        end(connection); /* these are too many to linger */
    }
}

struct http_server *http_server_new(const struct http_server_options *options)
{
    struct http_server *server = g_new0(struct http_server, 1);

    server->options = *options;
    list_init(&server->connections);
    return server;
}

void http_server_free(struct http_server *server)
{
    while (!list_is_empty(&server->connections)) {
        end(list_entry(server->connections.next, struct http_connection, link));
    }
    g_free(server);
}

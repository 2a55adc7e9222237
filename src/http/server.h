/* An HTTP/1.1 server on streams: one request at a time on a connection, bodies whole, answers whole
 * or streamed (server-sent events), and the upgrade to a WebSocket. Limits: head (head.h), body,
 * time for a request, connections. */
#pragma once

#include "http/head.h"
#include "net/stream.h"
#include <stdbool.h>
#include <stdint.h>

struct http_exchange;
struct http_server;
struct loop;

struct http_server_options {
    struct loop *loop;
    uint64_t body_bytes_max;
    uint32_t connections_max; /* more are answered 503 */
    uint64_t
        request_ms_max; /* from the first byte to the last of a request; also between requests */
    /* A request is there. It is answered, now or later, by exactly one of http_respond,
     * http_begin_stream or http_upgrade. */
    void (*on_request)(void *owner, struct http_exchange *exchange);
    void *owner;
};

struct http_server *http_server_new(const struct http_server_options *options);
/* Takes the stream. `is_trusted` is handed through (the Unix socket). */
void http_server_accept(struct http_server *server, struct stream *stream, bool is_trusted);
/* Ends all connections. */
void http_server_free(struct http_server *server);

/* ---- the request; views live until it is answered ---- */
const struct http_head *http_request_head(const struct http_exchange *exchange);
struct bytes http_request_body(const struct http_exchange *exchange);
void http_request_peer(const struct http_exchange *exchange,
                       struct stream_peer *peer); /* lives as long as the connection */
bool http_request_is_trusted(const struct http_exchange *exchange);
/* Somebody who works on the answer can hang something here. */
void http_set_data(struct http_exchange *exchange, void *data);
void *http_data(const struct http_exchange *exchange);

/* ---- the answer ---- */
struct http_answer {
    unsigned status;
    const char *content_type; /* NULL when there is no body */
    struct bytes body;
    const char *headers; /* more of them, each ending with CR LF; NULL for none */
};
void http_respond(struct http_exchange *exchange, const struct http_answer *answer);

/* An answer whose end is not known: `on_gone` is called once when the client has left; after
 * http_end_stream it is not. */
void http_begin_stream(struct http_exchange *exchange, const char *content_type,
                       void (*on_gone)(void *owner), void *owner);
/* False when the client does not keep up: nothing was written then. */
bool http_write_stream(struct http_exchange *exchange, struct bytes bytes);
void http_end_stream(struct http_exchange *exchange);

/* 101, and the connection becomes a WebSocket; NULL when the handshake is not right (then it was
 * answered). `protocol` may be NULL. */
struct stream *http_upgrade(struct http_exchange *exchange, const char *protocol);

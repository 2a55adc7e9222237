/* Connects, sends the request with `Connection: close`, reads the head, then the body: by
 * Content-Length, in chunks, or until the end. Anything unexpected ends the call with an error;
 * nothing is tried twice, because a request may have been carried out. */
#include "cli/node/http_call.h"

#include "base/cleanup.h"
#include "cli/error.h"
#include "loop/loop.h"
#include "loop/signals.h"
#include "net/connector.h"
#include "net/stream.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS     10000
#define ANSWER_MS      60000 /* the longest silence of the node */
#define HEAD_BYTES_MAX 65536
#define LINGER_MS      0

enum body_form { BODY_TO_END, BODY_LENGTH, BODY_CHUNKED };

struct http_run {
    const struct http_call *call;
    struct loop *loop;
    struct connector *connector;
    struct stream *stream;
    struct timer *timer;
    struct signal_watch *interrupt;
    GByteArray *body;
    GError *error;
    unsigned status;
    enum body_form form;
    uint64_t left; /* of the body or the chunk */
    bool has_head, is_done, in_chunk;
};

static void run_end(struct http_run *run)
{
    if (run->is_done) {
        return;
    }
    run->is_done = true;
    if (run->connector) {
        connector_free(TAKE(run->connector));
    }
    if (run->stream) {
        stream_close(TAKE(run->stream), LINGER_MS);
    }
    timer_free(TAKE(run->timer));
    signal_watch_free(TAKE(run->interrupt));
}

static void run_fail(struct http_run *run, const char *why)
{
    if (!run->is_done) {
        cli_fail(&run->error, "%s: %s", run->call->host, why);
        run_end(run);
    }
}

static void run_take(struct http_run *run, const uint8_t *at, size_t length)
{
    if (run->call->on_piece && run->status == 200) {
        if (length > 0 && !run->call->on_piece(run->call->owner, (struct bytes){at, length})) {
            run_end(run);
        }
    } else if (run->body->len + length > HTTP_ANSWER_BYTES_MAX) {
        run_fail(run, "the answer is too long");
    } else {
        g_byte_array_append(run->body, at, (guint)length);
    }
}

/* The value of a header within the head, or NULL. Caller frees. */
static char *head_find(const char *head, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);
    for (char **line = lines; *line; line++) {
        size_t length = strlen(name);
        if (g_ascii_strncasecmp(*line, name, length) == 0 && (*line)[length] == ':') {
            return g_strstrip(g_strdup(*line + length + 1));
        }
    }
    return NULL;
}

/* Returns the bytes of the head, 0 when more are needed. */
static size_t run_take_head(struct http_run *run, const uint8_t *at, size_t length)
{
    const uint8_t *end = memmem(at, length, "\r\n\r\n", 4);
    if (!end) {
        if (length > HEAD_BYTES_MAX) {
            run_fail(run, "answers without an HTTP head");
        }
        return 0;
    }
    g_autofree char *head = g_strndup((const char *)at, (size_t)(end - at));
    if (!g_str_has_prefix(head, "HTTP/1.") || strlen(head) < 12) {
        run_fail(run, "does not speak HTTP");
        return 0;
    }
    run->status = (unsigned)strtoul(head + 9, NULL, 10);
    g_autofree char *length_text = head_find(head, "Content-Length");
    g_autofree char *coding = head_find(head, "Transfer-Encoding");
    run->form = coding && g_ascii_strcasecmp(coding, "chunked") == 0 ? BODY_CHUNKED
                : length_text                                        ? BODY_LENGTH
                                                                     : BODY_TO_END;
    run->left = length_text ? strtoull(length_text, NULL, 10) : 0;
    run->has_head = true;
    return (size_t)(end - at) + 4;
}

/* Size line, bytes, empty line, ... , a chunk of size 0. Returns the bytes taken. */
static size_t run_take_chunks(struct http_run *run, const uint8_t *at, size_t length)
{
    size_t used = 0;
    while (!run->is_done && used < length) {
        if (run->in_chunk && run->left > 0) {
            size_t part = MIN(run->left, length - used);
            run_take(run, at + used, part);
            run->left -= part;
            used += part;
            continue;
        }
        const uint8_t *end = memmem(at + used, length - used, "\r\n", 2);
        if (!end) {
            break;
        }
        if (run->in_chunk) { /* the end of line after a chunk */
            run->in_chunk = false;
        } else {
            run->left = strtoull((const char *)at + used, NULL, 16);
            run->in_chunk = true;
            if (run->left == 0) {
                run_end(run);
            }
        }
        used = (size_t)(end - at) + 2;
    }
    return used;
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct http_run *run = owner;
    timer_start(run->timer, ANSWER_MS);
    size_t used = 0;
    if (!run->has_head) {
        used = run_take_head(run, bytes, length);
        if (!run->has_head) {
            return 0;
        }
        timer_stop(run->timer); /* a stream may be silent for long */
    }
    if (run->form == BODY_CHUNKED) {
        return used + run_take_chunks(run, bytes + used, length - used);
    }
    size_t part = length - used;
    if (run->form == BODY_LENGTH) {
        part = MIN(part, run->left);
        run->left -= part;
    }
    run_take(run, bytes + used, part);
    if (run->form == BODY_LENGTH && run->left == 0) {
        run_end(run);
    }
    return length;
}

static void on_drained(void *owner)
{
}

static void on_end(void *owner, int error)
{
    struct http_run *run = owner;
    run->stream = NULL;
    if (run->has_head && run->form == BODY_TO_END && error == 0) {
        run_end(run);
    } else {
        run_fail(run,
                 error ? g_strerror(-error) : "the connection ended before the answer was whole");
    }
}

static void on_timer(void *owner)
{
    run_fail(owner, "does not answer");
}

static void on_interrupt(void *owner, int number)
{
    run_end(owner);
}

static void on_stream(void *owner, struct stream *stream, const char *error)
{
    static const struct stream_events events = {on_bytes, on_drained, on_end};
    struct http_run *run = owner;
    const struct http_call *call = run->call;
    connector_free(TAKE(run->connector));
    if (!stream) {
        bool is_named = g_str_has_prefix(error, run->call->host); /* by the connector */
        const char *why = is_named ? error + strlen(run->call->host) + 2 : error;
        bool is_unix = g_str_has_prefix(run->call->host, "unix:");
        g_autofree char *port =
            is_unix ? g_strdup("") : g_strdup_printf(" port %u", run->call->port);
        cli_fail(&run->error, "%s%s: %s", run->call->host, port, why);
        run_end(run);
        return;
    }
    run->stream = stream;
    stream_start(stream, &events, run);
    bool is_unix = g_str_has_prefix(call->host, "unix:");
    g_autoptr(GString) head = g_string_new(NULL);
    g_string_append_printf(head,
                           "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: microcloud\r\nAccept: "
                           "*/*\r\nConnection: close\r\n",
                           call->method, call->target, is_unix ? "localhost" : call->host);
    if (call->token) {
        g_string_append_printf(head, "Authorization: Bearer %s\r\n", call->token);
    }
    if (call->content_type) {
        g_string_append_printf(head, "Content-Type: %s\r\nContent-Length: %zu\r\n",
                               call->content_type, call->body.length);
    }
    g_string_append(head, "\r\n");
    stream_write(stream, head->str, head->len);
    if (call->content_type && call->body.length > 0) {
        stream_write(stream, call->body.at, call->body.length);
    }
    timer_start(run->timer, ANSWER_MS);
}

int http_call_run(const struct http_call *call, struct http_answered *answered, GError **error)
{
    struct http_run run = {.call = call, .loop = loop_new(), .body = g_byte_array_new()};
    if (!run.loop) {
        g_byte_array_unref(run.body);
        cli_fail(error, "the event loop cannot be made: too many open files?");
        return -1;
    }
    run.timer = timer_new(run.loop, on_timer, &run);
    run.interrupt = signal_watch_new(run.loop, SIGINT, on_interrupt, &run);
    run.connector =
        connector_new(run.loop, call->host, call->port, call->tls, CONNECT_MS, on_stream, &run);
    loop_run(run.loop);
    loop_free(run.loop);
    if (run.error) {
        g_propagate_error(error, run.error);
        g_byte_array_unref(run.body);
        return -1;
    }
    g_byte_array_append(run.body, (const guint8 *)"", 1);
    g_byte_array_set_size(run.body, run.body->len - 1);
    *answered = (struct http_answered){run.status, run.body};
    return 0;
}

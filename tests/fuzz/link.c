/* Fuzzes what comes over a link (cluster/link.c), on streams and timers that are made up: the input
 * is a size, then the bytes. It is heard at once, and in pieces of that size: both must say the
 * same to the owner. */
#include "cluster/link.h"
#include "cluster/token.h"
#include "loop/loop.h"
#include "net/connector.h"
#include "net/stream.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* ---- what it stands on ---- */

struct stream {
    const struct stream_events *events; /* NULL when it is closed */
    void *owner;
    size_t expected;
};

void stream_start(struct stream *stream, const struct stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

void stream_close(struct stream *stream, uint64_t linger_ms)
{
    assert(stream->events);
    stream->events = NULL;
}

void stream_reset(struct stream *stream)
{
    stream_close(stream, 0);
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
    assert(stream->events);
}

void stream_expect(struct stream *stream, size_t total)
{
    assert(total > LINK_HEAD_BYTES && total <= LINK_HEAD_BYTES + LINKS_FRAME_BYTES_MAX);
    stream->expected = total;
}

void stream_peer(const struct stream *stream, struct stream_peer *peer)
{
    *peer = (struct stream_peer){0};
}

int stream_descriptor(const struct stream *stream)
{
    return -1;
}

size_t stream_pending_bytes(const struct stream *stream)
{
    return 0;
}

void stream_set_silence_ms(struct stream *stream, unsigned silence_ms)
{
}

struct timer *timer_new(struct loop *loop, void (*fn)(void *owner), void *owner)
{
    return NULL;
}

void timer_free(struct timer *timer)
{
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
}

void timer_stop(struct timer *timer)
{
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return 1000;
}

struct connector *
connector_new(struct loop *loop, const char *host, uint16_t port, struct tls_context *tls,
              uint64_t timeout_ms,
              void (*on_done)(void *owner, struct stream *stream, const char *error), void *owner)
{
    return NULL;
}

void connector_free(struct connector *connector)
{
}

int address_split(const char *text, char **host, uint16_t *port, GError **error)
{
    return -EINVAL;
}

uint64_t ca_node_id(const char *text)
{
    return 0;
}

/* ---- what the owner is told ---- */

struct told {
    GChecksum *digest;
    bool is_up;
};

static void note(struct told *told, char kind, uint64_t number, struct bytes bytes)
{
    uint64_t length = bytes.length;

    g_checksum_update(told->digest, (const uint8_t *)&kind, 1);
    g_checksum_update(told->digest, (const uint8_t *)&number, sizeof number);
    g_checksum_update(told->digest, (const uint8_t *)&length, sizeof length);
    if (bytes.length > 0) {
        g_checksum_update(told->digest, bytes.at, (gssize)bytes.length);
    }
}

static void on_up(void *owner, uint64_t node_id)
{
    struct told *told = owner;

    assert(!told->is_up);
    told->is_up = true;
    note(told, 'u', node_id, (struct bytes){0});
}

static void on_down(void *owner, uint64_t node_id, bool is_end)
{
    struct told *told = owner;

    assert(told->is_up && !is_end); /* nothing that it says proves that it has ended */
    told->is_up = false;
    note(told, 'd', node_id, (struct bytes){0});
}

static void on_frame(void *owner, uint64_t node_id, uint8_t channel, struct bytes payload)
{
    struct told *told = owner;

    assert(told->is_up && channel > LINKS_HEARTBEAT);
    note(told, 'f', channel, payload);
}

static void on_ping(void *owner, uint64_t node_id, uint64_t sent_ms)
{
    note(owner, 'p', sent_ms, (struct bytes){0});
}

static void on_echo(void *owner, uint64_t node_id, const struct links_echo *echo)
{
    note(owner, 'e', 0, (struct bytes){(const uint8_t *)echo, sizeof *echo});
}

static void on_beat(void *owner, uint64_t node_id, struct bytes beat)
{
    note(owner, 'b', 0, beat);
}

static void on_removed(void *owner, uint64_t node_id)
{
    note(owner, 'r', node_id, (struct bytes){0});
}

static const struct links_events events = {.on_up = on_up,
                                           .on_down = on_down,
                                           .on_frame = on_frame,
                                           .on_ping = on_ping,
                                           .on_echo = on_echo,
                                           .on_beat = on_beat,
                                           .on_removed = on_removed};

/* ---- hearing it ---- */

static void present(struct stream *stream, const uint8_t *bytes, size_t size, size_t piece)
{
    size_t from = 0;

    for (size_t to = 0; stream->events && to < size;) {
        to += MIN(piece, size - to);
        if (to - from < stream->expected && to < size) {
            continue;
        }
        stream->expected = 0;
        /* Nothing behind it, for the sanitizers. */
        g_autofree uint8_t *copy = g_memdup2(bytes + from, to - from);
        size_t taken = stream->events->on_bytes(stream->owner, copy, to - from);
        assert(taken <= to - from);
        from += taken;
    }
}

static char *hear(const uint8_t *bytes, size_t size, size_t piece)
{
    struct told told = {g_checksum_new(G_CHECKSUM_SHA256), false};
    struct links links = {
        .node_id = 1, .ping_ms = 100, .give_up_ms = 300, .events = &events, .owner = &told};
    struct link *link = link_new(&links, 2, "10.0.0.2:7474");
    struct stream stream = {0};

    link_open(link, &stream);
    present(&stream, bytes, size, piece);
    assert((link->stream != NULL) == (stream.events != NULL));
    assert((link->state == LINK_UP) == told.is_up);
    link_free(link);
    char *digest = g_strdup(g_checksum_get_string(told.digest));
    g_checksum_free(told.digest);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2) {
        return 0;
    }
    g_autofree char *whole = hear(input + 1, size - 1, size);
    g_autofree char *pieces = hear(input + 1, size - 1, MAX(input[0], 1));
    assert(strcmp(whole, pieces) == 0);
    return 0;
}

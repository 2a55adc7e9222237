/* What all streams have in common: input that is left over, output in chunks, the order of ending; see stream.h.
 *
 * Output stands in a list of chunks of 4 to 64 KiB, or of references to shared payloads. It goes out at the end of the turn, or earlier when a lot has gathered. */
#include "net/transport.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include <assert.h>
#include <errno.h>
#include <glib.h>

#define CHUNK_BYTES_LEAST 4096
#define CHUNK_BYTES_MOST 65536
#define EAGER_FLUSH_BYTES (128 * 1024)

struct chunk {
    struct chunk *next;
    const uint8_t *at; /* next byte to send */
    uint32_t length;   /* bytes to send */
    uint32_t room;     /* free bytes behind them */
    void (*release)(void *holder);
    void *holder;
    uint8_t bytes[];
};

/* ---- output ---- */

static void chunk_free(struct chunk *chunk)
{
    if (chunk->release) {
        chunk->release(chunk->holder);
    }
    g_free(chunk);
}

static struct chunk *add_chunk(struct stream *stream, size_t capacity)
{
    struct chunk *chunk = g_malloc(sizeof *chunk + capacity);

    *chunk = (struct chunk){.at = chunk->bytes, .room = (uint32_t)capacity};
    if (stream->last) {
        stream->last->next = chunk;
    } else {
        stream->first = chunk;
    }
    stream->last = chunk;
    return chunk;
}

static size_t chunk_size(const struct stream *stream, size_t length)
{
    size_t size = stream->pending_bytes < CHUNK_BYTES_LEAST ? CHUNK_BYTES_LEAST
                  : stream->pending_bytes < 4 * CHUNK_BYTES_LEAST ? 4 * CHUNK_BYTES_LEAST
                                                                  : CHUNK_BYTES_MOST;
    size -= sizeof(struct chunk);
    return MAX(size, length);
}

static void added(struct stream *stream, size_t length)
{
    stream->pending_bytes += length;
    deferred_schedule(stream->loop, &stream->turn);
    if (stream->pending_bytes >= EAGER_FLUSH_BYTES && !stream->is_blocked) {
        stream->transport->flush(stream);
    }
    stream->is_above_high_water |= stream->pending_bytes >= STREAM_HIGH_WATER_BYTES;
}

static bool is_writable(const struct stream *stream)
{
    return stream->state == STREAM_OPEN && !stream->has_ended;
}

uint8_t *stream_reserve(struct stream *stream, size_t length)
{
    assert(length <= STREAM_RESERVE_BYTES_MAX);
    struct chunk *chunk = stream->last;
    if (!chunk || chunk->room < length) {
        chunk = add_chunk(stream, chunk_size(stream, length));
    }
    uint8_t *at = (uint8_t *)chunk->at + chunk->length;
    chunk->length += (uint32_t)length;
    chunk->room -= (uint32_t)length;
    /* Not added(): the caller has still to fill it, so it may not go out before the turn ends. */
    stream->pending_bytes += length;
    stream->is_above_high_water |= stream->pending_bytes >= STREAM_HIGH_WATER_BYTES;
    deferred_schedule(stream->loop, &stream->turn);
    return at;
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
    if (!is_writable(stream) || length == 0) {
        return;
    }
    struct chunk *chunk = stream->last;
    if (!chunk || chunk->room < length) {
        chunk = add_chunk(stream, chunk_size(stream, length));
    }
    memcpy((uint8_t *)chunk->at + chunk->length, bytes, length);
    chunk->length += (uint32_t)length;
    chunk->room -= (uint32_t)length;
    added(stream, length);
}

void stream_write_shared(struct stream *stream, const void *bytes, size_t length, void (*release)(void *holder), void *holder)
{
    if (!is_writable(stream) || length == 0) {
        release(holder);
        return;
    }
    struct chunk *chunk = add_chunk(stream, 0);
    chunk->at = bytes;
    chunk->length = (uint32_t)length;
    chunk->release = release;
    chunk->holder = holder;
    added(stream, length);
}

size_t stream_pending_bytes(const struct stream *stream)
{
    return stream->pending_bytes;
}

int stream_output_peek(const struct stream *stream, struct iovec *vectors, int count)
{
    int n = 0;

    for (const struct chunk *chunk = stream->first; chunk && n < count; chunk = chunk->next) {
        if (chunk->length > 0) {
            vectors[n++] = (struct iovec){(void *)chunk->at, chunk->length};
        }
    }
    return n;
}

void stream_output_consume(struct stream *stream, size_t length)
{
    stream->pending_bytes -= length;
    while (stream->first && length >= stream->first->length) {
        struct chunk *chunk = stream->first;
        length -= chunk->length;
        stream->first = chunk->next;
        if (!stream->first) {
            stream->last = NULL;
        }
        chunk_free(chunk);
    }
    if (length > 0) {
        stream->first->at += length;
        stream->first->length -= (uint32_t)length;
    }
}

static void drop_output(struct stream *stream)
{
    while (stream->first) {
        struct chunk *chunk = stream->first;
        stream->first = chunk->next;
        chunk_free(chunk);
    }
    stream->last = NULL;
    stream->pending_bytes = 0;
}

/* ---- input ---- */

static void keep(struct stream *stream, const uint8_t *bytes, size_t length)
{
    if (length > stream->leftover_capacity) {
        size_t capacity = MAX(length, stream->expected_bytes);
        uint8_t *leftover = g_malloc(capacity);
        memcpy(leftover, bytes, length);
        g_free(stream->leftover);
        stream->leftover = leftover;
        stream->leftover_capacity = (uint32_t)capacity;
    } else {
        memmove(stream->leftover, bytes, length);
    }
    stream->leftover_bytes = (uint32_t)length;
}

static void drop_leftover(struct stream *stream)
{
    g_clear_pointer(&stream->leftover, g_free);
    stream->leftover_bytes = stream->leftover_capacity = 0;
}

static bool is_listening(const struct stream *stream)
{
    return stream->state == STREAM_OPEN && !stream->is_paused;
}

/* Shows bytes to the owner and keeps what it leaves. */
static void present(struct stream *stream, const uint8_t *bytes, size_t length)
{
    size_t consumed = 0;

    if (is_listening(stream) && length > 0 && length >= stream->expected_bytes) {
        stream->expected_bytes = 0;
        consumed = stream->events->on_bytes(stream->owner, bytes, length);
        assert(consumed <= length);
    }
    if (stream->state == STREAM_CLOSING || stream->state == STREAM_CLOSED || consumed == length) {
        drop_leftover(stream);
    } else {
        keep(stream, bytes + consumed, length - consumed);
    }
}

void stream_input(struct stream *stream, const uint8_t *bytes, size_t length)
{
    if (stream->state == STREAM_CLOSING || stream->state == STREAM_CLOSED) {
        return;
    }
    if (stream->leftover_bytes == 0) {
        present(stream, bytes, length);
        return;
    }
    size_t space;
    uint8_t *at = stream_input_space(stream, length, &space);
    memcpy(at, bytes, length);
    stream_input_filled(stream, length);
}

uint8_t *stream_input_space(struct stream *stream, size_t least, size_t *length)
{
    size_t wanted = MAX((size_t)stream->leftover_bytes + least, stream->expected_bytes);

    if (wanted > stream->leftover_capacity) {
        wanted = MAX(wanted, MIN(2 * (size_t)stream->leftover_capacity, stream->leftover_capacity + (size_t)CHUNK_BYTES_MOST));
        stream->leftover = g_realloc(stream->leftover, wanted);
        stream->leftover_capacity = (uint32_t)wanted;
    }
    *length = stream->leftover_capacity - stream->leftover_bytes;
    return stream->leftover + stream->leftover_bytes;
}

void stream_input_filled(struct stream *stream, size_t length)
{
    stream->leftover_bytes += (uint32_t)length;
    present(stream, stream->leftover, stream->leftover_bytes);
}

size_t stream_input_take(struct stream *stream, uint8_t *to, size_t length_max)
{
    size_t length = stream->leftover_bytes;

    if (length == 0 || length > length_max || stream->expected_bytes > length_max) {
        return 0;
    }
    memcpy(to, stream->leftover, length);
    stream->leftover_bytes = 0;
    return length;
}

/* ---- ending ---- */

static void end_now(struct stream *stream)
{
    bool was_open = stream->state == STREAM_OPEN;

    if (stream->state == STREAM_CLOSED) {
        return;
    }
    stream->state = STREAM_CLOSED;
    drop_output(stream);
    if (was_open) {
        stream->events->on_end(stream->owner, stream->end_error);
    }
    stream->transport->close(stream);
}

/* The owner is told from the loop, never from inside one of its own calls. */
void stream_input_end(struct stream *stream, int error)
{
    if (!stream->has_ended) {
        stream->has_ended = true;
        stream->end_error = error;
        stream->transport->set_reading(stream, false);
        deferred_schedule(stream->loop, &stream->turn);
    }
}

static void on_linger(void *owner)
{
    struct stream *stream = owner;

    stream->has_ended = true;
    end_now(stream);
}

void stream_close(struct stream *stream, uint64_t linger_ms)
{
    if (stream->state == STREAM_CLOSED || stream->state == STREAM_CLOSING) {
        return;
    }
    stream->state = STREAM_CLOSING;
    drop_leftover(stream);
    if (stream->pending_bytes > 0 && linger_ms > 0) {
        stream->linger = timer_new(stream->loop, on_linger, stream);
        timer_start(stream->linger, linger_ms);
    }
    deferred_schedule(stream->loop, &stream->turn);
}

void stream_reset(struct stream *stream)
{
    if (stream->state != STREAM_CLOSED) {
        stream->state = STREAM_CLOSING;
        drop_output(stream);
        stream->is_reset = true;
        deferred_schedule(stream->loop, &stream->turn);
    }
}

/* ---- the end of a turn ---- */

static void tell_drained(struct stream *stream)
{
    if (stream->is_above_high_water && stream->pending_bytes < STREAM_LOW_WATER_BYTES) {
        stream->is_above_high_water = false;
        if (stream->state == STREAM_OPEN) {
            stream->events->on_drained(stream->owner);
        }
    }
}

void stream_turn(struct stream *stream)
{
    if (stream->state == STREAM_CLOSED || stream->state == STREAM_NEW) {
        return;
    }
    if (stream->wants_presenting && is_listening(stream)) {
        stream->wants_presenting = false;
        if (stream->leftover_bytes > 0) {
            /* The owner may leave some of it: present() moves that to the front. */
            present(stream, stream->leftover, stream->leftover_bytes);
        }
        if (is_listening(stream) && !stream->has_ended) {
            stream->transport->set_reading(stream, true);
        }
    }
    if (stream->pending_bytes > 0 && !stream->is_blocked && !(stream->has_ended && stream->end_error != 0)) {
        stream->transport->flush(stream);
    }
    tell_drained(stream);
    bool is_through = stream->state == STREAM_CLOSING && (stream->pending_bytes == 0 || !stream->linger);
    if (is_through || (stream->has_ended && !(stream->state == STREAM_OPEN && stream->is_paused && stream->leftover_bytes > 0 &&
                                              stream->end_error == 0))) {
        end_now(stream);
    }
}

static void on_turn(void *owner)
{
    stream_turn(owner);
}

/* ---- the owner's side ---- */

void stream_init(struct stream *stream, struct loop *loop, const struct transport *transport)
{
    *stream = (struct stream){.transport = transport, .loop = loop, .state = STREAM_NEW};
    deferred_init(&stream->turn, on_turn, stream);
}

void stream_deinit(struct stream *stream)
{
    deferred_deinit(&stream->turn);
    drop_output(stream);
    drop_leftover(stream);
    timer_free(TAKE(stream->linger));
}

void stream_start(struct stream *stream, const struct stream_events *events, void *owner)
{
    assert(stream->state == STREAM_NEW);
    stream->events = events;
    stream->owner = owner;
    stream->state = STREAM_OPEN;
    stream->wants_presenting = true;
    deferred_schedule(stream->loop, &stream->turn);
}

void stream_set_owner(struct stream *stream, const struct stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

void stream_peer(const struct stream *stream, struct stream_peer *peer)
{
    stream->transport->peer(stream, peer);
}

void stream_pause(struct stream *stream)
{
    if (!stream->is_paused) {
        stream->is_paused = true;
        stream->transport->set_reading(stream, false);
    }
}

void stream_resume(struct stream *stream)
{
    if (stream->is_paused) {
        stream->is_paused = false;
        stream->wants_presenting = true;
        deferred_schedule(stream->loop, &stream->turn);
    }
}

void stream_expect(struct stream *stream, size_t total)
{
    stream->expected_bytes = (uint32_t)total;
}

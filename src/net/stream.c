/* What all streams have in common: input that is left over, output in chunks, the order of ending;
 * see stream.h.
 *
 * Output stands in a list of chunks: a small one first, then the loop's blocks, and references to
 * shared payloads between them. It goes out at the end of the turn, or earlier when a lot has
 * gathered, while it is still in the cache. An idle stream holds neither chunks nor leftovers.
 *
 * Ending: whoever ends it, `end_now` runs once, from the end of a turn or from the loop. What the
 * peer sent before it ended is presented first; what the owner wrote before it closed goes out for
 * `linger_ms`. */
#include "base/cleanup.h"
#include "loop/loop.h"
#include "net/transport.h"
#include <assert.h>
#include <errno.h>
#include <glib.h>

#define FIRST_CHUNK_BYTES         512
#define SMALL_CHUNK_BYTES         4096
#define BEHIND_SHARED_CHUNK_BYTES 512 /* mostly it holds the head of the next packet alone */
#define EAGER_FLUSH_BYTES                                                                          \
    (64 * 1024) /* more of fifty streams would not stay in a cache of 1 MiB                        \
                 */

struct chunk {
    struct chunk *next;
    const uint8_t *at; /* next byte to send */
    uint32_t length;   /* bytes to send */
    uint32_t room;     /* free bytes behind them */
    void (*release)(void *holder);
    void *holder;
    bool is_block; /* of the loop's */
    uint8_t bytes[];
};

/* ---- output ---- */

static void chunk_free(struct stream *stream, struct chunk *chunk)
{
    if (chunk->release) {
        chunk->release(chunk->holder);
    }
    if (chunk->is_block) {
        loop_block_give(stream->loop, chunk);
    } else {
        g_free(chunk);
    }
}

static struct chunk *append_chunk(struct stream *stream, struct chunk *chunk)
{
    if (stream->last) {
        stream->last->next = chunk;
    } else {
        stream->first = chunk;
    }
    stream->last = chunk;
    return chunk;
}

/* With room for at least `length` bytes. */
static struct chunk *add_chunk(struct stream *stream, size_t length)
{
    size_t size = stream->last && stream->last->release       ? BEHIND_SHARED_CHUNK_BYTES
                  : !stream->first                            ? FIRST_CHUNK_BYTES
                  : stream->pending_bytes < SMALL_CHUNK_BYTES ? SMALL_CHUNK_BYTES
                                                              : LOOP_BLOCK_BYTES;
    struct chunk *chunk;

    if (length > size - sizeof *chunk) {
        size = length + sizeof *chunk;
        size = size <= SMALL_CHUNK_BYTES ? SMALL_CHUNK_BYTES : MAX(size, LOOP_BLOCK_BYTES);
    }
    bool is_block = size == LOOP_BLOCK_BYTES;
    chunk = is_block ? loop_block_take(stream->loop) : g_malloc(size);
    *chunk = (struct chunk){
        .at = chunk->bytes, .room = (uint32_t)(size - sizeof *chunk), .is_block = is_block};
    return append_chunk(stream, chunk);
}

static void added(struct stream *stream, size_t length)
{
    stream->pending_bytes += length;
    stream->is_above_high_water |= stream->pending_bytes >= STREAM_HIGH_WATER_BYTES;
    deferred_schedule(stream->loop, &stream->turn);
}

/* What is there may go out: all that was reserved has been filled. */
static void flush_much(struct stream *stream)
{
    if (stream->pending_bytes >= EAGER_FLUSH_BYTES && !stream->is_blocked &&
        stream->state == STREAM_OPEN) {
        stream->transport->flush(stream);
    }
}

static bool is_writable(const struct stream *stream)
{
    return stream->state <= STREAM_OPEN && !stream->has_ended && !stream->is_output_broken;
}

static uint8_t *append(struct stream *stream, size_t length)
{
    struct chunk *chunk = stream->last;

    if (!chunk || chunk->room < length) {
        chunk = add_chunk(stream, length);
    }
    uint8_t *at = (uint8_t *)chunk->at + chunk->length;
    chunk->length += (uint32_t)length;
    chunk->room -= (uint32_t)length;
    return at;
}

uint8_t *stream_reserve(struct stream *stream, size_t length)
{
    assert(length <= STREAM_RESERVE_BYTES_MAX);
    flush_much(stream);
    uint8_t *at = append(stream, length);
    added(stream, length);
    return at;
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
    if (!is_writable(stream) || length == 0) {
        return;
    }
    memcpy(append(stream, length), bytes, length);
    added(stream, length);
    flush_much(stream);
}

void stream_write_shared(struct stream *stream, const void *bytes, size_t length,
                         void (*release)(void *holder), void *holder)
{
    if (!is_writable(stream) || length == 0) {
        release(holder);
        return;
    }
    struct chunk *chunk = g_new(struct chunk, 1);
    *chunk = (struct chunk){
        .at = bytes, .length = (uint32_t)length, .release = release, .holder = holder};
    append_chunk(stream, chunk);
    added(stream, length);
    flush_much(stream);
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

static void drop_first(struct stream *stream)
{
    struct chunk *chunk = stream->first;

    stream->first = chunk->next;
    if (!stream->first) {
        stream->last = NULL;
    }
    chunk_free(stream, chunk);
}

void stream_output_consume(struct stream *stream, size_t length)
{
    stream->pending_bytes -= length;
    while (stream->first && length >= stream->first->length) {
        length -= stream->first->length;
        drop_first(stream);
    }
    if (length > 0) {
        assert(stream->first);
        stream->first->at += length;
        stream->first->length -= (uint32_t)length;
    }
}

void stream_output_drop(struct stream *stream)
{
    while (stream->first) {
        drop_first(stream);
    }
    stream->pending_bytes = 0;
}

/* ---- input ---- */

static bool is_leftover(const struct stream *stream, const uint8_t *bytes)
{
    return stream->leftover && bytes >= stream->leftover &&
           bytes < stream->leftover + stream->leftover_capacity;
}

/* Bytes that are in the leftover already only move its beginning: an owner that takes one packet at
 * a time may not cost a copy of the rest each time. */
static void keep(struct stream *stream, const uint8_t *bytes, size_t length)
{
    if (is_leftover(stream, bytes)) {
        stream->leftover_at = (uint32_t)(bytes - stream->leftover);
    } else {
        if (length > stream->leftover_capacity) {
            size_t capacity = MAX(length, stream->expected_bytes);
            g_free(stream->leftover);
            stream->leftover = g_malloc(capacity);
            stream->leftover_capacity = (uint32_t)capacity;
        }
        memcpy(stream->leftover, bytes, length);
        stream->leftover_at = 0;
    }
    stream->leftover_bytes = (uint32_t)length;
}

static void drop_leftover(struct stream *stream)
{
    g_clear_pointer(&stream->leftover, g_free);
    stream->leftover_at = stream->leftover_bytes = stream->leftover_capacity = 0;
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
    if (stream->state >= STREAM_CLOSING || consumed == length) {
        drop_leftover(stream);
    } else {
        keep(stream, bytes + consumed, length - consumed);
    }
}

void stream_input(struct stream *stream, const uint8_t *bytes, size_t length)
{
    if (stream->state >= STREAM_CLOSING) {
        return;
    }
    if (stream->leftover_bytes == 0) {
        present(stream, bytes, length);
        return;
    }
    while (length > 0 &&
           stream->state < STREAM_CLOSING) { /* more than once when a packet is expected */
        size_t space;
        uint8_t *at = stream_input_space(stream, length, &space);
        space = MIN(space, length);
        memcpy(at, bytes, space);
        bytes += space;
        length -= space;
        stream_input_filled(stream, space);
    }
}

/* Moves what is left over to the front of a buffer of at least `wanted` bytes. */
static void make_room(struct stream *stream, size_t wanted)
{
    const uint8_t *begin = stream->leftover + stream->leftover_at;

    if (wanted <= stream->leftover_capacity) {
        memmove(stream->leftover, begin, stream->leftover_bytes);
    } else {
        size_t capacity = MAX(wanted, 2 * (size_t)stream->leftover_capacity);
        uint8_t *leftover = g_malloc(capacity);
        if (stream->leftover_bytes > 0) {
            memcpy(leftover, begin, stream->leftover_bytes);
        }
        g_free(stream->leftover);
        stream->leftover = leftover;
        stream->leftover_capacity = (uint32_t)capacity;
    }
    stream->leftover_at = 0;
}

/* Of an expected packet no more is read than it has: then all is consumed at once and the buffer
 * goes. */
uint8_t *stream_input_space(struct stream *stream, size_t least, size_t *length)
{
    bool is_exact = stream->expected_bytes > stream->leftover_bytes;
    size_t wanted = is_exact ? stream->expected_bytes : stream->leftover_bytes + least;

    if (stream->leftover_at + wanted > stream->leftover_capacity) {
        make_room(stream, wanted);
    }
    uint32_t end = stream->leftover_at + stream->leftover_bytes;
    *length = is_exact ? wanted - stream->leftover_bytes : stream->leftover_capacity - end;
    return stream->leftover + end;
}

void stream_input_filled(struct stream *stream, size_t length)
{
    stream->leftover_bytes += (uint32_t)length;
    present(stream, stream->leftover + stream->leftover_at, stream->leftover_bytes);
}

size_t stream_input_take(struct stream *stream, uint8_t *to, size_t length_max)
{
    size_t length = stream->leftover_bytes;

    if (length == 0 || length > length_max || stream->expected_bytes > length_max) {
        return 0;
    }
    memcpy(to, stream->leftover + stream->leftover_at, length);
    stream->leftover_bytes = 0;
    return length;
}

void stream_input_untake(struct stream *stream, size_t length)
{
    stream->leftover_bytes = (uint32_t)length;
}

/* ---- ending ---- */

static void end_now(struct stream *stream)
{
    bool was_open = stream->state == STREAM_OPEN;

    if (stream->state == STREAM_CLOSED) {
        return;
    }
    stream->state = STREAM_CLOSED;
    stream_output_drop(stream);
    if (was_open) {
        stream->events->on_end(stream->owner, stream->end_error);
    }
    stream->transport->close(stream);
}

/* The owner is told from the loop, never from inside one of its own calls. */
void stream_input_end(struct stream *stream, int error)
{
    if (!stream->has_ended || (stream->end_error == 0 && error != 0)) {
        stream->has_ended = true;
        stream->end_error = (int16_t)error;
        stream->transport->set_reading(stream, false);
        deferred_schedule(stream->loop, &stream->turn);
    }
}

static void on_linger(void *owner)
{
    struct stream *stream = owner;

    stream->is_reset = true; /* a peer that did not take what was sent is owed no more time */
    end_now(stream);
}

void stream_close(struct stream *stream, uint64_t linger_ms)
{
    if (stream->state >= STREAM_CLOSING) {
        return;
    }
    stream->state = STREAM_CLOSING;
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
        stream_output_drop(stream);
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

/* What was waiting in a paused stream, then reading goes on. */
static void present_waiting(struct stream *stream)
{
    stream->wants_presenting = false;
    if (stream->leftover_bytes > 0) {
        present(stream, stream->leftover + stream->leftover_at, stream->leftover_bytes);
    }
    if (is_listening(stream) && !stream->has_ended) {
        stream->transport->set_reading(stream, true);
    }
}

static bool is_through(const struct stream *stream)
{
    bool is_broken = stream->has_ended && stream->end_error != 0;

    if (stream->state == STREAM_CLOSING) {
        return is_broken || stream->pending_bytes == 0 || !stream->linger;
    }
    /* A paused owner still gets what the peer sent before it closed. */
    bool has_more = stream->is_paused && stream->leftover_bytes > 0;
    return is_broken || (stream->has_ended && !has_more);
}

void stream_turn(struct stream *stream)
{
    if (stream->state == STREAM_CLOSED || stream->state == STREAM_NEW) {
        return;
    }
    if (stream->state == STREAM_CLOSING) {
        drop_leftover(stream);
    } else if (stream->wants_presenting && is_listening(stream)) {
        present_waiting(stream);
    }
    if (stream->is_output_broken) {
        stream_output_drop(stream);
    }
    if (stream->pending_bytes > 0 && !stream->is_blocked && stream->end_error == 0) {
        stream->transport->flush(stream);
    }
    tell_drained(stream);
    if (is_through(stream)) {
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
    stream_output_drop(stream);
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

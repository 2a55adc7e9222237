/* Streams without sockets: two byte queues, and the rules of net/stream.h kept to the letter: no
 * callback from inside a call of its owner, leftovers presented again, the end told once. */
#include "loop/loop.h"
#include "mqtt/test_virtual_loop.h"
#include "net/stream.h"
#include <assert.h>
#include <errno.h>

struct stream {
    const struct stream_events
        *events; /* NULL when the broker has given it up, or has not started it */
    void *owner;
    struct loop *loop;
    uint64_t *moved;
    uint64_t closed_ms; /* 0 = is open */
    GByteArray *to_broker, *to_client;
    struct stream_peer peer;
    uint64_t sent_bytes, arrived_bytes;
    int descriptor;
    int error; /* of is_cut */
    bool is_paused, is_held, is_closed, is_finished, is_cut, is_released, was_high;
    int calls; /* of the owner, under way */
};

struct stream *virtual_stream_new(struct loop *loop, uint64_t *moved)
{
    struct stream *stream = g_new0(struct stream, 1);

    stream->loop = loop;
    stream->moved = moved;
    stream->descriptor = -1;
    stream->to_broker = g_byte_array_new();
    stream->to_client = g_byte_array_new();
    stream->peer = (struct stream_peer){
        .kind = STREAM_TCP, .is_loopback = true, .address = "127.0.0.1", .port = 1};
    return stream;
}

static void free_when_forgotten(struct stream *stream)
{
    if (stream->is_closed && stream->is_released && stream->calls == 0) {
        g_byte_array_unref(stream->to_broker);
        g_byte_array_unref(stream->to_client);
        g_free(stream);
    }
}

/* ---- the broker's side ---- */

void stream_start(struct stream *stream, const struct stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

void stream_peer(const struct stream *stream, struct stream_peer *peer)
{
    *peer = stream->peer;
}

int stream_descriptor(const struct stream *stream)
{
    return stream->descriptor;
}

bool stream_progress(const struct stream *stream, uint64_t *sent_bytes, uint64_t *arrived_bytes)
{
    *sent_bytes = stream->sent_bytes;
    *arrived_bytes = stream->arrived_bytes;
    return true;
}

void virtual_stream_set_progress(struct stream *stream, uint64_t sent_bytes, uint64_t arrived_bytes)
{
    stream->sent_bytes = sent_bytes;
    stream->arrived_bytes = arrived_bytes;
}

void stream_set_silence_ms(struct stream *stream, unsigned silence_ms)
{
}

uint8_t *stream_reserve(struct stream *stream, size_t length)
{
    assert(!stream->is_closed && length <= STREAM_RESERVE_BYTES_MAX);
    guint at = stream->to_client->len;
    g_byte_array_set_size(stream->to_client, at + (guint)length);
    stream->was_high |= stream->to_client->len >= STREAM_HIGH_WATER_BYTES;
    return stream->to_client->data + at;
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
    assert(!stream->is_closed);
    g_byte_array_append(stream->to_client, bytes, (guint)length);
    stream->was_high |= stream->to_client->len >= STREAM_HIGH_WATER_BYTES;
}

void stream_write_shared(struct stream *stream, const void *bytes, size_t length,
                         void (*release)(void *holder), void *holder)
{
    stream_write(stream, bytes, length);
    release(holder);
}

size_t stream_pending_bytes(const struct stream *stream)
{
    return stream->to_client->len;
}

void stream_pause(struct stream *stream)
{
    stream->is_paused = true;
}

void stream_resume(struct stream *stream)
{
    stream->is_paused = false;
    stream->is_held = false;
}

void stream_expect(struct stream *stream, size_t total)
{
}

void stream_close(struct stream *stream, uint64_t linger_ms)
{
    assert(!stream->is_closed);
    stream->is_closed = true;
    stream->closed_ms = stream->is_cut ? 0 : virtual_loop_true_ms(stream->loop);
    stream->events = NULL;
    free_when_forgotten(stream);
}

void stream_reset(struct stream *stream)
{
    g_byte_array_set_size(stream->to_client, 0);
    stream_close(stream, 0);
}

/* ---- the client's side ---- */

void virtual_stream_set_peer(struct stream *stream, const struct stream_peer *peer)
{
    stream->peer = *peer;
}

void virtual_stream_set_descriptor(struct stream *stream, int descriptor)
{
    stream->descriptor = descriptor;
}

void virtual_stream_send(struct stream *stream, const void *bytes, size_t length)
{
    if (!stream->is_cut) {
        g_byte_array_append(stream->to_broker, bytes, (guint)length);
        stream->is_held = false;
        *stream->moved += length;
    }
}

size_t virtual_stream_receive(struct stream *stream, GByteArray *to, size_t most)
{
    guint length = (guint)MIN(most, stream->to_client->len);

    g_byte_array_append(to, stream->to_client->data, length);
    g_byte_array_remove_range(stream->to_client, 0, length);
    *stream->moved += length;
    return length;
}

bool virtual_stream_is_ended(const struct stream *stream)
{
    return stream->is_closed && stream->to_client->len == 0;
}

uint64_t virtual_stream_closed_ms(const struct stream *stream)
{
    return stream->closed_ms;
}

bool virtual_stream_was_read(const struct stream *stream)
{
    return stream->is_closed && stream->to_broker->len == 0;
}

void virtual_stream_finish(struct stream *stream)
{
    stream->is_finished = true;
    g_byte_array_set_size(stream->to_client, 0);
}

void virtual_stream_fail(struct stream *stream, int error)
{
    g_byte_array_set_size(stream->to_broker, 0);
    g_byte_array_set_size(stream->to_client, 0);
    stream->is_cut = true;
    stream->error = error;
}

void virtual_stream_cut(struct stream *stream)
{
    virtual_stream_fail(stream, -ECONNRESET);
}

static void tell_end(struct stream *stream)
{
    const struct stream_events *events = stream->events;

    stream->is_closed = true;
    stream->events = NULL;
    ++*stream->moved;
    events->on_end(stream->owner, stream->is_cut ? stream->error : 0);
}

static void present(struct stream *stream, size_t most)
{
    size_t length = MIN(most, stream->to_broker->len);
    g_autofree uint8_t *view =
        g_memdup2(stream->to_broker->data, length); /* of its own: overruns are seen */
    size_t consumed = stream->events->on_bytes(stream->owner, view, length);

    assert(consumed <= length);
    g_byte_array_remove_range(stream->to_broker, 0, (guint)consumed);
    stream->is_held = consumed == 0 && length == stream->to_broker->len; /* until more comes */
    *stream->moved += consumed;
}

static bool has_ended(const struct stream *stream)
{
    bool is_read = stream->to_broker->len == 0 || stream->is_held;
    return stream->is_cut || (stream->is_finished && is_read && !stream->is_paused);
}

bool virtual_stream_deliver(struct stream *stream, size_t most)
{
    bool has_done = false;

    virtual_loop_enter(stream->loop);
    stream->calls++;
    if (stream->events && stream->was_high && stream->to_client->len < STREAM_LOW_WATER_BYTES) {
        stream->was_high = false;
        stream->events->on_drained(stream->owner);
        has_done = true;
    }
    if (stream->events && stream->to_broker->len > 0 && !stream->is_paused && !stream->is_held) {
        present(stream, most);
        has_done = true;
    } else if (stream->events && has_ended(stream)) {
        tell_end(stream);
        has_done = true;
    }
    stream->calls--;
    if (stream->is_finished || stream->is_cut) {
        g_byte_array_set_size(stream->to_client, 0);
    }
    free_when_forgotten(stream);
    return has_done;
}

void virtual_stream_enter(const struct stream *stream)
{
    virtual_loop_enter(stream->loop);
}

void virtual_stream_end_turn(const struct stream *stream)
{
    virtual_loop_end_turn(stream->loop);
}

void virtual_stream_release(struct stream *stream)
{
    stream->is_released = true;
    free_when_forgotten(stream);
}

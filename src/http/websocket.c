/* See websocket.h. Frames come in on the stream below, their payload goes up as one run of bytes,
 * whatever the frames' borders (MQTT 5, 6.0.0-3); what is written above goes down in frames of at
 * most 64 KiB. Anything but binary frames ends the connection (6.0.0-1, 6.0.0-2). */
#include "http/websocket.h"
#include "base/cleanup.h"
#include "http/websocket_frame.h"
#include "net/transport.h"
#include <errno.h>
#include <glib.h>

#define FRAME_BYTES_MAX 65536
#define LINGER_MS       1000
#define VECTORS_MAX     16

struct websocket {
    struct stream stream;
    struct stream *below; /* NULL once it has ended */
    struct websocket_frame frame;
    uint64_t frame_taken; /* payload bytes of the frame at hand that were taken */
    uint8_t control[125];
    bool has_frame, is_in_message, has_sent_close, is_closed;
    struct deferred freeing;
};

static struct websocket *websocket_of(const struct stream *stream)
{
    return container_of(stream, struct websocket, stream);
}

/* ---- down ---- */

static void write_frame(struct websocket *websocket, uint8_t opcode, const void *payload,
                        size_t length)
{
    uint8_t head[WEBSOCKET_HEAD_BYTES_MAX];

    if (websocket->below && !websocket->has_sent_close) {
        stream_write(websocket->below, head, websocket_frame_encode(opcode, length, head));
        stream_write(websocket->below, payload, length);
    }
}

static void send_close(struct websocket *websocket, unsigned code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

    write_frame(websocket, WEBSOCKET_CLOSE, payload, sizeof payload);
    websocket->has_sent_close = true;
}

static void flush(struct stream *stream)
{
    struct websocket *websocket = websocket_of(stream);
    struct iovec vectors[VECTORS_MAX];
    int count;

    while (websocket->below && (count = stream_output_peek(stream, vectors, VECTORS_MAX)) > 0) {
        if (stream_pending_bytes(websocket->below) >= STREAM_HIGH_WATER_BYTES) {
            stream->is_blocked = true; /* until the one below has drained */
            return;
        }
        size_t length = 0;
        for (int i = 0; i < count; i++) {
            size_t part = MIN(vectors[i].iov_len, FRAME_BYTES_MAX);
            write_frame(websocket, WEBSOCKET_BINARY, vectors[i].iov_base, part);
            length += part;
            if (part < vectors[i].iov_len) {
                break;
            }
        }
        stream_output_consume(stream, length);
    }
}

static void set_reading(struct stream *stream, bool is_reading)
{
    struct websocket *websocket = websocket_of(stream);

    if (!websocket->below) {
        return;
    }
    if (is_reading) {
        stream_resume(websocket->below);
    } else {
        stream_pause(websocket->below);
    }
}

static void peer(const struct stream *stream, struct stream_peer *out)
{
    const struct websocket *websocket = websocket_of(stream);

    *out = (struct stream_peer){.kind = STREAM_WEBSOCKET};
    if (websocket->below) {
        stream_peer(websocket->below, out);
        out->kind = STREAM_WEBSOCKET;
    }
}

static void free_websocket(void *owner)
{
    struct websocket *websocket = owner;

    stream_deinit(&websocket->stream);
    deferred_deinit(&websocket->freeing);
    g_free(websocket);
}

static void close_websocket(struct stream *stream)
{
    struct websocket *websocket = websocket_of(stream);

    websocket->is_closed = true;
    if (websocket->below) {
        send_close(websocket, 1000);
        stream_close(TAKE(websocket->below), LINGER_MS);
    }
    deferred_schedule(stream->loop, &websocket->freeing);
}

static const struct transport websocket_transport = {flush, set_reading, peer, close_websocket};

/* ---- up ---- */

static void fail(struct websocket *websocket, unsigned code)
{
    send_close(websocket, code);
    stream_input_end(&websocket->stream, -EPROTO);
}

/* A whole control frame. */
static void on_control(struct websocket *websocket)
{
    size_t length = (size_t)websocket->frame.payload_bytes;

    if (websocket->frame.opcode == WEBSOCKET_PING) {
        write_frame(websocket, WEBSOCKET_PONG, websocket->control, length);
    } else if (websocket->frame.opcode == WEBSOCKET_CLOSE) {
        send_close(websocket, 1000);
        stream_input_end(&websocket->stream, 0);
    }
}

/* Returns the bytes of the head, 0 when it is not whole, or -1 when the connection ended. */
static int take_head(struct websocket *websocket, struct bytes input)
{
    int r = websocket_frame_parse(input, &websocket->frame);

    if (r < 0) {
        fail(websocket, (unsigned)-r);
        return -1;
    }
    if (r == 0) {
        return 0;
    }
    uint8_t opcode = websocket->frame.opcode;
    if (opcode == WEBSOCKET_TEXT) {
        fail(websocket, 1003);
        return -1;
    }
    if ((opcode == WEBSOCKET_CONTINUATION && !websocket->is_in_message) ||
        (opcode == WEBSOCKET_BINARY && websocket->is_in_message)) {
        fail(websocket, 1002);
        return -1;
    }
    if (opcode <= WEBSOCKET_BINARY) {
        websocket->is_in_message = !websocket->frame.is_final;
    }
    websocket->has_frame = true;
    websocket->frame_taken = 0;
    return websocket->frame.head_bytes;
}

static size_t take_payload(struct websocket *websocket, struct bytes input)
{
    struct websocket_frame *frame = &websocket->frame;
    size_t length = MIN(input.length, frame->payload_bytes - websocket->frame_taken);
    /* The bytes are the loop's read buffer or the leftover of the stream below: ours to change, as
     * they are shown once. */
    uint8_t *bytes = (uint8_t *)input.at;
    bool is_control = frame->opcode >= WEBSOCKET_CLOSE;

    websocket_unmask(bytes, length, frame->mask, websocket->frame_taken);
    if (is_control) {
        memcpy(websocket->control + websocket->frame_taken, bytes, length);
    }
    websocket->frame_taken += length;
    if (!is_control && length > 0) {
        stream_input(&websocket->stream, bytes, length);
    }
    if (websocket->frame_taken == frame->payload_bytes) {
        websocket->has_frame = false;
        if (is_control) {
            on_control(websocket);
        }
    }
    return length;
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct websocket *websocket = owner;
    size_t consumed = 0;

    while (websocket->below && !websocket->stream.is_paused && !websocket->stream.has_ended) {
        struct bytes rest = {bytes + consumed, length - consumed};
        if (!websocket->has_frame) {
            int r = take_head(websocket, rest);
            if (r <= 0) {
                break;
            }
            consumed += (size_t)r;
            rest = (struct bytes){bytes + consumed, length - consumed};
        }
        if (rest.length == 0 && websocket->frame.payload_bytes > websocket->frame_taken) {
            break;
        }
        consumed += take_payload(websocket, rest);
    }
    return consumed;
}

static void on_drained(void *owner)
{
    struct websocket *websocket = owner;

    websocket->stream.is_blocked = false;
    stream_turn(&websocket->stream);
}

static void on_end(void *owner, int error)
{
    struct websocket *websocket = owner;

    websocket->below = NULL;
    stream_input_end(&websocket->stream, error);
}

static const struct stream_events below_events = {on_bytes, on_drained, on_end};

struct stream *websocket_stream_new(struct loop *loop, struct stream *below)
{
    struct websocket *websocket = g_new0(struct websocket, 1);

    stream_init(&websocket->stream, loop, &websocket_transport);
    deferred_init(&websocket->freeing, free_websocket, websocket);
    websocket->below = below;
    stream_set_owner(below, &below_events, websocket);
    stream_pause(below); /* until the owner starts it */
    return &websocket->stream;
}

/* What is below a stream: the struct itself and how bytes get in and out. Sockets (socket.c) and
 * WebSockets (api/) implement `struct transport`; owners of streams use stream.h only. */
#pragma once

#include "loop/deferred.h"
#include "net/stream.h"
#include <sys/uio.h>

struct chunk;

struct transport {
    /* Sends what stream_output_peek gives, as far as it goes; called at the end of a turn in which
     * something was written, and by the transport itself when there is room again. */
    void (*flush)(struct stream *stream);
    void (*set_reading)(struct stream *stream, bool is_reading);
    void (*peer)(const struct stream *stream, struct stream_peer *peer);
    /* Lets go of the connection and frees the stream's memory in the end (stream_free). No call
     * follows. */
    void (*close)(struct stream *stream);
};

enum stream_state {
    STREAM_NEW, /* not started: input is not presented */
    STREAM_OPEN,
    STREAM_CLOSING, /* the owner is gone, output still goes out */
    STREAM_CLOSED,
};

struct stream {
    const struct transport *transport;
    struct loop *loop;
    const struct stream_events *events;
    void *owner;
    struct deferred turn;       /* at the end of a turn: presents what waits, sends, ends */
    struct chunk *first, *last; /* output, oldest first */
    uint8_t *leftover;          /* input that the owner did not consume */
    struct timer *linger;
    size_t pending_bytes;
    uint32_t leftover_at, leftover_bytes, leftover_capacity, expected_bytes;
    int16_t end_error; /* a negative errno */
    uint8_t state;     /* enum stream_state */
    bool is_paused : 1;
    bool is_above_high_water : 1;
    bool wants_presenting : 1;
    bool has_ended : 1;
    bool is_reset : 1;
    bool is_blocked : 1; /* the transport waits for room: it flushes and calls stream_turn itself */
    bool is_output_broken : 1; /* the peer takes nothing more, but what it sent is still read */
};

void stream_init(struct stream *stream, struct loop *loop, const struct transport *transport);
/* Frees buffers; the memory of the struct is the transport's. */
void stream_deinit(struct stream *stream);

/* Input from the transport: `bytes` are presented behind what was left over. */
void stream_input(struct stream *stream, const uint8_t *bytes, size_t length);
/* Where the transport may read to directly, behind what is left over: the rest of what is expected,
 * or room for at least `least` bytes. */
uint8_t *stream_input_space(struct stream *stream, size_t least, size_t *length);
void stream_input_filled(struct stream *stream, size_t length);
/* Moves what is left over to the front of the transport's own buffer, when it fits; returns its
 * length, 0 when there is none or it stays. */
size_t stream_input_take(struct stream *stream, uint8_t *to, size_t length_max);
/* Nothing came to be put behind what was taken: it is left over again. */
void stream_input_untake(struct stream *stream, size_t length);
/* The end of a turn, or room for output again. */
void stream_turn(struct stream *stream);
/* The transport has ended. */
void stream_input_end(struct stream *stream, int error);

/* Output: fills at most `count` vectors, returns how many. */
int stream_output_peek(const struct stream *stream, struct iovec *vectors, int count);
/* That much was sent. */
void stream_output_consume(struct stream *stream, size_t length);
/* Nothing more can be sent. */
void stream_output_drop(struct stream *stream);

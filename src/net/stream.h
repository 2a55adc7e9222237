/* A byte stream with one peer: TCP, TLS, Unix socket, or a WebSocket's binary frames (transport.h).
 *
 * Reading: the loop has one large read buffer shared by all streams; `on_bytes` gets a view into it
 * and says how much it consumed. What it leaves is kept and presented again, in front of what comes
 * next; an idle stream with nothing left over holds no buffer.
 *
 * Writing: `stream_write` and `stream_reserve` append to the stream's output; everything written in
 * one turn of the loop goes out with one writev at its end. Nothing is bounded here: the owner
 * looks at `stream_pending_bytes` and stops producing.
 *
 * Ending: `on_end` is called exactly once when the peer or the transport ends it, never after the
 * owner called `stream_close` or `stream_reset`. The stream frees itself; after either, the owner
 * forgets it. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct stream;

struct stream_events {
    /* Returns the bytes consumed (0..length). May call stream_pause, _close or _reset on its own
     * stream; what is left is then not presented until stream_resume. */
    size_t (*on_bytes)(void *owner, const uint8_t *bytes, size_t length);
    /* The pending output has fallen below STREAM_LOW_WATER_BYTES after having been above
     * STREAM_HIGH_WATER_BYTES. */
    void (*on_drained)(void *owner);
    /* `error` is 0 when the peer closed in order, else a negative errno (-EPROTO for TLS). */
    void (*on_end)(void *owner, int error);
};

#define STREAM_HIGH_WATER_BYTES  (256 * 1024)
#define STREAM_LOW_WATER_BYTES   (64 * 1024)
#define STREAM_RESERVE_BYTES_MAX 8192

enum stream_kind { STREAM_TCP, STREAM_TLS, STREAM_UNIX, STREAM_WEBSOCKET };

/* Who is at the other end; strings are owned by the stream and live as long as it does. */
struct stream_peer {
    enum stream_kind kind;
    bool is_loopback;           /* 127.0.0.0/8, ::1, or a Unix socket */
    const char *address;        /* "192.0.2.1", "2001:db8::1", "unix"; after PROXY: the client's */
    uint16_t port;              /* 0 for Unix */
    const char *certificate_cn; /* of a verified certificate, else NULL */
    const uint8_t *issuer_sha256; /* 32 bytes, of the certificate that signed it; else NULL */
    const char *alpn;             /* what both sides agreed on to speak, else NULL */
};

/* Gives the stream its owner; reading starts at the next turn of the loop. */
void stream_start(struct stream *stream, const struct stream_events *events, void *owner);

/* TLS streams, before stream_start: calls `fn` once when the handshake is through (error NULL) or
 * has failed (the owner resets the stream then), perhaps at once. */
void stream_handshake(struct stream *stream, void (*fn)(void *owner, const char *error),
                      void *owner);

/* Hands a started stream to another owner (an upgraded HTTP connection). Input that was not
 * consumed is presented to the new one. */
void stream_set_owner(struct stream *stream, const struct stream_events *events, void *owner);

void stream_peer(const struct stream *stream, struct stream_peer *peer);

/* The socket itself, for what the kernel is asked about it; the stream keeps it. -1 when there is
 * none (a WebSocket's frames come over another stream). */
int stream_descriptor(const struct stream *stream);

/* Bytes that the kernel has been given, and those of them that have come to the kernel at the other
 * end, whether its process reads them or not. False when the stream is no TCP connection. */
bool stream_progress(const struct stream *stream, uint64_t *sent_bytes, uint64_t *arrived_bytes);

/* Appends a copy. */
void stream_write(struct stream *stream, const void *bytes, size_t length);
/* Appends `length` bytes (at most STREAM_RESERVE_BYTES_MAX), contiguous, that the caller fills
 * before it returns to the loop. Valid until the next call on this stream. */
uint8_t *stream_reserve(struct stream *stream, size_t length);
/* Appends without copying: for large payloads shared by many. `release(holder)` runs when they are
 * no longer needed. */
void stream_write_shared(struct stream *stream, const void *bytes, size_t length,
                         void (*release)(void *holder), void *holder);
/* Bytes written by the owner that the kernel has not taken yet. */
size_t stream_pending_bytes(const struct stream *stream);

/* Gives a TCP connection up (-ETIMEDOUT) when the peer has not taken what was sent for this long
 * (TCP_USER_TIMEOUT). */
void stream_set_silence_ms(struct stream *stream, unsigned silence_ms);

/* Stops and restarts reading: the peer is held back by TCP. Both may be called at any time. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);
/* Says that `on_bytes` will consume nothing before `total` bytes are there, so that the buffer is
 * made once. */
void stream_expect(struct stream *stream, size_t total);

/* Sends what is pending, for at most `linger_ms`, then closes. The owner is not called again. */
void stream_close(struct stream *stream, uint64_t linger_ms);
/* Drops everything at once. The owner is not called again. */
void stream_reset(struct stream *stream);

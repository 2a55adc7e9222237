/* A stream over the binary frames of a WebSocket: for MQTT (MQTT 5, 6). */
#pragma once

struct loop;
struct stream;

/* Takes the stream below, on which the handshake is through; returns a stream to be started. */
struct stream *websocket_stream_new(struct loop *loop, struct stream *below);

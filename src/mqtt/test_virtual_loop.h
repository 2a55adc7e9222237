/* A loop whose time stands still until it is moved: stands in for loop/, base/clock.c and the
 * socket side of net/ when the broker is linked into the simulation or a test. The clocks of base/
 * know no owner: they show those of the loop that was entered last, at first of the only one. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct stream;
struct stream_peer;

struct loop *virtual_loop_new(uint64_t unix_ms);
void virtual_loop_free(struct loop *loop);
/* Runs the work at the end of the turn, and what was given to the pool, until nothing is left. */
void virtual_loop_end_turn(struct loop *loop);
/* Moves the time and fires what is due, each with the end of its turn. */
void virtual_loop_advance(struct loop *loop, uint64_t ms);

/* ---- several loops, each with its own clock; they are moved by the true time ---- */
void virtual_loop_enter(struct loop *loop);
bool virtual_loop_is_entered(const struct loop *loop);
/* Its clock shows other times than the true one, and runs faster by so many millionths. */
void virtual_loop_set_clock(struct loop *loop, uint64_t true_ms, uint64_t ahead_ms, int rate_ppm);
uint64_t virtual_loop_true_ms(const struct loop *loop);
/* One turn at this time: a process that was stopped meanwhile finds all of it gone by at once. */
void virtual_loop_turn(struct loop *loop, uint64_t true_ms);
/* When a timer may be due (never too late); UINT64_MAX = none runs. */
uint64_t virtual_loop_next_ms(const struct loop *loop);

/* ---- one connection, seen from the client ---- */

/* `moved` counts bytes that went anywhere, so that the simulation sees when all is quiet. */
struct stream *virtual_stream_new(struct loop *loop, uint64_t *moved);
/* Who the client is; strings are borrowed. TCP from 127.0.0.1 else. */
void virtual_stream_set_peer(struct stream *stream, const struct stream_peer *peer);
/* What stream_progress tells. */
void virtual_stream_set_progress(struct stream *stream, uint64_t sent_bytes,
                                 uint64_t arrived_bytes);
/* A number for stream_descriptor. */
void virtual_stream_set_descriptor(struct stream *stream, int descriptor);
void virtual_stream_send(struct stream *stream, const void *bytes, size_t length);
/* Takes up to `most` bytes of what the broker wrote. */
size_t virtual_stream_receive(struct stream *stream, GByteArray *to, size_t most);
/* The broker has closed it and everything was received. */
bool virtual_stream_is_ended(const struct stream *stream);
/* When the broker closed it by itself; 0 = it did not. */
uint64_t virtual_stream_closed_ms(const struct stream *stream);
/* The broker has closed it, and had read everything that was sent. */
bool virtual_stream_was_read(const struct stream *stream);
/* The client closes: what it sent is still read, then the broker sees the end. */
void virtual_stream_finish(struct stream *stream);
/* The wire is cut: what is under way is lost. */
void virtual_stream_cut(struct stream *stream);
/* The same, and the broker's side is told this error. */
void virtual_stream_fail(struct stream *stream, int error);
/* Presents up to `most` of the bytes sent to the broker, or the end. False when there was nothing
 * to do. */
bool virtual_stream_deliver(struct stream *stream, size_t most);
/* The clocks are those of the broker's loop from now on. */
void virtual_stream_enter(const struct stream *stream);
/* The end of a turn of that loop. */
void virtual_stream_end_turn(const struct stream *stream);
/* The client forgets it; freed when the broker has too. */
void virtual_stream_release(struct stream *stream);

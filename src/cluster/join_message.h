/* Inside of cluster/: what the two sides of a join say, as JSON behind its length. Pure. */
#pragma once

#include "base/bytes.h"
#include "cluster/join.h"

struct stream;
struct text_value;

#define JOIN_HEAD_BYTES 4

/* Appends the message to the stream. */
void join_write(struct stream *stream, const struct text_value *message);
/* The message that begins there: its size with the head, 0 when it is not whole yet, -EBADMSG. */
int join_message_size(const uint8_t *bytes, size_t length, size_t *size);

struct text_value *join_request_to_value(const struct join_request *request);
/* Borrows from `value`. -EBADMSG with error. */
int join_request_from_value(struct join_request *request, const struct text_value *value,
                            GError **error);
struct text_value *join_answer_to_value(const struct join_answer *answer);
/* Borrows from `value`; the caller frees nodes. An answer that is an error gives it (JOIN_ERROR).
 */
int join_answer_from_value(struct join_answer *answer, const struct text_value *value,
                           GError **error);
struct text_value *join_error_to_value(enum join_error code, const char *message);

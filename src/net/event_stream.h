/* Server-sent events taken out of a body that comes in pieces (HTML standard, 9.2.6). Pure. */
#pragma once

#include "base/bytes.h"
#include <glib.h>

struct event_stream {
    GString *line;     /* begun, not whole */
    GString *name;     /* of the event under construction */
    GString *payload;  /* its lines so far, each ending with a line feed */
    size_t bytes_max;  /* of a line and of an event */
    bool after_return; /* the last byte was CR: an LF belongs to it */
};

void event_stream_init(struct event_stream *stream, size_t bytes_max);
void event_stream_deinit(struct event_stream *stream);
/* Returns 0, -EMSGSIZE for what is too long, or -ECANCELED when `on_event` returned false. */
int event_stream_feed(struct event_stream *stream, struct bytes piece,
                      bool (*on_event)(void *owner, const char *name, const char *payload),
                      void *owner);

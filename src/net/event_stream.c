/* See event_stream.h. Lines end with LF, CR or CRLF; an empty line ends an event; comments, ids and
 * retry times are passed over. */
#include "net/event_stream.h"
#include <errno.h>
#include <string.h>

void event_stream_init(struct event_stream *stream, size_t bytes_max)
{
    *stream = (struct event_stream){g_string_new(NULL), g_string_new(NULL), g_string_new(NULL),
                                    bytes_max, false};
}

void event_stream_deinit(struct event_stream *stream)
{
    g_string_free(stream->line, true);
    g_string_free(stream->name, true);
    g_string_free(stream->payload, true);
}

static void take_field(struct event_stream *stream, const char *line)
{
    const char *colon = strchr(line, ':');
    size_t length = colon ? (size_t)(colon - line) : strlen(line);
    const char *value = colon ? colon + 1 + (colon[1] == ' ') : "";

    if (length == 4 && memcmp(line, "data", 4) == 0) {
        g_string_append(stream->payload, value);
        g_string_append_c(stream->payload, '\n');
    } else if (length == 5 && memcmp(line, "event", 5) == 0) {
        g_string_assign(stream->name, value);
    }
}

static int end_line(struct event_stream *stream,
                    bool (*on_event)(void *owner, const char *name, const char *payload),
                    void *owner)
{
    bool goes_on = true;

    if (stream->line->len > 0) {
        take_field(stream, stream->line->str);
        g_string_truncate(stream->line, 0);
        return stream->payload->len > stream->bytes_max ? -EMSGSIZE : 0;
    }
    if (stream->payload->len > 0) {
        g_string_truncate(stream->payload, stream->payload->len - 1);
        goes_on = on_event(owner, stream->name->len > 0 ? stream->name->str : "message",
                           stream->payload->str);
    }
    g_string_truncate(stream->name, 0);
    g_string_truncate(stream->payload, 0);
    return goes_on ? 0 : -ECANCELED;
}

int event_stream_feed(struct event_stream *stream, struct bytes piece,
                      bool (*on_event)(void *owner, const char *name, const char *payload),
                      void *owner)
{
    for (size_t i = 0; i < piece.length; i++) {
        char c = (char)piece.at[i];
        bool belongs_to_return = c == '\n' && stream->after_return;
        stream->after_return = c == '\r';
        if (belongs_to_return) {
            continue;
        }
        if (c != '\n' && c != '\r') {
            if (stream->line->len >= stream->bytes_max) {
                return -EMSGSIZE;
            }
            g_string_append_c(stream->line, c);
            continue;
        }
        int r = end_line(stream, on_event, owner);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

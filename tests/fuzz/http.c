/* Requests and WebSocket frames from anybody: the head and its parts, queries, the key of the
 * handshake, frames. */
#include "http/head.h"
#include "http/websocket_frame.h"
#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_head(const struct http_head *head, size_t length)
{
    struct bytes key = http_header_find(head, "sec-websocket-key");
    g_autofree char *path = http_decode(head->path, false);
    g_autofree char *value = http_query_find(head->query, "filter");
    g_autofree char *answer = key.at ? websocket_accept_key(key) : NULL;

    g_assert(length <= HTTP_HEAD_BYTES_MAX && head->header_count <= HTTP_HEADERS_MAX &&
             head->path.length <= HTTP_PATH_BYTES_MAX);
    g_assert(!path || strlen(path) <= head->path.length);
}

/* Frame after frame, as far as they are whole. */
static void use_frames(struct bytes input)
{
    struct websocket_frame frame;

    while (websocket_frame_parse(input, &frame) == 1) {
        g_assert(frame.head_bytes <= input.length);
        input = (struct bytes){input.at + frame.head_bytes, input.length - frame.head_bytes};
        size_t length = (size_t)MIN(frame.payload_bytes, (uint64_t)input.length);
        g_autofree uint8_t *payload = g_malloc(length + 1);
        memcpy(payload, input.at, length);
        websocket_unmask(payload, length, frame.mask, 0);
        input = (struct bytes){input.at + length, input.length - length};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head head;
    int length = http_head_parse((struct bytes){data, size}, &head);

    if (length > 0) {
        use_head(&head, (size_t)length);
        use_frames((struct bytes){data + length, size - (size_t)length});
    } else {
        use_frames((struct bytes){data, size});
    }
    return 0;
}

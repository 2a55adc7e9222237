/* See waiting.h. */
#include "bridge/waiting.h"

static struct bytes copy(struct bytes from)
{
    return (struct bytes){g_memdup2(from.at, from.length), from.length};
}

static void waiting_free(void *pointer)
{
    struct waiting *waiting = pointer;

    g_free((void *)waiting->message.topic.at);
    g_free((void *)waiting->message.payload.at);
    g_free((void *)waiting->message.properties.at);
    g_free(waiting);
}

void waiting_push(GQueue *queue, const struct client_message *message, uint64_t token)
{
    struct waiting *waiting = g_new0(struct waiting, 1);

    waiting->message = *message;
    waiting->message.topic = copy(message->topic);
    waiting->message.payload = copy(message->payload);
    waiting->message.properties = copy(message->properties);
    waiting->token = token;
    g_queue_push_tail(queue, waiting);
}

const struct waiting *waiting_first(GQueue *queue)
{
    return g_queue_peek_head(queue);
}

void waiting_pop(GQueue *queue)
{
    waiting_free(g_queue_pop_head(queue));
}

void waiting_clear(GQueue *queue)
{
    g_queue_clear_full(queue, waiting_free);
}

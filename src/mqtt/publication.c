/* See publication.h. */
#include "mqtt/publication.h"

void publication_from_message(struct publication *publication, struct message *message, struct bytes publisher)
{
    *publication = (struct publication){
        .topic = message_topic(message),
        .properties = message_properties(message),
        .payload = message_payload(message),
        .publisher = publisher,
        .expires_unix_ms = message->expires_unix_ms,
        .message = message_ref(message),
        .qos = message->qos,
        .retain = message->retain,
    };
}

struct message *publication_message(struct publication *publication)
{
    if (!publication->message) {
        publication->message = message_new(publication->topic, publication->properties, publication->payload,
                                           publication->qos, publication->retain, publication->expires_unix_ms);
    }
    return publication->message;
}

void publication_deinit(struct publication *publication)
{
    message_unref(TAKE(publication->message));
}

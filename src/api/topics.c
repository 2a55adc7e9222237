/* Retained messages, and publishing. */
#include "api/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "mqtt/broker.h"
#include "packet/reason.h"
#include "session/retained.h"
#include "state/state.h"
#include "topic/name.h"
#include <errno.h>

#define LISTED_MAX 10000

static struct text_value *describe(const struct message *message)
{
    struct text_value *value = text_new_object();
    struct bytes payload = message_payload(message);
    g_autofree char *topic =
        g_strndup((const char *)message_topic(message).at, message->topic_bytes);

    text_set_string(value, "topic", topic);
    text_set_integer(value, "qos", message->qos);
    text_set_integer(value, "bytes", message->payload_bytes);
    text_set_integer(value, "expires_unix_ms", (int64_t)message->expires_unix_ms);
    if (utf8_is_valid(payload)) {
        g_autofree char *text = g_strndup((const char *)payload.at, payload.length);
        text_set_string(value, "payload", text);
    } else {
        g_autofree char *text = g_base64_encode(payload.at, payload.length);
        text_set_string(value, "payload_base64", text);
    }
    return value;
}

static bool add_message(void *owner, struct message *message)
{
    text_append(owner, describe(message));
    return text_count(owner) < LISTED_MAX;
}

void topics_list(struct api_request *request)
{
    g_autofree char *asked = api_query(request, "filter");
    struct bytes filter = bytes_from_string(asked ? asked : "#");

    if (!topic_filter_is_valid(filter, TOPIC_BYTES_MAX)) {
        api_answer_error(request, 400, "filter_invalid", "filter '%s' is no topic filter", asked);
        return;
    }
    struct text_value *list = text_new_list();
    retained_scan(state_retained(request->api->options.state), filter, add_message, list);
    api_answer(request, 200, list);
}

static struct message *find(struct api_request *request)
{
    struct message *message = retained_find(state_retained(request->api->options.state),
                                            bytes_from_string(request->parameters[0]));

    if (!message) {
        api_answer_error(request, 404, "topic_unknown", "topic '%s': no retained message",
                         request->parameters[0]);
    }
    return message;
}

void topic_get(struct api_request *request)
{
    const struct message *message = find(request);

    if (message) {
        api_answer(request, 200, describe(message));
    }
}

/* ---- publishing ---- */

static void on_published(void *owner, uint8_t reason)
{
    struct api_request *request = owner;

    if (reason >= REASON_UNSPECIFIED) {
        api_answer_error(request, 409, "publish_refused", "%s", reason_to_string(reason));
        return;
    }
    struct text_value *value = text_new_object();
    text_set_integer(value, "reason", reason);
    text_set_string(value, "reason_text", reason_to_string(reason));
    api_answer(request, 200, value);
}

static void publish(struct api_request *request, const struct broker_publication *publication)
{
    int r = broker_publish(request->api->options.broker, publication, on_published, request);

    if (r == -EINVAL) {
        api_answer_error(
            request, 400, "topic_invalid",
            "topic must be a topic name without wildcards that does not begin with $, qos 0 to 2");
    } else {
        api_is_proposed(request, r);
    }
}

void topic_delete(struct api_request *request)
{
    if (!find(request)) {
        return;
    }
    struct broker_publication publication = {
        .topic = bytes_from_string(request->parameters[0]), .qos = 1, .retain = true};
    api_audit(request, "remove retained message", request->parameters[0]);
    publish(request, &publication);
}

/* What a field is when it is there at all; a number as payload is no empty payload. */
static bool has_kinds(struct api_request *request, const struct text_value *body)
{
    static const struct {
        const char *key;
        enum text_kind kind;
    } fields[] = {{"payload", TEXT_STRING},
                  {"payload_base64", TEXT_STRING},
                  {"qos", TEXT_INTEGER},
                  {"retain", TEXT_BOOLEAN},
                  {"expiry_s", TEXT_INTEGER}};

    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        const struct text_value *value = text_get(body, fields[i].key);
        if (value && text_kind(value) != fields[i].kind) {
            api_answer_error(request, 400, "body_invalid", "'%s' must be a %s, got %s",
                             fields[i].key, text_kind_to_string(fields[i].kind),
                             text_kind_to_string(text_kind(value)));
            return false;
        }
    }
    int64_t expiry_s = text_integer(text_get(body, "expiry_s"), 0);
    if (expiry_s < 0 || expiry_s > UINT32_MAX) {
        api_answer_error(request, 400, "body_invalid", "'expiry_s' must be 0 to 4294967295");
        return false;
    }
    return true;
}

/* GLib's decoder passes over what is no base64: what it gives must be as long as what was sent. */
static bool is_base64(const char *text, gsize decoded_bytes)
{
    size_t length = strlen(text);
    size_t padding = length < 2 ? 0 : (text[length - 1] == '=') + (text[length - 2] == '=');

    return length % 4 == 0 && decoded_bytes == length / 4 * 3 - padding;
}

void publish_post(struct api_request *request)
{
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    const char *topic = body ? api_body_string(request, body, "topic") : NULL;

    if (!topic || !has_kinds(request, body)) {
        return;
    }
    const char *text = text_string(text_get(body, "payload"), "");
    const char *base64 = text_string(text_get(body, "payload_base64"), NULL);
    gsize decoded_bytes = 0;
    g_autofree uint8_t *decoded = base64 ? g_base64_decode(base64, &decoded_bytes) : NULL;
    int64_t qos = text_integer(text_get(body, "qos"), 0);
    struct broker_publication publication = {
        .topic = bytes_from_string(topic),
        .payload = base64 ? (struct bytes){decoded, decoded_bytes} : bytes_from_string(text),
        .qos = qos >= 0 && qos <= 2 ? (uint8_t)qos : 3,
        .retain = text_boolean(text_get(body, "retain"), false),
        .expiry_s = (uint32_t)text_integer(text_get(body, "expiry_s"), 0),
    };
    if (base64 && (!is_base64(base64, decoded_bytes) || text_get(body, "payload"))) {
        api_answer_error(request, 400, "body_invalid",
                         "'payload_base64' must be base64, and stand without 'payload'");
    } else if (publication.payload.length >
               state_settings(request->api->options.state)->max_packet_bytes) {
        api_answer_error(request, 400, "payload_too_large",
                         "the payload is larger than mqtt.max_packet_bytes");
    } else {
        publish(request, &publication);
    }
}

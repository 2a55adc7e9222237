/* Sessions and their clients. */
#include "api/routes.h"
#include "api/trace.h"
#include "base/cleanup.h"
#include "mqtt/broker.h"
#include "state/cluster_tables.h"
#include "state/propose.h"
#include <errno.h>

/* NULL when it is connected to none, or to one that was removed. */
static const char *node_of(const struct state *state, const struct broker_client *client)
{
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *node = state_node_at(state, i);
        if (state_is_connection_of(node->id, client->connection_number)) {
            return node->name;
        }
    }
    return NULL;
}

static struct text_value *describe(const struct api *api, const struct broker_client *client)
{
    struct text_value *value = text_new_object();
    static const char *const versions[] = {[3] = "3.1", [4] = "3.1.1", [5] = "5.0"};

    text_set_string(value, "id", client->client_id);
    text_set_string(value, "username", client->username);
    text_set_string(value, "role", client->role);
    text_set_boolean(value, "connected", client->connection_number != 0);
    if (state_node_count(api->options.state) > 1) {
        text_set_string(value, "node", node_of(api->options.state, client));
    }
    text_set_boolean(value, "persistent", client->is_persistent);
    text_set_boolean(value, "will", client->has_will);
    text_set_string(value, "address", client->address);
    text_set_string(value, "transport", client->transport);
    text_set_string(value, "version",
                    client->version < G_N_ELEMENTS(versions) ? versions[client->version] : NULL);
    text_set_integer(value, "keep_alive_s", client->keep_alive_s);
    text_set_integer(value, "expiry_s", client->expiry_s);
    text_set_integer(value, "subscriptions", client->subscriptions);
    text_set_integer(value, "queued", client->queued);
    text_set_integer(value, "queued_bytes", (int64_t)client->queued_bytes);
    text_set_integer(value, "in_flight", client->in_flight);
    text_set_integer(value, "received", (int64_t)client->received);
    text_set_integer(value, "sent", (int64_t)client->sent);
    text_set_integer(value, "dropped", (int64_t)client->dropped);
    text_set_integer(value, "pending_output_bytes", (int64_t)client->pending_output_bytes);
    text_set_integer(value, "connected_unix_ms", (int64_t)client->connected_unix_ms);
    text_set_integer(value, "expires_unix_ms", (int64_t)client->disconnected_expires_unix_ms);
    return value;
}

struct listing {
    const struct api *api;
    struct text_value *value; /* a list, or the one that was asked for */
};

static void add_client(void *owner, const struct broker_client *client)
{
    const struct listing *listing = owner;

    text_append(listing->value, describe(listing->api, client));
}

void clients_list(struct api_request *request)
{
    struct listing listing = {request->api, text_new_list()};

    broker_for_each_client(request->api->options.broker, add_client, &listing);
    api_answer(request, 200, listing.value);
}

static void take_client(void *owner, const struct broker_client *client)
{
    struct listing *listing = owner;

    listing->value = describe(listing->api, client);
}

static void add_subscription(void *owner, const char *filter, uint8_t qos, bool no_local,
                             bool retain_as_published, uint32_t subscription_id)
{
    struct text_value *value = text_new_object();

    text_set_string(value, "filter", filter);
    text_set_integer(value, "qos", qos);
    text_set_boolean(value, "no_local", no_local);
    text_set_boolean(value, "retain_as_published", retain_as_published);
    text_set_integer(value, "subscription_id", subscription_id);
    text_append(owner, value);
}

void client_get(struct api_request *request)
{
    struct broker *broker = request->api->options.broker;
    struct bytes id = bytes_from_string(request->parameters[0]);
    struct listing listing = {request->api, NULL};

    if (!broker_find_client(broker, id, take_client, &listing)) {
        api_answer_error(request, 404, "client_unknown",
                         "client '%s': there is no session with this id", request->parameters[0]);
        return;
    }
    struct text_value *filters = text_new_list();
    broker_for_each_subscription(broker, id, add_subscription, filters);
    text_set(listing.value, "filters", filters);
    api_answer(request, 200, listing.value);
}

void client_delete(struct api_request *request)
{
    g_autofree char *query = api_query(request, "purge");
    bool purge = g_strcmp0(query, "1") == 0;
    struct state_completion completion = {api_committed, request, 0};

    api_audit(request, purge ? "purge client" : "kick client", request->parameters[0]);
    int r = broker_kick(request->api->options.broker, bytes_from_string(request->parameters[0]),
                        purge ? &completion : NULL);
    if (r == -ENOENT) {
        api_answer_error(request, 404, "client_unknown",
                         "client '%s': there is no session with this id", request->parameters[0]);
    } else if (r == -EINPROGRESS) {
        struct text_value *answer = text_new_object();
        g_autofree char *message = g_strdup_printf(
            "client '%s': there is no session with this id on this node; the others were told",
            request->parameters[0]);
        text_set_string(answer, "message", message);
        api_answer(request, 202, answer);
    } else if (r == 0) {
        api_answer(request, 200, text_new_object());
    } else if (r < 0) {
        api_is_proposed(request, r);
    }
}

/* ---- trace ---- */

struct trace {
    struct list link; /* in api.traces */
    struct http_exchange *exchange;
    struct broker_trace *trace;
};

static void trace_free(struct trace *trace)
{
    list_remove(&trace->link);
    broker_trace_free(trace->trace);
    g_free(trace);
}

static void on_line(void *owner, const char *line)
{
    struct trace *trace = owner;
    struct text_value *value = text_new_object();

    text_set_string(value, "packet", line);
    g_autofree char *json = text_to_json(value, false);
    g_autofree char *event = g_strdup_printf("data: %s\n\n", json);
    text_free(value);
    http_write_stream(trace->exchange,
                      bytes_from_string(event)); /* a reader that does not keep up misses lines */
}

static void on_gone(void *owner)
{
    struct trace *trace = owner;
    struct http_exchange *exchange = trace->exchange;

    trace_free(trace);
    http_end_stream(exchange);
}

void client_trace(struct api_request *request)
{
    struct trace *trace = g_new0(struct trace, 1);
    struct api *api = request->api;

    trace->exchange = request->exchange;
    trace->trace = broker_trace_new(api->options.broker, bytes_from_string(request->parameters[0]),
                                    on_line, trace);
    list_append(&api->traces, &trace->link);
    api_request_free(request);
    http_begin_stream(trace->exchange, "text/event-stream", on_gone, trace);
}

void traces_stop(struct api *api)
{
    while (!list_is_empty(&api->traces)) {
        struct trace *trace = list_entry(api->traces.next, struct trace, link);
        struct http_exchange *exchange = trace->exchange;
        trace_free(trace);
        http_end_stream(exchange);
    }
}

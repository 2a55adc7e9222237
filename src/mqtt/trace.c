/* See trace.h and broker_trace_new in broker.h. A connection that nobody traces pays one test of a
 * flag a packet. */
#include "mqtt/trace.h"
#include "mqtt/broker_private.h"

struct broker_trace {
    struct list link; /* in broker.traces */
    struct broker *broker;
    void (*fn)(void *owner, const char *line);
    void *owner;
    char client_id[];
};

void trace_packet(struct connection *connection, enum trace_direction direction,
                  struct bytes packet)
{
    struct packet_frame frame;
    struct bytes id = connection_client_id(connection);

    if (packet_frame_find(packet, UINT32_MAX, &frame) != 1) {
        return;
    }
    g_autofree char *text = packet_frame_describe(&frame, connection->version);
    g_autofree char *line = g_strconcat(direction == TRACE_FROM_CLIENT ? "<- " : "-> ", text, NULL);
    list_for_each_safe(link, &connection->broker->traces) {
        struct broker_trace *trace = list_entry(link, struct broker_trace, link);
        if (bytes_equal(bytes_from_string(trace->client_id), id)) {
            trace->fn(trace->owner, line);
        }
    }
}

void trace_attach(struct connection *connection)
{
    struct bytes id = connection_client_id(connection);

    connection->is_traced = false;
    list_for_each(link, &connection->broker->traces) {
        connection->is_traced |= bytes_equal(
            bytes_from_string(list_entry(link, struct broker_trace, link)->client_id), id);
    }
}

static void attach_again(struct broker *broker, const char *client_id)
{
    struct connection *connection = broker_find(broker, client_id);

    if (connection && connection_is_active(connection)) {
        trace_attach(connection);
    }
}

struct broker_trace *broker_trace_new(struct broker *broker, struct bytes client_id,
                                      void (*fn)(void *owner, const char *line), void *owner)
{
    struct broker_trace *trace = g_malloc0(sizeof *trace + client_id.length + 1);

    trace->broker = broker;
    trace->fn = fn;
    trace->owner = owner;
    memcpy(trace->client_id, client_id.at, client_id.length);
    list_append(&broker->traces, &trace->link);
    attach_again(broker, trace->client_id);
    return trace;
}

void broker_trace_free(struct broker_trace *trace)
{
    list_remove(&trace->link);
    attach_again(trace->broker, trace->client_id);
    g_free(trace);
}

/* See durable.h. The retry timer runs only while something waits. */
#include "mqtt/durable.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/broker_private.h"
#include "mqtt/flow.h"
#include "mqtt/ingest.h"
#include "mqtt/outbox.h"
#include "mqtt/sender.h"
#include "state/propose.h"
#include <errno.h>

#define RETRY_MS         5
#define RETRY_REFUSED_MS 1000

/* ---- ends of connections ---- */

struct closing {
    struct list link; /* in broker.closings while it waits */
    struct broker *broker;
    struct state_close close; /* client_id points at `client_id` */
    char client_id[];
};

static void on_closed(void *owner, uint64_t token, const struct state_result *result)
{
    struct closing *closing = owner;

    /* The disk is full, or there is no quorum: it stays open in the state until there is. */
    if (result->error == -ENOSPC || result->error == -ETIMEDOUT) {
        list_append(&closing->broker->closings, &closing->link);
        timer_start(closing->broker->retry_timer, RETRY_REFUSED_MS);
        return;
    }
    g_free(closing);
}

static bool propose_close(struct closing *closing)
{
    struct state_completion completion = {on_closed, closing, 0};
    int r = state_propose_close(closing->broker->state, &closing->close, &completion);

    if (r < 0) {
        timer_start(closing->broker->retry_timer, r == -ENOSPC ? RETRY_REFUSED_MS : RETRY_MS);
    }
    return r == 0;
}

void durable_close(struct connection *connection)
{
    struct broker *broker = connection->broker;
    struct bytes id = connection_client_id(connection);
    struct closing *closing = g_malloc0(sizeof *closing + id.length + 1);

    memcpy(closing->client_id, id.at, id.length);
    list_init(&closing->link);
    closing->broker = broker;
    closing->close = (struct state_close){
        .client_id = {(const uint8_t *)closing->client_id, id.length},
        .connection_number = connection->number,
        .publish_will = !connection->is_clean_end,
        .has_expiry = connection->has_end_expiry,
        .expiry_s = connection->expiry_s,
    };
    if (!list_is_empty(&broker->closings) || !propose_close(closing)) {
        list_append(&broker->closings, &closing->link);
    }
}

static bool retry_closings(struct broker *broker)
{
    while (!list_is_empty(&broker->closings)) {
        struct closing *closing = list_entry(broker->closings.next, struct closing, link);
        list_remove(&closing->link);
        if (!propose_close(closing)) {
            list_add_before(broker->closings.next, &closing->link);
            return false;
        }
    }
    return true;
}

bool durable_has_closed(struct broker *broker)
{
    return retry_closings(broker);
}

/* ---- acknowledgements ---- */

struct acknowledgement {
    struct broker *broker;
    uint64_t connection_number;
    enum session_ack kind;
    uint32_t count;
    char *client_id;
    uint16_t packet_ids[];
};

static void on_acknowledged(void *owner, uint64_t token, const struct state_result *result)
{
    struct acknowledgement *acknowledgement = owner;
    struct broker *broker = acknowledgement->broker;
    struct connection *connection = broker_find(broker, acknowledgement->client_id);
    bool is_here = connection && connection->number == acknowledgement->connection_number &&
                   connection_is_active(connection);

    for (uint32_t i = 0; is_here && i < acknowledgement->count; i++) {
        if (result->error != 0 && !broker->is_stopping) { /* said twice does no harm */
            outbox_acknowledge_later(connection, acknowledgement->kind,
                                     acknowledgement->packet_ids[i]);
            timer_start(broker->retry_timer, RETRY_REFUSED_MS);
        } else if (acknowledgement->kind == SESSION_PUBREC && result->error == 0) {
            connection_send_ack(connection, PACKET_PUBREL, acknowledgement->packet_ids[i],
                                REASON_SUCCESS);
        }
    }
    if (is_here && acknowledgement->kind != SESSION_PUBREC && result->error == 0) {
        flow_update(connection);
    }
    g_free(acknowledgement->client_id);
    g_free(acknowledgement);
}

int durable_acknowledge(struct connection *connection, enum session_ack kind,
                        const uint16_t *packet_ids, uint32_t count)
{
    struct broker *broker = connection->broker;
    struct bytes id = session_client_id(connection->session);
    struct acknowledgement *acknowledgement =
        g_malloc0(sizeof *acknowledgement + count * sizeof *packet_ids);

    acknowledgement->broker = broker;
    acknowledgement->connection_number = connection->number;
    acknowledgement->kind = kind;
    acknowledgement->count = count;
    acknowledgement->client_id = g_strndup((const char *)id.at, id.length);
    memcpy(acknowledgement->packet_ids, packet_ids, count * sizeof *packet_ids);
    struct state_completion completion = {on_acknowledged, acknowledgement, 0, connection->number};
    int r = state_propose_acknowledge(broker->state, id, kind, packet_ids, count, &completion);
    if (r < 0) {
        g_free(acknowledgement->client_id);
        g_free(acknowledgement);
    }
    return r;
}

/* ---- coming back ---- */

static void wait_in(struct broker *broker, struct list *line, struct list *link)
{
    if (list_is_empty(link)) {
        list_append(line, link);
    }
    if (!timer_is_active(broker->retry_timer)) {
        timer_start(broker->retry_timer, RETRY_MS);
    }
}

void durable_stall(struct broker *broker, struct list *stalled_link)
{
    wait_in(broker, &broker->stalled, stalled_link);
}

void durable_pump_later(struct connection *connection)
{
    struct broker *broker = connection->broker;

    wait_in(broker, &broker->refused, &outbox_of(connection)->refused_link);
}

static void retry_pumping(struct broker *broker)
{
    while (!list_is_empty(&broker->refused)) {
        struct list *link = broker->refused.next;
        list_remove(link);
        sender_schedule(list_entry(link, struct outbox, refused_link)->connection);
    }
}

static bool retry_acknowledgements(struct broker *broker)
{
    list_for_each_safe(link, &broker->acknowledging) {
        if (!outbox_propose_acknowledgements(
                list_entry(link, struct outbox, acknowledge_link)->connection)) {
            return false;
        }
    }
    return true;
}

void durable_on_retry(void *owner)
{
    struct broker *broker = owner;
    bool is_done =
        retry_closings(broker) && retry_acknowledgements(broker) && ingest_retry_all(broker);

    retry_pumping(broker);
    if (!is_done && !timer_is_active(broker->retry_timer)) {
        timer_start(broker->retry_timer, RETRY_MS);
    }
}

void durable_drop(struct broker *broker)
{
    while (!list_is_empty(&broker->closings)) {
        struct closing *closing = list_entry(broker->closings.next, struct closing, link);
        list_remove(&closing->link);
        g_free(closing);
    }
}

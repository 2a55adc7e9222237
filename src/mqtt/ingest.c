/* The line of publishes of one client; see ingest.h.
 *
 *   NEW --state took it--> PROPOSED --applied--> (acknowledged, freed)
 *    |                                              ^
 *    +-- needs no log: at the head of the line -----+
 *
 * When the log's backlog is full the item stays NEW, the line is `stalled`, and the retry timer
 * comes back to it. */
#include "mqtt/ingest.h"
#include "base/log.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/deliver.h"
#include "mqtt/durable.h"
#include "mqtt/flow.h"
#include "mqtt/publish.h"
#include "state/propose.h"
#include <errno.h>

enum item_state { ITEM_NEW, ITEM_PROPOSED };

struct ingest_item {
    struct list link; /* in ingest.items */
    struct ingest *ingest;
    struct message *message;
    struct state_share_target *targets; /* owned, with their strings */
    uint32_t target_count;
    uint16_t packet_id;
    uint8_t state; /* enum item_state */
    bool needs_log, is_delivered;
};

struct ingest {
    struct list items;        /* of ingest_item.link, owned */
    struct list stalled_link; /* in broker.stalled */
    struct broker *broker;
    struct connection *connection; /* NULL once it is gone */
    bool is_persistent;
    char client_id[];
};

static void item_free(struct ingest_item *item)
{
    list_remove(&item->link);
    deliver_free_targets(item->targets, item->target_count);
    message_unref(item->message);
    g_free(item);
}

static void free_when_empty(struct ingest *ingest)
{
    if (!list_is_empty(&ingest->items)) {
        return;
    }
    if (ingest->connection) {
        ingest->connection->ingest = NULL;
    }
    list_remove(&ingest->stalled_link);
    g_free(ingest);
}

static struct ingest *ingest_of(struct connection *connection)
{
    if (!connection->ingest) {
        struct bytes id = connection_client_id(connection);
        struct ingest *ingest = g_malloc0(sizeof *ingest + id.length + 1);
        list_init(&ingest->items);
        list_init(&ingest->stalled_link);
        ingest->broker = connection->broker;
        ingest->connection = connection;
        ingest->is_persistent = connection->is_persistent;
        memcpy(ingest->client_id, id.at, id.length);
        connection->ingest = ingest;
    }
    return connection->ingest;
}

/* What was neither acknowledged nor proposed is forgotten with the connection: its client sends it
 * again when it is back, and then it must not come a second time, behind later ones. */
void ingest_detach(struct ingest *ingest)
{
    ingest->connection = NULL;
    list_for_each_safe(link, &ingest->items) {
        struct ingest_item *item = list_entry(link, struct ingest_item, link);
        if (item->state == ITEM_NEW && item->message->qos > 0) {
            item_free(item);
        }
    }
    free_when_empty(ingest);
}

/* ---- the end of an item ---- */

static void acknowledge(struct ingest_item *item, uint8_t reason)
{
    struct connection *connection = item->ingest->connection;

    if (connection && item->packet_id != 0) {
        publish_acknowledge(connection, item->message->qos, item->packet_id, reason);
    }
}

/* A refusal has words in MQTT 5 only: an older client gets no acknowledgement and will send it
 * again. */
static void settle(struct ingest_item *item, uint8_t reason)
{
    struct connection *connection = item->ingest->connection;

    if (reason < REASON_UNSPECIFIED || (connection && connection->version == PACKET_MQTT_5)) {
        acknowledge(item, reason);
    }
    item_free(item);
}

static void deliver_item(struct ingest_item *item)
{
    struct broker *broker = item->ingest->broker;
    struct publication publication;

    publication_from_message(&publication, item->message,
                             bytes_from_string(item->ingest->client_id));
    publish_deliver(broker, &publication);
    if (item->ingest->connection && publication.congested) {
        flow_hold(item->ingest->connection, publication.congested);
    }
    acknowledge(item, publication.matched > 0 ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS);
    publication_deinit(&publication);
}

static void advance(struct ingest *ingest);

static void on_applied(void *owner, uint64_t token, const struct state_result *result)
{
    struct ingest_item *item = owner;
    struct ingest *ingest = item->ingest;
    uint8_t reason = result->reason;

    if (result->error != 0) {
        log_warning("publish not kept", "client=%s error=\"%s\"", ingest->client_id,
                    g_strerror(-result->error));
        reason = REASON_QUOTA_EXCEEDED;
    } else if (reason == REASON_SUCCESS && !result->duplicate &&
               result->matched + ingest->broker->last_commit_matched == 0) {
        reason = REASON_NO_MATCHING_SUBSCRIBERS;
    }
    settle(item, reason);
    advance(ingest);
}

/* ---- the way of an item ---- */

static int propose(struct ingest_item *item)
{
    const struct message *message = item->message;
    struct state_publish publish = {
        .topic = message_topic(message),
        .properties = message_properties(message),
        .payload = message_payload(message),
        .qos = message->qos,
        .retain = message->retain,
        .is_persistent_publisher = item->ingest->is_persistent,
        .publisher = bytes_from_string(item->ingest->client_id),
        .packet_id = message->qos == 2 ? item->packet_id : 0,
        .expires_unix_ms = message->expires_unix_ms,
        .targets = item->targets,
        .target_count = item->target_count,
        .is_delivered = item->is_delivered,
    };
    struct state_completion completion = {on_applied, item, 0};

    return state_propose_publish(item->ingest->broker->state, &publish, &completion);
}

/* Proposes what can be proposed, delivers what has come to the head. */
static void advance(struct ingest *ingest)
{
    bool is_at_head = true;

    list_for_each_safe(link, &ingest->items) {
        struct ingest_item *item = list_entry(link, struct ingest_item, link);
        if (item->state == ITEM_PROPOSED) {
            is_at_head = false;
        } else if (item->needs_log) {
            int r = propose(item);
            if (r == -EMSGSIZE ||
                r == -ENOSPC) { /* never fits; or the disk is full: said at once */
                settle(item, r == -EMSGSIZE ? REASON_PACKET_TOO_LARGE : REASON_QUOTA_EXCEEDED);
                continue;
            }
            if (r < 0) {
                durable_stall(ingest->broker, &ingest->stalled_link);
                break;
            }
            item->state = ITEM_PROPOSED;
            is_at_head = false;
        } else if (is_at_head) {
            deliver_item(item);
            item_free(item);
        }
    }
    free_when_empty(ingest);
}

static struct ingest_item *add(struct connection *connection, struct publication *publication)
{
    struct ingest *ingest = ingest_of(connection);
    struct ingest_item *item = g_new0(struct ingest_item, 1);

    item->ingest = ingest;
    item->message = message_ref(publication_message(publication));
    list_append(&ingest->items, &item->link);
    return item;
}

void ingest_add(struct connection *connection, struct publication *publication, uint16_t packet_id,
                bool needs_log, const struct share_choices *choices)
{
    struct ingest_item *item = add(connection, publication);

    item->packet_id = packet_id;
    item->needs_log = needs_log;
    if (needs_log) {
        item->targets = deliver_share_targets(connection->broker, choices, &item->target_count);
    }
    advance(item->ingest);
}

void ingest_add_retained(struct connection *connection, struct publication *publication)
{
    struct ingest_item *item = add(connection, publication);

    item->needs_log = item->is_delivered = true;
    advance(item->ingest);
}

bool ingest_retry_all(struct broker *broker)
{
    struct list round;

    list_init(&round);
    while (!list_is_empty(&broker->stalled)) {
        struct list *link = broker->stalled.next;
        list_remove(link);
        list_append(&round, link);
    }
    while (!list_is_empty(&round)) {
        struct list *link = round.next;
        list_remove(link);
        advance(list_entry(link, struct ingest, stalled_link));
    }
    return list_is_empty(&broker->stalled);
}

void ingest_drop_all(struct broker *broker)
{
    while (!list_is_empty(&broker->stalled)) {
        struct ingest *ingest = list_entry(broker->stalled.next, struct ingest, stalled_link);
        list_remove(&ingest->stalled_link);
        list_for_each_safe(link, &ingest->items) {
            struct ingest_item *item = list_entry(link, struct ingest_item, link);
            if (item->state == ITEM_NEW) {
                item_free(item);
            }
        }
        free_when_empty(ingest);
    }
}

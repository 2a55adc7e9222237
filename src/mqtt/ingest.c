/* The line of publishes of one client; see ingest.h.
 *
 *   NEW --state took it--> PROPOSED --applied------------> (acknowledged, freed)
 *    |                                                       ^
 *    +-- needs no log: at the head of the line --------------+
 *                        |                                   |
 *                        +--> FORWARDED --other nodes have it+
 *
 * When the log's backlog is full the item stays NEW, the line is `stalled`, and the retry timer
 * comes back to it. What needs the log waits until other nodes have what this publisher sent them
 * over the links before: the log might be faster. An acknowledgement alone does not wait for nodes
 * that are frozen (remote/late.c). */
#include "mqtt/ingest.h"
#include "base/log.h"
#include "mqtt/broker_private.h"
#include "mqtt/connection.h"
#include "mqtt/deliver.h"
#include "mqtt/durable.h"
#include "mqtt/flow.h"
#include "mqtt/publish.h"
#include "mqtt/remote/remote.h"
#include "state/propose.h"
#include <errno.h>

enum item_state { ITEM_NEW, ITEM_PROPOSED, ITEM_FORWARDED };

struct ingest_item {
    struct list link; /* in ingest.items */
    struct ingest *ingest;
    struct message *message;
    struct state_share_target *targets; /* owned, with their strings */
    uint64_t number; /* of the last publish of this client that went to other nodes, with it */
    uint32_t target_count;
    uint16_t packet_id;
    uint8_t state;  /* enum item_state */
    uint8_t reason; /* once FORWARDED */
    bool needs_log, is_delivered;
};

struct ingest {
    struct list items;           /* of ingest_item.link, owned */
    struct list stalled_link;    /* in broker.stalled */
    struct list forwarding_link; /* in broker.forwarding */
    uint64_t number;             /* of the last publish that went to other nodes from this line */
    struct broker *broker;
    struct connection *connection; /* NULL once it is gone */
    uint64_t connection_number;
    bool is_persistent, is_advancing;
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
    list_remove(&ingest->forwarding_link);
    g_free(ingest);
}

static struct ingest *ingest_of(struct connection *connection)
{
    if (!connection->ingest) {
        struct bytes id = connection_client_id(connection);
        struct ingest *ingest = g_malloc0(sizeof *ingest + id.length + 1);
        list_init(&ingest->items);
        list_init(&ingest->stalled_link);
        list_init(&ingest->forwarding_link);
        ingest->broker = connection->broker;
        ingest->connection = connection;
        ingest->is_persistent = connection->is_persistent;
        ingest->connection_number = connection->number;
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
    if (ingest->is_advancing) { /* it looks for itself */
        return;
    }
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

static bool is_flushed(const struct ingest *ingest, uint64_t number)
{
    return number == 0 || !ingest->broker->remote ||
           remote_is_flushed(ingest->broker->remote, number);
}

static bool may_acknowledge(const struct ingest *ingest, uint64_t number)
{
    return number == 0 || !ingest->broker->remote ||
           remote_may_acknowledge(ingest->broker->remote, number);
}

static void wait_for_peers(struct ingest *ingest)
{
    if (list_is_empty(&ingest->forwarding_link)) {
        list_append(&ingest->broker->forwarding, &ingest->forwarding_link);
    }
}

/* Its acknowledgement waits for other nodes, or for those before it. */
static void set_forwarded(struct ingest_item *item, uint8_t reason)
{
    item->state = ITEM_FORWARDED;
    item->number = item->ingest->number;
    item->reason = reason;
    wait_for_peers(item->ingest);
}

static void deliver_item(struct ingest_item *item)
{
    struct ingest *ingest = item->ingest;
    struct broker *broker = ingest->broker;
    struct publication publication;

    publication_from_message(&publication, item->message,
                             bytes_from_string(item->ingest->client_id));
    uint64_t number = publish_deliver(broker, &publication);
    uint8_t reason = publication.matched > 0 ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS;
    if (number != 0) {
        ingest->number = number;
        if (ingest->connection) {
            ingest->connection->forwarded =
                number; /* this line may end before the next one begins */
        }
    }
    if (ingest->connection && publication.congested) {
        flow_hold(ingest->connection, publication.congested);
    }
    publication_deinit(&publication);
    if (item->message->qos > 0 && !may_acknowledge(ingest, ingest->number)) {
        set_forwarded(item, reason);
    } else {
        acknowledge(item, reason);
        item_free(item);
    }
}

static void advance(struct ingest *ingest);

static bool is_unmatched(const struct ingest_item *item, const struct state_result *result)
{
    const struct broker *broker = item->ingest->broker;

    return result->matched + broker->last_commit_matched == 0 &&
           (!broker->remote || !remote_is_wanted(broker->remote, message_topic(item->message)));
}

/* QoS 2 of a session that is kept: it may still be applied, and then its packet id is taken. */
static bool is_unknown(const struct ingest_item *item, const struct state_result *result)
{
    return (result->error == -ETIMEDOUT || result->error == -ECANCELED) &&
           item->ingest->is_persistent && item->message->qos == 2;
}

/* No answer would be true: its client says it again when it is back. */
static void give_up(struct ingest_item *item)
{
    struct ingest *ingest = item->ingest;
    struct connection *connection = ingest->connection;

    item_free(item);
    advance(ingest);
    if (connection) {
        connection_end(connection, REASON_QUOTA_EXCEEDED, "no quorum");
    }
}

static void on_applied(void *owner, uint64_t token, const struct state_result *result)
{
    struct ingest_item *item = owner;
    struct ingest *ingest = item->ingest;
    uint8_t reason = result->reason;

    if (result->error != 0) {
        log_warning("publish not kept", "client=%s error=\"%s\"", ingest->client_id,
                    g_strerror(-result->error));
        reason = REASON_QUOTA_EXCEEDED;
    } else if (reason == REASON_SUCCESS && !result->duplicate && is_unmatched(item, result)) {
        reason = REASON_NO_MATCHING_SUBSCRIBERS;
    }
    if (result->is_stale) {
        item_free(item); /* its client is on another connection, and sends it again there */
    } else if (is_unknown(item, result)) {
        give_up(item);
        return;
    } else {
        settle(item, reason);
    }
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
    struct state_completion completion = {
        on_applied, item, 0, item->ingest->is_persistent ? item->ingest->connection_number : 0};

    return state_propose_publish(item->ingest->broker->state, &publish, &completion);
}

/* The next item that needs the log. False when it has to wait, and all behind it. */
static bool propose_item(struct ingest_item *item)
{
    struct ingest *ingest = item->ingest;

    if (!is_flushed(ingest, MAX(item->number, ingest->number))) {
        wait_for_peers(ingest);
        return false;
    }
    int r = propose(item);
    if (r == -EMSGSIZE || r == -ENOSPC) { /* never fits; or the disk is full: said at once */
        settle(item, r == -EMSGSIZE ? REASON_PACKET_TOO_LARGE : REASON_QUOTA_EXCEEDED);
    } else if (r < 0) {
        durable_stall(ingest->broker, &ingest->stalled_link);
        return false;
    } else {
        item->state = ITEM_PROPOSED;
    }
    return true;
}

/* One item; `has_proposed`: some before it are on their way through the log. False when all behind
 * it have to wait. */
static bool advance_item(struct ingest_item *item, bool has_proposed)
{
    struct ingest *ingest = item->ingest;

    if (item->state == ITEM_FORWARDED) {
        if (may_acknowledge(ingest, item->number)) {
            settle(item, item->reason);
        } else {
            wait_for_peers(ingest);
        }
    } else if (!ingest->connection && item->message->qos > 0) {
        item_free(item); /* it went while this line was being looked at */
    } else if (item->needs_log) {
        return propose_item(item);
    } else if (!has_proposed) {
        deliver_item(item);
    } else {
        /* It may go to other nodes when its turn comes, and then the log must not be before it. */
        return !ingest->broker->remote || !remote_is_linked(ingest->broker->remote);
    }
    return true;
}

/* Proposes what can be proposed, delivers what has come to the head. */
static void advance(struct ingest *ingest)
{
    bool has_proposed = false, goes_on = true;

    ingest->is_advancing = true;
    for (struct list *link = ingest->items.next, *next; goes_on && link != &ingest->items;
         link = next) {
        struct ingest_item *item = list_entry(link, struct ingest_item, link);
        next = link->next;
        if (item->state == ITEM_PROPOSED) {
            has_proposed = true;
            continue;
        }
        bool needs_log = item->state == ITEM_NEW && item->needs_log;
        goes_on = advance_item(item, has_proposed);
        has_proposed |= needs_log && next->previous == link; /* unless it was refused */
    }
    ingest->is_advancing = false;
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
    item->number = needs_log ? connection->forwarded : 0;
    if (needs_log) {
        item->targets = deliver_share_targets(connection->broker, choices, &item->target_count);
    }
    advance(item->ingest);
}

void ingest_add_retained(struct connection *connection, struct publication *publication)
{
    struct ingest_item *item = add(connection, publication);

    item->needs_log = item->is_delivered = true;
    item->number = connection->forwarded;
    advance(item->ingest);
}

void ingest_add_forwarded(struct connection *connection, struct publication *publication,
                          uint16_t packet_id, uint64_t number)
{
    struct ingest_item *item = add(connection, publication);

    item->packet_id = packet_id;
    item->ingest->number = number;
    set_forwarded(item, publication->matched > 0 ? REASON_SUCCESS : REASON_NO_MATCHING_SUBSCRIBERS);
}

void ingest_look_again(struct broker *broker)
{
    struct list round;

    list_init(&round);
    while (!list_is_empty(&broker->forwarding)) {
        struct list *link = broker->forwarding.next;
        list_remove(link);
        list_append(&round, link);
    }
    while (!list_is_empty(&round)) {
        struct list *link = round.next;
        list_remove(link);
        advance(list_entry(link, struct ingest, forwarding_link));
    }
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

static void drop(struct ingest *ingest)
{
    list_remove(&ingest->stalled_link);
    list_remove(&ingest->forwarding_link);
    list_for_each_safe(link, &ingest->items) {
        struct ingest_item *item = list_entry(link, struct ingest_item, link);
        if (item->state != ITEM_PROPOSED) {
            item_free(item);
        }
    }
    free_when_empty(ingest);
}

void ingest_drop_all(struct broker *broker)
{
    while (!list_is_empty(&broker->stalled)) {
        drop(list_entry(broker->stalled.next, struct ingest, stalled_link));
    }
    while (!list_is_empty(&broker->forwarding)) {
        drop(list_entry(broker->forwarding.next, struct ingest, forwarding_link));
    }
}

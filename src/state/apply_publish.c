/* Messages. Happy path: who gets it is found (route), every limit is looked at, and only then
 * anything changes: the retained table, the queues of the sessions, the publisher's QoS 2 packet
 * ids; last the watches are told. So a refused publish has changed nothing.
 *
 * Share groups get a message by way of the targets that the origin chose, since applying must not
 * choose; a target that has left is replaced by the next member in order of client ids. Only for
 * wills is the choice made here, by turns of the log's index. */
#include "state/apply.h"
#include "topic/name.h"
#include <errno.h>

/* One session that is to get it. */
struct recipient {
    struct session *session;
    const uint32_t *ids; /* [0] is the count; NULL for none */
    uint8_t qos;
    bool retain;
};

struct recipients {
    struct recipient *items;
    uint32_t count;
};

/* ---- share groups ---- */

struct member {
    const struct subscription *subscription;
};

struct members {
    struct member *items;
    uint32_t count;
};

static bool on_member(void *owner, const struct subscription *subscription)
{
    struct members *members = owner;
    members->items[members->count++].subscription = subscription;
    return false;
}

static int compare_bytes(struct bytes a, struct bytes b)
{
    int order = memcmp(a.at, b.at, MIN(a.length, b.length));
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_members(const void *a, const void *b)
{
    const struct member *left = a, *right = b;
    return compare_bytes(session_client_id(left->subscription->session),
                         session_client_id(right->subscription->session));
}

/* The order inside the group follows the history of this node, so it is sorted before it is used.
 */
static struct members members_of(struct apply *apply, struct share *share)
{
    struct members members = {0};
    size_t size = share_member_count(share) * sizeof *members.items;
    members.items = arena_take(&apply->state->arena, size);
    share_pick(share, on_member, &members);
    qsort(members.items, members.count, sizeof *members.items, compare_members);
    return members;
}

static const struct subscription *member_after(struct apply *apply, struct share *share,
                                               struct bytes client_id)
{
    struct members members = members_of(apply, share);
    for (uint32_t i = 0; i < members.count; i++) {
        if (compare_bytes(session_client_id(members.items[i].subscription->session), client_id) >
            0) {
            return members.items[i].subscription;
        }
    }
    return members.count > 0 ? members.items[0].subscription : NULL;
}

static const struct subscription *find_target(struct apply *apply,
                                              const struct state_share_target *target)
{
    const struct session_store *store = apply->tables->sessions;
    if (target->node_id != 0) { /* chosen there, by the broker */
        return NULL;
    }
    struct session *session = session_store_find(store, target->client_id);
    const struct subscription *subscription =
        session ? session_find_subscription(session, target->filter) : NULL;
    if (subscription) {
        return subscription;
    }
    struct bytes name, filter;
    if (!topic_filter_split_shared(target->filter, &name, &filter)) {
        return NULL;
    }
    struct share *share = session_store_find_share(store, name, filter);
    return share ? member_after(apply, share, target->client_id) : NULL;
}

/* ---- who gets it ---- */

static void add_recipient(struct recipients *recipients, const struct message *message,
                          struct recipient recipient, bool retain_as_published)
{
    recipient.qos = MIN(recipient.qos, message->qos);
    if (recipient.qos > 0) {
        recipient.retain = message->retain && retain_as_published;
        recipients->items[recipients->count++] = recipient;
    }
}

static void add_member(struct apply *apply, struct recipients *recipients,
                       const struct message *message, const struct subscription *member)
{
    struct recipient recipient = {.session = member->session, .qos = member->options.qos};
    if (member->options.subscription_id != 0) {
        uint32_t *ids = arena_take(&apply->state->arena, 2 * sizeof *ids);
        ids[0] = 1;
        ids[1] = member->options.subscription_id;
        recipient.ids = ids;
    }
    add_recipient(recipients, message, recipient, member->options.retain_as_published);
}

static void add_target(struct apply *apply, struct recipients *recipients,
                       const struct publication *publication, const struct route_target *target)
{
    const struct message *message = publication->message;
    struct recipient recipient = {
        .session = target->session, .qos = target->qos, .ids = target->subscription_ids};
    bool retain_as_published = target->retain_as_published;
    struct route_target own = {0};
    if (target->has_no_local &&
        bytes_equal(session_client_id(target->session), publication->publisher)) {
        if (!route_target_for_self(apply->tables->sessions, message_topic(message), target->session,
                                   &own)) {
            return;
        }
        recipient.qos = own.qos;
        retain_as_published = own.retain_as_published;
        recipient.ids = NULL;
        if (own.subscription_ids) {
            size_t size = (own.subscription_ids[0] + 1) * sizeof(uint32_t);
            recipient.ids =
                memcpy(arena_take(&apply->state->arena, size), own.subscription_ids, size);
            g_free(own.subscription_ids);
        }
    }
    add_recipient(recipients, message, recipient, retain_as_published);
}

/* Members chosen for the share groups of a will. */
static void choose_targets(struct apply *apply, const struct route *route,
                           struct publication *publication)
{
    struct state_share_target *targets =
        arena_take(&apply->state->arena, route->share_count * sizeof *targets);
    uint32_t count = 0;
    for (uint32_t i = 0; i < route->share_count; i++) {
        struct members members = members_of(apply, route->shares[i]);
        if (members.count == 0) {
            continue;
        }
        const struct subscription *chosen =
            members.items[(apply->index + apply->turn++) % members.count].subscription;
        g_autofree char *filter = subscription_filter(chosen);
        size_t length = strlen(filter);
        void *copy = memcpy(arena_take(&apply->state->arena, length), filter, length);
        targets[count++] = (struct state_share_target){
            .client_id = session_client_id(chosen->session), .filter = {copy, length}};
    }
    publication->targets = targets;
    publication->target_count = count;
}

static struct recipients find_recipients(struct apply *apply, struct publication *publication)
{
    const struct message *message = publication->message;
    if (message->qos == 0 || publication->is_delivered) {
        return (struct recipients){0};
    }
    const struct route *route =
        state_routes_get(&apply->state->routes, apply->tables->sessions, message_topic(message));
    if (publication->is_will && route->share_count > 0) {
        choose_targets(apply, route, publication);
    }
    size_t room = (size_t)route->target_count + publication->target_count;
    struct recipients recipients = {
        arena_take(&apply->state->arena, room * sizeof(struct recipient)), 0};
    for (uint32_t i = 0; i < route->target_count; i++) {
        add_target(apply, &recipients, publication, &route->targets[i]);
    }
    for (uint32_t i = 0; i < publication->target_count; i++) {
        const struct subscription *member = find_target(apply, &publication->targets[i]);
        if (member) {
            add_member(apply, &recipients, message, member);
        }
    }
    return recipients;
}

/* ---- limits, and the change ---- */

static bool is_refused(const struct apply *apply, const struct publication *publication,
                       const struct recipients *recipients)
{
    const struct settings *settings = &apply->state->settings;
    const struct message *message = publication->message;
    bool is_kept = message->retain && message->payload_bytes > 0;
    if (is_kept && message->payload_bytes > settings->retained_payload_bytes_max) {
        return true;
    }
    if ((is_kept || recipients->count > 0) && apply_is_full(apply, message_bytes(message))) {
        return true;
    }
    for (uint32_t i = 0; i < recipients->count && !publication->is_will; i++) {
        const struct session *session = recipients->items[i].session;
        bool is_kept_whole =
            settings->queue_full == QUEUE_REFUSE || session->connection_number != 0;
        if (is_kept_whole && session_is_full(session, message)) {
            return true;
        }
    }
    return false;
}

uint8_t publication_apply(struct apply *apply, const struct publication *original,
                          uint32_t *matched)
{
    struct publication publication = *original;
    struct message *message = publication.message;
    struct recipients recipients = find_recipients(apply, &publication);
    bool is_refused_all = is_refused(apply, &publication, &recipients) ||
                          (message->retain && retained_set(apply->tables->retained, message) < 0);
    if (is_refused_all && !publication.is_will) {
        return REASON_QUOTA_EXCEEDED;
    }
    for (uint32_t i = 0; i < recipients.count && !is_refused_all; i++) {
        const struct recipient *recipient = &recipients.items[i];
        const uint32_t *ids = recipient->ids;
        if (session_enqueue(recipient->session, message, recipient->qos, recipient->retain,
                            ids ? ids + 1 : NULL, ids ? ids[0] : 0, apply->now_unix_ms) >= 0) {
            ++*matched;
            state_notify_delivery(apply->state, recipient->session);
        }
    }
    if (!publication.is_delivered) {
        state_notify_publish(apply->state, message, publication.publisher, publication.targets,
                             publication.target_count);
    }
    return REASON_SUCCESS;
}

/* ---- the commands ---- */

static bool check_publish(const State__Publish *publish, GError **error)
{
    if (publish->qos > 2 || publish->packet_id > UINT16_MAX) {
        apply_malformed(error, "its QoS or packet id is not possible");
        return false;
    }
    if (publish->publisher.len > 0 && !apply_check_client_id(bytes_of(publish->publisher), error)) {
        return false;
    }
    for (size_t i = 0; i < publish->n_targets; i++) {
        const State__ShareTarget *target = publish->targets[i];
        if ((target->node_id == 0 && !apply_check_client_id(bytes_of(target->client_id), error)) ||
            !apply_check_filter(bytes_of(publish->targets[i]->filter), error)) {
            return false;
        }
    }
    return apply_check_name(bytes_of(publish->topic), error);
}

static const struct state_share_target *targets_of(struct apply *apply,
                                                   const State__Publish *publish)
{
    struct state_share_target *targets =
        arena_take(&apply->state->arena, publish->n_targets * sizeof *targets);
    for (size_t i = 0; i < publish->n_targets; i++) {
        const State__ShareTarget *from = publish->targets[i];
        targets[i] = (struct state_share_target){bytes_of(from->client_id), bytes_of(from->filter),
                                                 from->node_id};
    }
    return targets;
}

/* Its client went to another connection, which had the same to say, and has ended the session
 * since: then nothing is left that tells whether it was said. */
static bool has_lost_its_session(struct apply *apply, struct bytes publisher)
{
    bool is_lost =
        apply->connection_number != 0 && !session_store_find(apply->tables->sessions, publisher);

    apply->result->is_stale |= is_lost;
    return is_lost;
}

int apply_publish(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Publish *publish = command->publish;
    if (!check_publish(publish, error)) {
        return -EBADMSG;
    }
    if (apply_is_stale(apply, bytes_of(publish->publisher)) ||
        has_lost_its_session(apply, bytes_of(publish->publisher))) {
        return 0;
    }
    struct session *session = NULL;
    if (publish->packet_id != 0) {
        session = session_store_find(apply->tables->sessions, bytes_of(publish->publisher));
    }
    if (session && packet_id_set_has(&session->received, (uint16_t)publish->packet_id)) {
        apply->result->duplicate = true;
        return 0;
    }
    if (session &&
        session->received.count >= session_store_limits(apply->tables->sessions)->received_max) {
        apply->result->reason = REASON_QUOTA_EXCEEDED;
        return 0;
    }
    _cleanup_(message_unrefp) struct message *message = message_new(
        bytes_of(publish->topic), bytes_of(publish->properties), bytes_of(publish->payload),
        (uint8_t)publish->qos, publish->retain, publish->expires_unix_ms);
    struct publication publication = {.message = message,
                                      .publisher = bytes_of(publish->publisher),
                                      .targets = targets_of(apply, publish),
                                      .target_count = (uint32_t)publish->n_targets,
                                      .is_delivered = publish->is_delivered};
    apply->result->reason = publication_apply(apply, &publication, &apply->result->matched);
    if (session && apply->result->reason == REASON_SUCCESS) {
        packet_id_set_add(&session->received, (uint16_t)publish->packet_id);
    }
    return 0;
}

int apply_release(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Release *release = command->release;
    if (!apply_check_client_id(bytes_of(release->client_id), error)) {
        return -EBADMSG;
    }
    if (apply_is_stale(apply, bytes_of(release->client_id))) {
        return 0;
    }
    struct session *session =
        session_store_find(apply->tables->sessions, bytes_of(release->client_id));
    bool was_there = session && release->packet_id <= UINT16_MAX &&
                     packet_id_set_remove(&session->received, (uint16_t)release->packet_id);
    apply->result->reason = was_there ? REASON_SUCCESS : REASON_PACKET_ID_NOT_FOUND;
    return 0;
}

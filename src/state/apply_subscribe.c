/* Subscriptions of persistent sessions: one in a command. */
#include "state/apply.h"
#include <errno.h>

/* A subscription identifier is a variable byte integer (MQTT 5, 3.8.2.1.2). */
#define SUBSCRIPTION_ID_MAX 268435455

int apply_subscribe(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Subscribe *subscribe = command->subscribe;
    struct bytes filter = bytes_of(subscribe->filter);
    if (!apply_check_client_id(bytes_of(subscribe->client_id), error) ||
        !apply_check_filter(filter, error)) {
        return -EBADMSG;
    }
    if (subscribe->qos > 2 || subscribe->retain_handling > 2 ||
        subscribe->subscription_id > SUBSCRIPTION_ID_MAX) {
        return apply_malformed(error, "its subscription options are not possible");
    }
    if (apply_is_stale(apply, bytes_of(subscribe->client_id))) {
        return 0;
    }
    struct session *session =
        session_store_find(apply->tables->sessions, bytes_of(subscribe->client_id));
    if (!session) {
        apply->result->reason = REASON_UNSPECIFIED_ERROR;
        return 0;
    }
    apply->result->subscription_existed = session_find_subscription(session, filter) != NULL;
    if (!apply->result->subscription_existed &&
        apply_is_full(apply, tables_subscription_bytes(filter.length))) {
        apply->result->reason = REASON_QUOTA_EXCEEDED;
        return 0;
    }
    struct subscription_options options = {.subscription_id = subscribe->subscription_id,
                                           .qos = (uint8_t)subscribe->qos,
                                           .no_local = subscribe->no_local,
                                           .retain_as_published = subscribe->retain_as_published,
                                           .retain_handling = (uint8_t)subscribe->retain_handling};
    if (session_subscribe(session, filter, &options) == SUBSCRIBE_QUOTA) {
        apply->result->reason = REASON_QUOTA_EXCEEDED;
    } else if (!apply->result->subscription_existed) {
        apply->tables->session_bytes += tables_subscription_bytes(filter.length);
    }
    return 0;
}

int apply_unsubscribe(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Unsubscribe *unsubscribe = command->unsubscribe;
    struct bytes filter = bytes_of(unsubscribe->filter);
    if (!apply_check_client_id(bytes_of(unsubscribe->client_id), error) ||
        !apply_check_filter(filter, error)) {
        return -EBADMSG;
    }
    if (apply_is_stale(apply, bytes_of(unsubscribe->client_id))) {
        return 0;
    }
    struct session *session =
        session_store_find(apply->tables->sessions, bytes_of(unsubscribe->client_id));
    if (!session || !session_unsubscribe(session, filter)) {
        apply->result->reason = REASON_NO_SUBSCRIPTION_EXISTED;
    } else {
        apply->tables->session_bytes -= tables_subscription_bytes(filter.length);
    }
    return 0;
}

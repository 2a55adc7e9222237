/* What happens to the deliveries of one session: acknowledgements, and retained messages for a new
 * subscription. */
#include "state/apply.h"
#include <errno.h>

int apply_acknowledge(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Acknowledge *acknowledge = command->acknowledge;
    if (!apply_check_client_id(bytes_of(acknowledge->client_id), error)) {
        return -EBADMSG;
    }
    if (acknowledge->kind > SESSION_PUBCOMP) {
        return apply_malformed(error, "its kind of acknowledgement is not known");
    }
    if (apply_is_stale(apply, bytes_of(acknowledge->client_id))) {
        return 0;
    }
    struct session *session =
        session_store_find(apply->tables->sessions, bytes_of(acknowledge->client_id));
    for (size_t i = 0; session && i < acknowledge->n_packet_ids; i++) {
        uint32_t id = acknowledge->packet_ids[i];
        if (id != 0 && id <= UINT16_MAX &&
            session_acknowledge(session, (enum session_ack)acknowledge->kind, (uint16_t)id)) {
            apply->result->matched++;
        }
    }
    return 0;
}

int apply_send_retained(struct apply *apply, const State__Command *command, GError **error)
{
    const State__SendRetained *send = command->send_retained;
    if (!apply_check_client_id(bytes_of(send->client_id), error) ||
        !apply_check_name(bytes_of(send->topic), error)) {
        return -EBADMSG;
    }
    if (send->qos > 2) {
        return apply_malformed(error, "its QoS is not possible");
    }
    if (apply_is_stale(apply, bytes_of(send->client_id))) {
        return 0;
    }
    struct session *session =
        session_store_find(apply->tables->sessions, bytes_of(send->client_id));
    struct message *message = retained_find(apply->tables->retained, bytes_of(send->topic));
    uint8_t qos = message ? (uint8_t)MIN(message->qos, send->qos) : 0;
    if (!session || qos == 0) {
        return 0;
    }
    uint32_t ids[] = {send->subscription_id};
    if (session_enqueue(session, message, qos, true, ids, send->subscription_id != 0,
                        apply->now_unix_ms) < 0) {
        apply->result->reason = REASON_QUOTA_EXCEEDED;
        return 0;
    }
    apply->result->matched = 1;
    state_notify_delivery(apply->state, session);
    return 0;
}

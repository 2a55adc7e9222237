/* Connections come and go, sessions begin and end, wills go out.
 *
 *                    open (persistent)          close, expiry > 0
 *      (none) ------------------> CONNECTED ------------------------> EXPIRING or KEPT FOR EVER
 *        ^                         |   ^  |                              |        |
 *        |   close, expiry 0       |   |  | open (takeover)     expired, |        | open without
 * clean start
 *        +-------------------------+   +--+<-----------------------------|--------+
 *        +---------------------------------------------------------------+  (open with clean start:
 * ends, begins anew)
 *
 * A will (MQTT 5, 3.1.2.5, 3.1.3.2.2) goes out when its connection ends, after its delay; at once
 * when the session ends before that. It is cancelled by DISCONNECT 0x00, and by a new connection
 * with which the session goes on while the delay has not passed.
 *
 * An open may have waited for long at a node that was cut off. The log's order is not that of the
 * CONNECTs then, but what that node knew of the log when the CONNECT came is: what others have
 * opened since is newer, and stays (is_overtaken). */
#include "state/apply.h"
#include "state/level.h"
#include "topic/name.h"
#include <errno.h>

/* ---- wills ---- */

void will_send(struct apply *apply, struct bytes client_id, const struct will *will)
{
    const struct message *from = will->message;
    uint64_t expires_unix_ms =
        will->expiry_s != 0 ? apply->now_unix_ms + (uint64_t)will->expiry_s * 1000 : 0;
    _cleanup_(message_unrefp) struct message *message =
        message_new(message_topic(from), message_properties(from), message_payload(from), from->qos,
                    from->retain, expires_unix_ms);
    uint32_t matched = 0;
    publication_apply(
        apply, &(struct publication){.message = message, .publisher = client_id, .is_will = true},
        &matched);
}

void will_publish(struct apply *apply, struct bytes client_id)
{
    const struct will *found = wills_find(apply->tables->wills, client_id);
    if (!found) {
        return;
    }
    _cleanup_(message_unrefp) struct message *message = message_ref(found->message);
    struct will will = *found;
    will.message = message;
    tables_set_will(apply->tables, client_id, NULL);
    will_send(apply, client_id, &will);
}

/* What becomes of the will of the client's last connection when it connects again. */
static void settle_old_will(struct apply *apply, struct bytes client_id, bool session_goes_on)
{
    const struct will *will = wills_find(apply->tables->wills, client_id);
    if (!will) {
        return;
    }
    bool is_taken_over = will->due_unix_ms == 0;
    bool is_due = is_taken_over ? will->delay_s == 0 : will->due_unix_ms <= apply->now_unix_ms;
    if (is_due || !session_goes_on) {
        will_publish(apply, client_id);
    } else {
        tables_set_will(apply->tables, client_id, NULL);
    }
}

static struct message *will_message(const State__Will *will)
{
    return message_new(bytes_of(will->topic), bytes_of(will->properties), bytes_of(will->payload),
                       (uint8_t)will->qos, will->retain, 0);
}

static size_t will_body_bytes(const State__Will *will)
{
    return will->topic.len + will->properties.len + will->payload.len;
}

/* ---- sessions ---- */

void session_end(struct apply *apply, struct session *session)
{
    struct bytes client_id = apply_keep(apply, session_client_id(session));
    state_notify_session_end(apply->state, session);
    apply->tables->session_bytes -= tables_session_bytes(session);
    session_store_remove(apply->tables->sessions, session);
    will_publish(apply, client_id);
}

static uint32_t limited_expiry(const struct apply *apply, uint32_t expiry_s)
{
    return MIN(expiry_s, apply->state->settings.session_expiry_s_max);
}

void connection_close(struct apply *apply, const struct connection_end *end)
{
    struct tables *tables = apply->tables;
    struct session *session = session_store_find(tables->sessions, end->client_id);
    const struct will *will = wills_find(tables->wills, end->client_id);
    bool has_will =
        will && will->due_unix_ms == 0 && will->connection_number == end->connection_number;
    if (has_will && !end->publish_will) {
        tables_set_will(tables, end->client_id, NULL);
        has_will = false;
    }
    bool has_session = session && session->connection_number == end->connection_number;
    if (has_session || has_will) {
        state_notify_connection(apply->state, end->client_id, 0);
    }
    if (has_session) {
        session->connection_number = 0;
        session->expiry_s =
            limited_expiry(apply, end->has_expiry ? end->expiry_s : session->expiry_s);
        if (session->expiry_s == 0) {
            session_end(apply, session);
            return;
        }
        bool never = session->expiry_s == SESSION_NEVER_EXPIRES;
        session_set_expires(session,
                            never ? 0 : apply->now_unix_ms + (uint64_t)session->expiry_s * 1000);
    }
    if (!has_will) {
        return;
    }
    if (has_session && will->delay_s > 0) {
        wills_set_due(tables->wills, end->client_id,
                      apply->now_unix_ms + (uint64_t)will->delay_s * 1000);
    } else {
        will_publish(apply, end->client_id);
    }
}

/* ---- CONNECT ---- */

static bool check_open(const State__Open *open, GError **error)
{
    if (open->connection_number == 0 || open->receive_maximum > UINT16_MAX ||
        open->version > UINT8_MAX) {
        apply_malformed(error, "its connection number, receive maximum or version is not possible");
        return false;
    }
    if (open->username.len > UINT16_MAX || !utf8_is_valid(bytes_of(open->username))) {
        apply_malformed(error, "its user name is not valid");
        return false;
    }
    if (open->will && open->will->qos > 2) {
        apply_malformed(error, "its will's QoS is not possible");
        return false;
    }
    return apply_check_client_id(bytes_of(open->client_id), error) &&
           (!open->will || apply_check_name(bytes_of(open->will->topic), error));
}

static bool is_refused(const struct apply *apply, const State__Open *open, bool had_session,
                       bool session_goes_on)
{
    const struct settings *settings = &apply->state->settings;
    size_t will_bytes = open->will ? will_body_bytes(open->will) : 0;
    bool is_new = open->is_persistent && !session_goes_on;
    if (will_bytes > settings->will_bytes_max) {
        return true;
    }
    if (is_new && !had_session &&
        session_store_count(apply->tables->sessions) >= settings->sessions_max) {
        return true;
    }
    return (is_new || open->will) &&
           apply_is_full(apply, (is_new ? SESSION_BYTES + open->client_id.len : 0) + will_bytes);
}

/* Has another node let the client in since the CONNECT came? What one node proposes comes in order.
 */
static bool is_overtaken(const struct apply *apply, const State__Open *open)
{
    uint64_t last = state_last_opening(apply->state, bytes_of(open->client_id));
    return open->has_known_opening && last != 0 && last != open->known_opening &&
           last >> 52 != open->connection_number >> 52;
}

/* Was its node removed while the CONNECT was under way? Nobody would ever close it. Programs below
 * this level open it all the same. */
static bool is_of_nobody(const struct apply *apply, const State__Open *open)
{
    const struct roster *roster = &apply->tables->roster;
    return roster_command_level(roster) >= LEVEL_OTHERS &&
           !roster_has_connection(roster, open->connection_number);
}

static void attach(struct apply *apply, struct session *session, const State__Open *open)
{
    struct bytes username = bytes_of(open->username);
    apply->tables->session_bytes -= session->username ? strlen(session->username) : 0;
    apply->tables->session_bytes += username.length;
    g_free(session->username);
    session->username =
        username.length > 0 ? g_strndup((const char *)username.at, username.length) : NULL;
    uint16_t home = (uint16_t)(open->connection_number >> 52);
    if (session->home != home) { /* how far another node has sent is not known */
        session->sent_end = delivery_ring_end(&session->deliveries);
    }
    session->home = home;
    session->connection_number = open->connection_number;
    session->last_opening = open->has_known_opening ? open->connection_number : 0;
    session->expiry_s = open->is_persistent ? limited_expiry(apply, open->expiry_s) : 0;
    session->receive_maximum =
        open->receive_maximum != 0 ? (uint16_t)open->receive_maximum : UINT16_MAX;
    session->version = (uint8_t)open->version;
    session_set_expires(session, 0);
}

static void set_will(struct apply *apply, const State__Open *open)
{
    _cleanup_(message_unrefp) struct message *message = will_message(open->will);
    struct will will = {.message = message,
                        .connection_number = open->connection_number,
                        .delay_s = open->will->delay_s,
                        .expiry_s = open->will->expiry_s};
    tables_set_will(apply->tables, bytes_of(open->client_id), &will);
}

int apply_open(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Open *open = command->open;
    if (!check_open(open, error)) {
        return -EBADMSG;
    }
    if (is_overtaken(apply, open) || is_of_nobody(apply, open)) {
        apply->result->is_stale = true;
        return 0;
    }
    struct bytes client_id = bytes_of(open->client_id);
    struct session *session = session_store_find(apply->tables->sessions, client_id);
    bool has_expired =
        session && session->expires_unix_ms != 0 && session->expires_unix_ms <= apply->now_unix_ms;
    bool goes_on = session && !open->clean_start && !has_expired;
    if (is_refused(apply, open, session != NULL, goes_on)) {
        apply->result->reason = REASON_QUOTA_EXCEEDED;
        return 0;
    }
    if (session && !goes_on) {
        session_end(apply, session);
        session = NULL;
    }
    settle_old_will(apply, client_id, goes_on);
    if (!session && open->is_persistent) {
        session = session_store_add(apply->tables->sessions, client_id);
        session->created_unix_ms = apply->now_unix_ms;
        apply->tables->session_bytes += tables_session_bytes(session);
    }
    if (session) {
        attach(apply, session, open);
    }
    if (open->will) {
        set_will(apply, open);
    }
    apply->result->session_present = goes_on;
    state_notify_connection(apply->state, client_id, open->connection_number);
    return 0;
}

int apply_close(struct apply *apply, const State__Command *command, GError **error)
{
    const State__Close *close = command->close;
    if (!apply_check_client_id(bytes_of(close->client_id), error)) {
        return -EBADMSG;
    }
    if (close->connection_number == 0) {
        return apply_malformed(error, "its connection number is not possible");
    }
    connection_close(apply, &(struct connection_end){.client_id = bytes_of(close->client_id),
                                                     .connection_number = close->connection_number,
                                                     .publish_will = close->publish_will,
                                                     .has_expiry = close->has_expiry,
                                                     .expiry_s = close->expiry_s});
    return 0;
}

int apply_session_remove(struct apply *apply, const State__Command *command, GError **error)
{
    struct bytes client_id = bytes_of(command->session_remove->client_id);
    if (!apply_check_client_id(client_id, error)) {
        return -EBADMSG;
    }
    struct session *session = session_store_find(apply->tables->sessions, client_id);
    if (session) {
        apply->result->matched = 1;
        session_end(apply, session);
    }
    return 0;
}

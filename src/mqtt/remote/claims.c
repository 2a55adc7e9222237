/* One client, one connection in the whole cluster: who comes in claims its client id, the others
 * let it go. Claims are numbered by a clock that counts events (Lamport's): each is higher than
 * every claim that its node had heard of, so of two that are apart in time the later is higher on
 * every node, whatever the calendars say. Two at once are decided by connection numbers. What was
 * heard of late is remembered for a while: it tells a client that comes from there from one that
 * went there (connect.c). */
#include "base/log.h"
#include "mqtt/connection.h"
#include "mqtt/remote/remote_private.h"

static void tell(struct remote_peer *peer, const struct connection *connection,
                 struct bytes client_id)
{
    remote_put_claim(peer_frame(peer, client_id.length + 64), connection->claim, connection->number,
                     client_id);
}

void remote_claim(struct remote *remote, struct connection *connection, struct bytes client_id)
{
    connection->claim = ++remote->stamp;
    remote_for_each(peer, remote)
    {
        if (peer->is_up) {
            tell(peer, connection, client_id);
        }
    }
}

bool remote_kick(struct remote *remote, struct bytes client_id)
{
    bool is_any_told = false;

    remote_for_each(peer, remote)
    {
        if (peer->is_ready) {
            remote_put_client(peer_frame(peer, client_id.length + 64), REMOTE_KICK, client_id);
            is_any_told = true;
        }
    }
    return is_any_told;
}

void claims_tell(struct remote_peer *peer)
{
    list_for_each(link, &peer->remote->broker->connections) {
        const struct connection *connection = list_entry(link, struct connection, link);
        struct bytes client_id = connection_client_id(connection);
        if (connection->claim != 0 && client_id.length > 0) {
            tell(peer, connection, client_id);
        }
    }
}

uint64_t remote_claims_heard(const struct remote *remote)
{
    return remote->claim_count;
}

bool remote_has_heard(const struct remote *remote, uint64_t connection_number, uint64_t count)
{
    uint64_t oldest = remote->claim_count - MIN(remote->claim_count, REMOTE_CLAIMS_MAX);

    for (uint64_t at = oldest; at < count; at++) {
        if (remote->claims[at % REMOTE_CLAIMS_MAX] == connection_number) {
            return true;
        }
    }
    return false;
}

void claims_receive(struct remote *remote, const struct remote_record *record)
{
    g_autofree char *client_id = g_strndup((const char *)record->text.at, record->text.length);
    struct connection *connection = broker_find(remote->broker, client_id);
    uint64_t stamp = record->number, number = record->index;

    remote->stamp = MAX(remote->stamp, stamp);
    remote->claims[remote->claim_count++ % REMOTE_CLAIMS_MAX] = number;
    if (!connection || connection->number == number || connection->claim > stamp ||
        (connection->claim == stamp && connection->number > number)) {
        return;
    }
    log_info("client id taken over by another node", "client=%s", client_id);
    remote->broker->counters.takeovers++;
    connection_end(connection, REASON_SESSION_TAKEN_OVER,
                   "another connection came with this client id");
}

void claims_kicked(struct remote *remote, struct bytes client_id)
{
    g_autofree char *id = g_strndup((const char *)client_id.at, client_id.length);
    struct connection *connection = broker_find(remote->broker, id);

    if (connection) {
        log_info("client disconnected by an administrator on another node", "client=%s", id);
        connection_end(connection, REASON_ADMINISTRATIVE_ACTION,
                       "disconnected by an administrator");
    }
}

/* What happens because time has passed, or because a node has started anew. */
#include "state/apply.h"
#include <errno.h>

static void on_session_expired(void *owner, struct session *session)
{
    session_end(owner, session);
}

static void on_will_due(void *owner, struct bytes client_id, const struct will *will)
{
    struct apply *apply = owner;
    apply->tables->wills_bytes -= tables_will_bytes(client_id, will); /* wills_expire removes it */
    will_send(apply, client_id, will);
}

int apply_tick(struct apply *apply, const State__Command *command, GError **error)
{
    struct tables *tables = apply->tables;
    apply->now_unix_ms = MAX(apply->now_unix_ms, command->tick->now_unix_ms);
    session_store_expire(tables->sessions, apply->now_unix_ms, on_session_expired, apply);
    wills_expire(tables->wills, apply->now_unix_ms, on_will_due, apply);
    retained_expire(tables->retained, apply->now_unix_ms);
    return 0;
}

/* ---- a node's earlier connections ---- */

struct broken {
    struct bytes client_id;
    uint64_t connection_number;
};

struct search {
    struct apply *apply;
    uint64_t node_id, epoch;
    enum break_kind kind;
    GArray *found; /* struct broken */
};

static void look_at(struct search *search, struct bytes client_id, uint64_t connection_number)
{
    uint64_t now = state_connection_number(search->node_id, search->epoch, 0);
    bool is_broken = search->kind == BREAK_OTHER_EPOCHS ? connection_number >> 32 != now >> 32
                                                        : connection_number >> 32 <= now >> 32;
    if (state_is_connection_of(search->node_id, connection_number) && is_broken) {
        struct broken broken = {apply_keep(search->apply, client_id), connection_number};
        g_array_append_val(search->found, broken);
    }
}

static void on_session(void *owner, struct session *session)
{
    /* How far it was sent is not known any more: all that waits may be a repetition. */
    const struct search *search = owner;
    if (session->home == 0 || session->home == (search->node_id & 0xfff)) {
        session->sent_end = delivery_ring_end(&session->deliveries);
    }
    look_at(owner, session_client_id(session), session->connection_number);
}

static void on_will(void *owner, struct bytes client_id, const struct will *will)
{
    look_at(owner, client_id, will->due_unix_ms == 0 ? will->connection_number : 0);
}

uint32_t connections_break(struct apply *apply, uint64_t node_id, uint64_t epoch,
                           enum break_kind kind)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(struct broken));
    struct search search = {apply, node_id, epoch, kind, found};
    session_store_for_each(apply->tables->sessions, on_session, &search);
    wills_for_each(apply->tables->wills, on_will, &search);
    for (uint32_t i = 0; i < found->len; i++) {
        const struct broken *broken = &g_array_index(found, struct broken, i);
        connection_close(apply,
                         &(struct connection_end){.client_id = broken->client_id,
                                                  .connection_number = broken->connection_number,
                                                  .publish_will = true});
    }
    return found->len;
}

int apply_node_restarted(struct apply *apply, const State__Command *command, GError **error)
{
    const State__NodeRestarted *restarted = command->node_restarted;
    apply->result->matched =
        connections_break(apply, restarted->node_id, restarted->epoch, BREAK_OTHER_EPOCHS);
    return 0;
}

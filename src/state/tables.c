/* What is replicated: making, freeing, counting; the origins that tell a group applied twice. */
#include "state/tables.h"
#include "state/access_tables.h"

static int compare_keys(const void *a, const void *b, void *owner)
{
    return strcmp(a, b);
}

void tables_init(struct tables *tables)
{
    *tables = (struct tables){
        .sessions = session_store_new(),
        .retained = retained_new(),
        .wills = wills_new(),
        .setting_values = g_tree_new_full(compare_keys, NULL, g_free, g_free),
        .users = g_ptr_array_new_with_free_func(access_user_free),
        .rules = g_ptr_array_new_with_free_func(access_rule_free),
        .next_rule_id = 1,
        .origins = g_array_new(FALSE, FALSE, sizeof(struct origin)),
    };
    session_store_count_once(tables->sessions);
    roster_init(&tables->roster);
}

void tables_deinit(struct tables *tables)
{
    session_store_free(tables->sessions);
    retained_free(tables->retained);
    wills_free(tables->wills);
    g_tree_unref(tables->setting_values);
    g_ptr_array_unref(tables->users);
    g_ptr_array_unref(tables->rules);
    g_array_unref(tables->origins);
    roster_deinit(&tables->roster);
    *tables = (struct tables){0};
}

uint64_t tables_bytes(const struct tables *tables)
{
    return tables->session_bytes + session_store_message_bytes(tables->sessions) +
           session_store_queued(tables->sessions) * DELIVERY_BYTES +
           retained_bytes(tables->retained) + tables->wills_bytes + tables->access_bytes +
           tables->roster.bytes;
}

uint64_t tables_subscription_bytes(size_t filter_bytes)
{
    return SUBSCRIPTION_BYTES + filter_bytes;
}

uint64_t tables_session_bytes(const struct session *session)
{
    uint64_t bytes = SESSION_BYTES + session_client_id(session).length +
                     (session->username ? strlen(session->username) : 0);
    list_for_each(link, &session->subscriptions) {
        g_autofree char *filter =
            subscription_filter(list_entry(link, struct subscription, session_link));
        bytes += tables_subscription_bytes(strlen(filter));
    }
    return bytes;
}

bool tables_advance_origin(struct tables *tables, const struct origin *command)
{
    uint32_t at = 0;
    while (at < tables->origins->len &&
           g_array_index(tables->origins, struct origin, at).node_id < command->node_id) {
        at++;
    }
    struct origin *last =
        at < tables->origins->len ? &g_array_index(tables->origins, struct origin, at) : NULL;
    if (!last || last->node_id != command->node_id) {
        g_array_insert_val(tables->origins, at, *command);
        return true;
    }
    if (command->epoch < last->epoch ||
        (command->epoch == last->epoch && command->sequence <= last->sequence)) {
        return false;
    }
    *last = *command;
    return true;
}

static const struct origin *find_origin(const struct tables *tables, uint64_t node_id)
{
    for (uint32_t i = 0; i < tables->origins->len; i++) {
        const struct origin *origin = &g_array_index(tables->origins, struct origin, i);
        if (origin->node_id == node_id) {
            return origin;
        }
    }
    return NULL;
}

bool tables_has_origin(const struct tables *tables, uint64_t node_id)
{
    return find_origin(tables, node_id) != NULL;
}

uint64_t tables_last_epoch(const struct tables *tables, uint64_t node_id)
{
    const struct origin *origin = find_origin(tables, node_id);
    return origin ? origin->epoch : 0;
}

uint64_t tables_will_bytes(struct bytes client_id, const struct will *will)
{
    return will ? WILL_BYTES + client_id.length + message_bytes(will->message) : 0;
}

void tables_set_will(struct tables *tables, struct bytes client_id, const struct will *will)
{
    tables->wills_bytes -= tables_will_bytes(client_id, wills_find(tables->wills, client_id));
    tables->wills_bytes += tables_will_bytes(client_id, will);
    if (will) {
        wills_set(tables->wills, client_id, will);
    } else {
        wills_remove(tables->wills, client_id);
    }
}

/* SplitMix64 drives the choice; what a choice gives may be refused, that is part of it. */
#include "state/test_random_log.h"
#include "state/propose_cluster.h"

static uint32_t below(struct random_log *log, uint32_t limit)
{
    uint64_t z = log->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 33) % limit;
}

void random_log_init(struct random_log *log, struct fixture *fixture, uint64_t seed)
{
    *log = (struct random_log){fixture, seed, 0};
}

static struct bytes client(struct random_log *log)
{
    static const char *const names[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "häuschen"};
    return text(names[below(log, G_N_ELEMENTS(names))]);
}

static struct bytes topic(struct random_log *log)
{
    static const char *const names[] = {"a", "a/b", "a/b/c", "b", "b/c", "/", "$x/y", "a/c"};
    return text(names[below(log, G_N_ELEMENTS(names))]);
}

static struct bytes filter(struct random_log *log)
{
    static const char *const names[] = {"#",           "a/#", "+/b",  "a/b",          "b",
                                        "+",           "/+",  "$x/#", "$share/g/a/#", "$share/g/#",
                                        "$share/h/+/b"};
    return text(names[below(log, G_N_ELEMENTS(names))]);
}

static struct bytes payload(struct random_log *log)
{
    static const uint8_t bytes[1000] = "some payload";
    return (struct bytes){bytes, below(log, 4) == 0 ? below(log, sizeof bytes) : below(log, 20)};
}

static uint64_t last_connection(struct random_log *log, struct bytes client_id)
{
    struct session_store *store = state_sessions(log->fixture->state);
    const struct session *session = session_store_find(store, client_id);
    return session && session->connection_number != 0
               ? session->connection_number
               : connection(1 + below(log, log->connections + 1));
}

static void propose_open(struct random_log *log)
{
    struct state_will will = {.topic = topic(log),
                              .payload = payload(log),
                              .qos = (uint8_t)below(log, 3),
                              .retain = below(log, 3) == 0,
                              .delay_s = below(log, 3) * 20,
                              .expiry_s = below(log, 2) * 50};
    struct state_open open = {.client_id = client(log),
                              .username = text(below(log, 2) ? "" : "somebody"),
                              .clean_start = below(log, 4) == 0,
                              .is_persistent = below(log, 5) != 0,
                              .expiry_s = 1 + below(log, 200),
                              .receive_maximum = (uint16_t)below(log, 10),
                              .version = 5,
                              .connection_number = connection(++log->connections),
                              .will = below(log, 2) ? &will : NULL};
    if (below(log, 4) == 0) { /* at another node, which may not know of all */
        open.connection_number = state_connection_number(NODE_ID + 1, EPOCH, log->connections);
    }
    if (below(log, 2)) {
        open.known_opening = state_last_opening(log->fixture->state, open.client_id);
    }
    state_propose_open(log->fixture->state, &open, NULL);
}

static void propose_close(struct random_log *log)
{
    struct bytes client_id = client(log);
    struct state_close close = {.client_id = client_id,
                                .connection_number = last_connection(log, client_id),
                                .publish_will = below(log, 3) != 0,
                                .has_expiry = below(log, 5) == 0,
                                .expiry_s = below(log, 100)};
    state_propose_close(log->fixture->state, &close, NULL);
}

static void propose_publish(struct random_log *log)
{
    struct state_share_target target = {.client_id = client(log), .filter = filter(log)};
    uint64_t now_unix_ms = log->fixture->now_unix_ms;
    struct state_publish publish = {.topic = topic(log),
                                    .properties = {(const uint8_t *)"prop", below(log, 5)},
                                    .payload = payload(log),
                                    .qos = (uint8_t)below(log, 3),
                                    .retain = below(log, 4) == 0,
                                    .is_persistent_publisher = true,
                                    .publisher = client(log),
                                    .packet_id = (uint16_t)(below(log, 3) ? 0 : 1 + below(log, 20)),
                                    .expires_unix_ms =
                                        below(log, 3) ? 0 : now_unix_ms + below(log, 90000),
                                    .targets = &target,
                                    .target_count = below(log, 2)};
    publish.is_delivered = publish.qos == 0 && publish.retain;
    state_propose_publish(log->fixture->state, &publish, NULL);
}

static void propose_acknowledge(struct random_log *log)
{
    struct bytes client_id = client(log);
    const struct session *session =
        session_store_find(state_sessions(log->fixture->state), client_id);
    uint16_t ids[8];
    uint32_t count = 1 + below(log, G_N_ELEMENTS(ids));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t first = session ? session->deliveries.first : 0;
        ids[i] = delivery_packet_id(first + below(log, 12));
    }
    state_propose_acknowledge(log->fixture->state, client_id, (enum session_ack)below(log, 4), ids,
                              count, NULL);
}

static void propose_subscribe(struct random_log *log)
{
    struct subscription_options options = {.subscription_id = below(log, 3),
                                           .qos = (uint8_t)below(log, 3),
                                           .no_local = below(log, 4) == 0,
                                           .retain_as_published = below(log, 2) == 0,
                                           .retain_handling = (uint8_t)below(log, 3)};
    state_propose_subscribe(log->fixture->state, client(log), filter(log), &options, NULL);
}

static void propose_setting(struct random_log *log)
{
    static const char *const values[][2] = {
        {"mqtt.queue_messages_max", "5"},     {"mqtt.queue_messages_max", "50"},
        {"mqtt.queue_full", "refuse"},        {"mqtt.queue_full", "drop_oldest"},
        {"mqtt.retained_messages_max", "3"},  {"mqtt.retained_messages_max", "100"},
        {"mqtt.queue_bytes_max", "1024"},     {"mqtt.queue_bytes_max", "100000"},
        {"mqtt.response_information", "x/y"}, {"mqtt.sessions_max", "6"},
        {"mqtt.sessions_max", "100"},         {"mqtt.nothing", "1"},
    };
    uint32_t at = below(log, G_N_ELEMENTS(values));
    state_propose_setting(log->fixture->state, values[at][0], values[at][1], NULL);
}

static void propose_access(struct random_log *log)
{
    struct state *state = log->fixture->state;
    g_autofree char *name = g_strdup_printf("user-%u", below(log, 5));
    switch (below(log, 4)) {
    case 0:
        state_propose_user_put(state, name, "device", "$7$", NULL);
        return;
    case 1:
        state_propose_user_remove(state, name, NULL);
        return;
    case 2:
        state_propose_acl_add(state, "*", "read", "a/%c", below(log, 2) == 0, NULL);
        return;
    default:
        state_propose_acl_remove(state, 1 + below(log, 20), NULL);
    }
}

static void propose_node(struct random_log *log)
{
    struct state *state = log->fixture->state;
    uint64_t node_id = 1 + below(log, 6);
    g_autofree char *name = g_strdup_printf("n%u", below(log, 8));
    struct state_node_join join = {.node_id = node_id,
                                   .name = name,
                                   .address = "10.0.0.1:7474",
                                   .version = "0.2.0",
                                   .certificate = below(log, 2) ? "ab" : "cd",
                                   .role = (enum node_role)below(log, NODE_ROLE_COUNT),
                                   .token_id = below(log, 6),
                                   .command_level = STATE_COMMAND_LEVEL + below(log, 2)};
    struct state_node_update update = {.node_id = node_id,
                                       .fields = below(log, NODE_FIELDS + 1),
                                       .name = name,
                                       .address = "other:7474",
                                       .version = "0.3.0",
                                       .certificate = "ef",
                                       .role = join.role,
                                       .command_level = STATE_COMMAND_LEVEL,
                                       .is_drained = below(log, 2) == 0};
    switch (below(log, 6)) {
    case 0:
    case 1:
        state_propose_node_join(state, &join, NULL);
        return;
    case 2:
        state_propose_node_update(state, &update, NULL);
        return;
    case 3:
        state_propose_node_label(state, node_id, name, below(log, 3) ? "value" : NULL, NULL);
        return;
    case 4:
        state_propose_node_remove(state, node_id, below(log, 2) == 0, NULL);
        return;
    default:
        state_propose_node_down(state, NODE_ID, NULL);
    }
}

static void propose_cluster(struct random_log *log)
{
    struct state *state = log->fixture->state;
    g_autofree char *address = g_strdup_printf("10.0.0.%u/%u", below(log, 4), 24 + below(log, 10));
    struct join_token token = {.id = 1 + below(log, 5),
                               .role = (enum node_role)below(log, NODE_ROLE_COUNT),
                               .expires_unix_ms = log->fixture->now_unix_ms + below(log, 30000)};
    struct cluster_ca ca = {.certificate = (char *)"certificate",
                            .previous_certificate = below(log, 2) ? (char *)"previous" : NULL,
                            .key = payload(log),
                            .generation = state_ca(state)->generation + below(log, 2)};
    switch (below(log, 5)) {
    case 0:
        state_propose_token_put(state, &token, NULL);
        return;
    case 1:
        state_propose_token_remove(state, token.id, NULL);
        return;
    case 2:
        state_propose_vip_set(state, address, below(log, 2) ? "eth0" : "", NULL);
        return;
    case 3:
        state_propose_vip_remove(state, address, NULL);
        return;
    default:
        state_propose_ca(state, &ca, NULL);
    }
}

static void propose_rare(struct random_log *log)
{
    struct state *state = log->fixture->state;
    switch (below(log, 8)) {
    case 6:
        propose_node(log);
        return;
    case 7:
        propose_cluster(log);
        return;
    case 0:
        state_propose_session_remove(state, client(log), NULL);
        return;
    case 1:
        propose_setting(log);
        return;
    case 2:
        propose_access(log);
        return;
    case 3:
        state_propose_tick(state, log->fixture->now_unix_ms, NULL);
        return;
    case 4:
        state_propose_unsubscribe(state, client(log), filter(log), NULL);
        return;
    default:
        state_propose_release(state, client(log), (uint16_t)(1 + below(log, 20)), NULL);
    }
}

static void (*const kinds[])(struct random_log *log) = {
    propose_open,        propose_open,        propose_close,   propose_close,
    propose_subscribe,   propose_subscribe,   propose_publish, propose_publish,
    propose_publish,     propose_publish,     propose_publish, propose_publish,
    propose_acknowledge, propose_acknowledge, propose_rare,    propose_rare,
};

void random_log_step(struct random_log *log)
{
    if (below(log, 20) == 0) {
        state_propose_send_retained(log->fixture->state, client(log), topic(log),
                                    (uint8_t)below(log, 3), below(log, 2), NULL);
    } else {
        kinds[below(log, G_N_ELEMENTS(kinds))](log);
    }
    if (below(log, 3) == 0) {
        fixture_flush(log->fixture);
        log->fixture->now_unix_ms += below(log, 3000);
        if (below(log, 50) == 0) { /* another node's clock */
            log->fixture->now_unix_ms -= below(log, 9000);
        }
    }
}

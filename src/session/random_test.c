/* Random changes, held against a naive model: arrays that are searched from end to end. The seed is
 * printed; SESSION_SEED=N runs it again. */
#include "session/route.h"
#include "session/test_support.h"
#include "topic/name.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENTS 40
#define STEPS   40000

struct model_subscription {
    char filter[32];
    struct subscription_options options;
    int client;
};

struct world {
    GRand *random;
    struct session_store *store;
    struct session *sessions[CLIENTS]; /* NULL = none */
    uint64_t expires[CLIENTS];
    GArray *subscriptions; /* of struct model_subscription */
    struct route route;
    struct route fresh; /* kept over many steps, resolved when it is not current */
};

static int below(GRand *random, int end)
{
    return g_rand_int_range(random, 0, end);
}

static GRand *random_new(const char *what)
{
    const char *wanted = getenv("SESSION_SEED");
    guint32 seed = wanted ? (guint32)strtoul(wanted, NULL, 10) : g_random_int();

    print_message("%s: SESSION_SEED=%u\n", what, seed);
    return g_rand_new_with_seed(seed);
}

static void random_path(GRand *random, bool is_filter, char path[32])
{
    static const char *const names[] = {"a", "b", "", "$x", "cc"};
    int levels = 1 + below(random, 3);

    strcpy(path, is_filter && below(random, 5) == 0
                     ? (below(random, 2) ? "$share/g/" : "$share/hh/")
                     : "");
    for (int i = 0; i < levels; i++) {
        int kind = is_filter ? below(random, 8) : 7;
        strcat(path, i > 0 ? "/" : "");
        if (kind == 0) {
            strcat(path, "#");
            return;
        }
        strcat(path, kind <= 2 ? "+" : names[below(random, G_N_ELEMENTS(names))]);
    }
    if (path[0] == 0 || path[strlen(path) - 1] == '/') {
        strcat(path, "e");
    }
}

static struct model_subscription *model_find(struct world *world, int client, const char *filter)
{
    for (guint i = 0; i < world->subscriptions->len; i++) {
        struct model_subscription *each =
            &g_array_index(world->subscriptions, struct model_subscription, i);
        if (each->client == client && strcmp(each->filter, filter) == 0) {
            return each;
        }
    }
    return NULL;
}

static void model_remove(struct world *world, int client, const char *filter)
{
    for (guint i = world->subscriptions->len; i-- > 0;) {
        const struct model_subscription *each =
            &g_array_index(world->subscriptions, struct model_subscription, i);
        if (each->client == client && (!filter || strcmp(each->filter, filter) == 0)) {
            g_array_remove_index(world->subscriptions, i);
        }
    }
}

static void subscribe_some(struct world *world, int client)
{
    struct model_subscription made = {.client = client};

    random_path(world->random, true, made.filter);
    made.options =
        (struct subscription_options){.qos = (uint8_t)below(world->random, 3),
                                      .subscription_id = (uint32_t)below(world->random, 4),
                                      .no_local = below(world->random, 4) == 0,
                                      .retain_as_published = below(world->random, 4) == 0};
    struct model_subscription *old = model_find(world, client, made.filter);
    enum subscribe_result result =
        session_subscribe(world->sessions[client], text(made.filter), &made.options);

    assert_int_equal(result, old ? SUBSCRIBE_REPLACED : SUBSCRIBE_NEW);
    if (old) {
        *old = made;
    } else {
        g_array_append_val(world->subscriptions, made);
    }
}

static void unsubscribe_some(struct world *world, int client)
{
    char filter[32];

    random_path(world->random, true, filter);
    if (world->subscriptions->len > 0 && below(world->random, 2)) {
        guint at = (guint)below(world->random, (int)world->subscriptions->len);
        const struct model_subscription *any =
            &g_array_index(world->subscriptions, struct model_subscription, at);
        strcpy(filter, any->filter);
        client = any->client;
    }
    bool is_there = model_find(world, client, filter) != NULL;
    assert_int_equal(session_unsubscribe(world->sessions[client], text(filter)), is_there);
    model_remove(world, client, filter);
}

/* What the model says of one session: the merged target. */
static bool model_target(struct world *world, int client, const char *topic, bool is_self,
                         struct route_target *target, uint32_t *id_sum)
{
    bool is_matched = false;

    *target = (struct route_target){0};
    *id_sum = 0;
    for (guint i = 0; i < world->subscriptions->len; i++) {
        const struct model_subscription *each =
            &g_array_index(world->subscriptions, struct model_subscription, i);
        if (each->client != client || g_str_has_prefix(each->filter, "$share/") ||
            (is_self && each->options.no_local) ||
            !topic_filter_matches(text(each->filter), text(topic))) {
            continue;
        }
        is_matched = true;
        target->qos = MAX(target->qos, each->options.qos);
        target->retain_as_published |= each->options.retain_as_published;
        target->has_no_local |= each->options.no_local;
        *id_sum += each->options.subscription_id * 1000 + (each->options.subscription_id != 0);
    }
    return is_matched;
}

static uint32_t sum_ids(const struct route_target *target)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; target->subscription_ids && i < target->subscription_ids[0]; i++) {
        sum += target->subscription_ids[i + 1] * 1000 + 1;
    }
    return sum;
}

static void assert_target(const struct route_target *target, const struct route_target *expected,
                          uint32_t id_sum)
{
    assert_int_equal(target->qos, expected->qos);
    assert_int_equal(target->retain_as_published, expected->retain_as_published);
    assert_int_equal(target->has_no_local, expected->has_no_local);
    assert_int_equal(sum_ids(target), id_sum);
}

static uint32_t model_shares(struct world *world, const char *topic, uint32_t *members)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    *members = 0;
    for (guint i = 0; i < world->subscriptions->len; i++) {
        const struct model_subscription *each =
            &g_array_index(world->subscriptions, struct model_subscription, i);
        struct bytes share, filter;
        if (topic_filter_split_shared(text(each->filter), &share, &filter) &&
            topic_filter_matches(filter, text(topic))) {
            g_hash_table_add(seen, g_strdup(each->filter));
            ++*members;
        }
    }
    return g_hash_table_size(seen);
}

static void check_route(struct world *world, const struct route *route, const char *topic)
{
    uint32_t targets = 0, members = 0, members_expected, id_sum;
    struct route_target expected;

    for (int client = 0; client < CLIENTS; client++) {
        targets += world->sessions[client] &&
                   model_target(world, client, topic, false, &expected, &id_sum);
    }
    assert_int_equal(route->target_count, targets);
    for (uint32_t i = 0; i < route->target_count; i++) {
        int client = atoi(route->targets[i].session->client_id);
        assert_true(model_target(world, client, topic, false, &expected, &id_sum));
        assert_target(&route->targets[i], &expected, id_sum);
    }
    assert_int_equal(route->share_count, model_shares(world, topic, &members_expected));
    for (uint32_t i = 0; i < route->share_count; i++) {
        members += share_member_count(route->shares[i]);
        assert_ptr_equal(session_store_find_share(world->store, share_name(route->shares[i]),
                                                  share_filter(route->shares[i])),
                         route->shares[i]);
    }
    assert_int_equal(members, members_expected);
}

static void check_self(struct world *world, int client, const char *topic)
{
    struct route_target expected, target;
    uint32_t id_sum;
    bool is_matched = model_target(world, client, topic, true, &expected, &id_sum);

    assert_int_equal(
        route_target_for_self(world->store, text(topic), world->sessions[client], &target),
        is_matched);
    if (is_matched) {
        assert_target(&target, &expected, id_sum);
        g_free(target.subscription_ids);
    }
}

static void resolve_some(struct world *world, int client)
{
    char topic[32];

    random_path(world->random, false, topic);
    route_resolve(&world->route, world->store, text(topic));
    check_route(world, &world->route, topic);
    check_self(world, client, topic);
    if (!route_is_current(&world->fresh, world->store)) {
        route_resolve(&world->fresh, world->store, text("a/b"));
    }
    check_route(world, &world->fresh, "a/b");
}

static void remove_session(struct world *world, int client)
{
    session_store_remove(world->store, world->sessions[client]);
    world->sessions[client] = NULL;
    world->expires[client] = 0;
    model_remove(world, client, NULL);
}

static void on_expired(void *owner, struct session *session)
{
    struct world *world = owner;
    int client = atoi(session->client_id);

    for (int other = 0; other < CLIENTS; other++) { /* none that should have gone before is left */
        assert_false(world->expires[other] != 0 && world->expires[other] < world->expires[client]);
    }
    remove_session(world, client);
}

static void expire_some(struct world *world, uint64_t now_unix_ms)
{
    uint64_t next = 0;

    session_store_expire(world->store, now_unix_ms, on_expired, world);
    for (int client = 0; client < CLIENTS; client++) {
        uint64_t expires = world->expires[client];
        assert_true(expires == 0 || expires > now_unix_ms);
        next = expires != 0 && (next == 0 || expires < next) ? expires : next;
    }
    assert_int_equal(session_store_next_expiry(world->store), next);
}

static void step(struct world *world, uint64_t now_unix_ms)
{
    int client = below(world->random, CLIENTS);
    struct session *session = world->sessions[client];

    if (!session) {
        g_autofree char *id = g_strdup_printf("%d", client);
        assert_null(session_store_find(world->store, text(id)));
        world->sessions[client] = session_store_add(world->store, text(id));
        return;
    }
    switch (below(world->random, 16)) {
    case 0:
        remove_session(world, client);
        break;
    case 1:
        world->expires[client] =
            below(world->random, 4) ? now_unix_ms + (uint64_t)below(world->random, 400) + 1 : 0;
        session_set_expires(session, world->expires[client]);
        break;
    case 2:
        expire_some(world, now_unix_ms);
        break;
    case 3:
    case 4:
    case 5:
        unsubscribe_some(world, client);
        break;
    case 6:
        resolve_some(world, client);
        break;
    default:
        subscribe_some(world, client);
    }
    assert_int_equal(session_store_subscription_count(world->store), world->subscriptions->len);
}

static void a_store_and_its_routes_do_what_the_model_does(void **state)
{
    struct world world = {.random = random_new("routes"), .store = session_store_new()};

    world.subscriptions = g_array_new(FALSE, FALSE, sizeof(struct model_subscription));
    route_init(&world.route);
    route_init(&world.fresh);
    for (int i = 0; i < STEPS; i++) {
        step(&world, (uint64_t)i + 1);
    }
    route_deinit(&world.route);
    route_deinit(&world.fresh);
    session_store_free(world.store);
    g_array_free(world.subscriptions, TRUE);
    g_rand_free(world.random);
}

/* ---- one queue ---- */

struct model_delivery {
    uint64_t sequence, expires;
    uint32_t bytes;
    uint8_t qos;
    bool is_received;
};

struct queue {
    GRand *random;
    struct session_store *store;
    struct session *session;
    GArray *model; /* of struct model_delivery that are not done */
    uint64_t next_sequence;
};

#define model_at(queue, i) (&g_array_index((queue)->model, struct model_delivery, i))

static uint64_t model_bytes(const struct queue *queue)
{
    uint64_t bytes = 0;
    for (guint i = 0; i < queue->model->len; i++) {
        bytes += model_at(queue, i)->is_received ? 0 : model_at(queue, i)->bytes;
    }
    return bytes;
}

static bool model_fits(const struct queue *queue, uint64_t bytes)
{
    const struct session_limits *limits = session_store_limits(queue->store);
    return queue->session->connection_number != 0 ||
           (queue->model->len + 1 <= limits->queue_messages_max &&
            model_bytes(queue) + bytes <= limits->queue_bytes_max);
}

/* With expired ones and, unless it refuses, the oldest dropped where that is allowed; -ENOBUFS
 * leaves all but the expired. */
static int model_enqueue(struct queue *queue, uint32_t bytes, uint64_t now_unix_ms)
{
    if (model_fits(queue, bytes)) {
        return 0;
    }
    for (guint i = queue->model->len; i-- > 0;) {
        const struct model_delivery *each = model_at(queue, i);
        if (!each->is_received && each->expires != 0 && each->expires <= now_unix_ms) {
            g_array_remove_index(queue->model, i);
        }
    }
    if (model_fits(queue, bytes)) {
        return 0;
    }
    g_autoptr(GArray) before = g_array_copy(queue->model);
    for (guint i = 0; !model_fits(queue, bytes) && i < queue->model->len;) {
        if (model_at(queue, i)->is_received) {
            i++;
        } else {
            g_array_remove_index(queue->model, i);
        }
    }
    if (!session_store_limits(queue->store)->queue_refuse && model_fits(queue, bytes)) {
        return 1;
    }
    g_array_set_size(queue->model, 0);
    g_array_append_vals(queue->model, before->data, before->len);
    return -ENOBUFS;
}

static void enqueue_some(struct queue *queue, uint64_t now_unix_ms)
{
    g_autofree char *payload = g_strnfill((gsize)below(queue->random, 20) + 1, 'x');
    uint64_t expires =
        below(queue->random, 2) ? now_unix_ms + (uint64_t)below(queue->random, 60) : 0;
    uint8_t qos = (uint8_t)(1 + below(queue->random, 2));
    _cleanup_(message_unrefp) struct message *message = message_of("t", payload, qos, expires);
    uint32_t bytes = (uint32_t)message_bytes(message);
    uint64_t end = delivery_ring_end(&queue->session->deliveries);

    int expected = model_enqueue(queue, bytes, now_unix_ms);
    assert_int_equal(session_enqueue(queue->session, message, qos, false, NULL, 0, now_unix_ms),
                     expected);
    if (expected >= 0) {
        struct model_delivery made = {end, expires, bytes, qos, false};
        g_array_append_val(queue->model, made);
    }
}

static void acknowledge_some(struct queue *queue)
{
    if (queue->model->len == 0) {
        return;
    }
    guint at = (guint)below(queue->random, (int)queue->model->len);
    struct model_delivery *each = model_at(queue, at);
    enum session_ack kind = (enum session_ack)below(queue->random, 4);
    bool fits = kind == SESSION_PUBACK         ? each->qos == 1
                : kind == SESSION_PUBREC       ? each->qos == 2
                : kind == SESSION_PUBREC_ERROR ? each->qos == 2 && !each->is_received
                                               : each->is_received;

    assert_int_equal(session_acknowledge(queue->session, kind, delivery_packet_id(each->sequence)),
                     fits);
    if (fits && kind == SESSION_PUBREC) {
        each->is_received = true;
    } else if (fits) {
        g_array_remove_index(queue->model, at);
    }
}

static void check_queue(const struct queue *queue)
{
    const struct delivery_ring *ring = &queue->session->deliveries;
    guint at = 0;

    assert_int_equal(ring->waiting, queue->model->len);
    assert_int_equal(ring->bytes, model_bytes(queue));
    for (uint64_t i = ring->first; i < delivery_ring_end(ring); i++) {
        const struct delivery *delivery = delivery_ring_at(ring, i);
        if (delivery->state == DELIVERY_DONE) {
            continue;
        }
        assert_int_equal(model_at(queue, at)->sequence, i);
        assert_int_equal(model_at(queue, at)->is_received, delivery->state == DELIVERY_RECEIVED);
        at++;
    }
    assert_int_equal(at, queue->model->len);
}

static void queue_step(struct queue *queue, uint64_t now_unix_ms)
{
    int what = below(queue->random, 200);

    if (what == 0 || queue->model->len > 60) { /* nothing bounds it while connected */
        bool connects = what == 0 && below(queue->random, 2);
        queue->session->connection_number = connects ? now_unix_ms : 0;
    } else if (what == 1) {
        struct session_limits limits = *session_store_limits(queue->store);
        limits.queue_messages_max = (uint32_t)(1 + below(queue->random, 20));
        limits.queue_bytes_max = 1 + (uint64_t)below(queue->random, 800);
        limits.queue_refuse = below(queue->random, 4) == 0;
        session_store_set_limits(queue->store, &limits);
    } else if (what < 120) {
        enqueue_some(queue, now_unix_ms);
    } else {
        acknowledge_some(queue);
    }
    check_queue(queue);
}

static void a_queue_does_what_the_model_does(void **state)
{
    struct queue queue = {.random = random_new("queue"),
                          .store = store_with_limits(10, 400, false)};

    queue.session = session_store_add(queue.store, text("c"));
    queue.model = g_array_new(FALSE, FALSE, sizeof(struct model_delivery));
    for (int i = 0; i < 3 * STEPS; i++) {
        queue_step(&queue, (uint64_t)i + 1);
    }
    session_store_free(queue.store);
    g_array_free(queue.model, TRUE);
    g_rand_free(queue.random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_and_its_routes_do_what_the_model_does),
        cmocka_unit_test(a_queue_does_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

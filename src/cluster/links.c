/* All links of a node; see links.h. The table is keyed by node id. A link that is removed while one
 * of its own callbacks runs is freed by nobody but links_set_peers, whose callers are above. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/link.h"
#include "loop/loop.h"
#include "net/stream.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PING_MS    1000
#define GIVE_UP_MS 3000

static void on_free_link(void *link)
{
    link_free(link);
}

static void on_burial(void *owner)
{
    const struct links *links = owner;
    g_ptr_array_set_size(links->gone, 0);
}

struct links *links_new(const struct links_options *options)
{
    struct links *links = g_new0(struct links, 1);

    assert(options->node_id != 0);
    links->loop = options->loop;
    links->node_id = options->node_id;
    links->epoch = options->epoch;
    links->client = options->client;
    links->ping_ms = options->ping_ms ? options->ping_ms : PING_MS;
    links->give_up_ms = options->give_up_ms ? options->give_up_ms : GIVE_UP_MS;
    links->events = options->events;
    links->owner = options->owner;
    links->table = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, on_free_link);
    links->gone = g_ptr_array_new_with_free_func(on_free_link);
    deferred_init(&links->burial, on_burial, links);
    return links;
}

void links_free(struct links *links)
{
    if (links) {
        g_hash_table_unref(links->table);
        deferred_deinit(&links->burial);
        g_ptr_array_unref(links->gone);
        g_free(links);
    }
}

static struct link *find(const struct links *links, uint64_t node_id)
{
    return g_hash_table_lookup(links->table, &node_id);
}

/* ---- peers ---- */

static void want(struct links *links, const struct links_peer *peer)
{
    struct link *link = find(links, peer->node_id);

    if (!link) {
        link = link_new(links, peer->node_id, peer->address);
        g_hash_table_insert(links->table, &link->node_id, link);
        link_dial(link);
    } else if (strcmp(link->address, peer->address) != 0) {
        g_free(link->address);
        link->address = g_strdup(peer->address);
        link->backoff_ms = LINK_BACKOFF_MS;
        link_dial(link);
    }
    link->is_wanted = true;
}

/* The links are told in the end, since a callback may look at the table. */
static void remove_unwanted(struct links *links)
{
    g_autoptr(GPtrArray) gone = g_ptr_array_new();
    GHashTableIter iterator;
    void *value;

    g_hash_table_iter_init(&iterator, links->table);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        struct link *link = value;
        if (!link->is_wanted) {
            link->is_removed = true;
            g_hash_table_iter_steal(&iterator);
            g_ptr_array_add(gone, link);
        }
    }
    for (guint i = 0; i < gone->len; i++) {
        struct link *link = g_ptr_array_index(gone, i);
        link_give_up(link, "the node was removed from the cluster");
        g_ptr_array_add(links->gone, link);
        deferred_schedule(links->loop, &links->burial);
    }
}

void links_set_peers(struct links *links, const struct links_peer *peers, size_t count)
{
    GHashTableIter iterator;
    void *value;

    g_hash_table_iter_init(&iterator, links->table);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        ((struct link *)value)->is_wanted = false;
    }
    for (size_t i = 0; i < count; i++) {
        bool has_room =
            find(links, peers[i].node_id) || g_hash_table_size(links->table) < LINKS_PEERS_MAX;
        if (peers[i].node_id != links->node_id && has_room) {
            want(links, &peers[i]);
        }
    }
    remove_unwanted(links);
}

void links_set_give_up(struct links *links, uint64_t give_up_ms)
{
    links->give_up_ms = give_up_ms ? give_up_ms : GIVE_UP_MS; /* each timer looks when it fires */
}

/* The one with the lower id dials anew when its old connection is dead to it: ours is too then. A
 * knock counts only when there is none. */
void links_accept(struct links *links, uint64_t node_id, struct stream *stream)
{
    struct link *link = find(links, node_id);

    bool is_knock = node_id > links->node_id;

    if (!link || (is_knock && link->stream)) {
        stream_reset(stream);
        return;
    }
    if (link->stream) {
        link_give_up(link, "another connection has taken its place");
    }
    if (link->stream || find(links, node_id) != link) { /* the owner did something meanwhile */
        stream_reset(stream);
        return;
    }
    link_open(link, stream);
}

void links_nudge(struct links *links, uint64_t node_id)
{
    struct link *link = find(links, node_id);

    if (link) {
        link->backoff_ms = LINK_BACKOFF_MS;
        link_dial(link);
    }
}

void links_ask_all(struct links *links, bool is_asking)
{
    GHashTableIter iterator;
    void *link;

    links->is_asking = is_asking;
    g_hash_table_iter_init(&iterator, links->table);
    while (is_asking && g_hash_table_iter_next(&iterator, NULL, &link)) {
        link_dial(link);
    }
}

void links_reset(struct links *links, uint64_t node_id)
{
    struct link *link = find(links, node_id);

    if (link) {
        link_give_up(link, "to begin anew");
    }
}

static bool is_other(const struct link *link, const uint8_t *ca_sha256, uint64_t before_ms)
{
    return link->state == LINK_UP && link->since_ms <= before_ms &&
           memcmp(link->issuer_sha256, ca_sha256, sizeof link->issuer_sha256) != 0;
}

/* By their ids, since a callback may change the table. `ca_sha256` NULL: all of them. */
static void begin_anew(struct links *links, const uint8_t *ca_sha256, uint64_t before_ms)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter iterator;
    void *value;

    g_hash_table_iter_init(&iterator, links->table);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        const struct link *link = value;
        if (!ca_sha256 || is_other(link, ca_sha256, before_ms)) {
            g_array_append_val(ids, link->node_id);
        }
    }
    for (guint i = 0; i < ids->len; i++) {
        struct link *link = find(links, g_array_index(ids, uint64_t, i));
        if (link) {
            link_give_up(link, "certificates have changed");
        }
    }
}

void links_renew(struct links *links)
{
    begin_anew(links, NULL, 0);
}

void links_reset_others(struct links *links, const uint8_t ca_sha256[32], uint64_t since_ms)
{
    uint64_t now_ms = loop_now_ms(links->loop);

    begin_anew(links, ca_sha256, now_ms > since_ms ? now_ms - since_ms : 0);
}

/* ---- sending ---- */

int links_send_pieces(struct links *links, uint64_t node_id, uint8_t channel,
                      const struct bytes *pieces, size_t count)
{
    struct link *link = find(links, node_id);

    assert(channel > LINKS_HEARTBEAT);
    return link ? link_send(link, channel, pieces, count) : -ENOTCONN;
}

int links_send(struct links *links, uint64_t node_id, uint8_t channel, struct bytes payload)
{
    return links_send_pieces(links, node_id, channel, &payload, 1);
}

struct sending {
    struct links *links;
    struct bytes payload;
    uint8_t channel;
};

static void send_one(void *owner, const struct links_status *status)
{
    const struct sending *sending = owner;

    if (status->is_up) {
        links_send(sending->links, status->node_id, sending->channel, sending->payload);
    }
}

void links_send_all(struct links *links, uint8_t channel, struct bytes payload)
{
    struct sending sending = {links, payload, channel};

    links_for_each(links, send_one, &sending);
}

bool links_is_up(const struct links *links, uint64_t node_id)
{
    const struct link *link = find(links, node_id);

    return link && link->state == LINK_UP;
}

bool links_is_writable(const struct links *links, uint64_t node_id)
{
    const struct link *link = find(links, node_id);

    return link && link->state == LINK_UP && stream_pending_bytes(link->stream) < LINKS_QUEUE_BYTES;
}

/* ---- the lease ---- */

int links_ping(struct links *links, uint64_t node_id)
{
    struct link *link = find(links, node_id);
    uint64_t sent_ms = GUINT64_TO_BE(clock_now_ms());
    uint8_t body[9] = {LINK_LEASE};

    if (!link || link->state != LINK_UP) {
        return -ENOTCONN;
    }
    memcpy(body + 1, &sent_ms, sizeof sent_ms);
    link_write_heartbeat(link, (struct bytes){body, sizeof body});
    return 0;
}

int links_echo(struct links *links, uint64_t node_id, const struct links_echo *echo)
{
    struct link *link = find(links, node_id);
    uint64_t words[] = {GUINT64_TO_BE(echo->sent_ms), GUINT64_TO_BE(echo->term)};
    uint32_t ages_ms[] = {GUINT32_TO_BE(echo->age_ms), GUINT32_TO_BE(echo->other_ms)};
    uint8_t body[1 + LINK_ECHO_BYTES] = {LINK_ECHO};

    if (!link || link->state != LINK_UP) {
        return -ENOTCONN;
    }
    memcpy(body + 1, words, sizeof words);
    memcpy(body + 1 + sizeof words, ages_ms, sizeof ages_ms);
    link_write_heartbeat(link, (struct bytes){body, sizeof body});
    return 0;
}

/* ---- heartbeats of the log ---- */

int links_beat(struct links *links, uint64_t node_id, struct bytes beat)
{
    struct link *link = find(links, node_id);
    uint8_t body[1 + LINKS_BEAT_BYTES_MAX] = {LINK_BEAT};

    assert(beat.length <= LINKS_BEAT_BYTES_MAX);
    if (!link || link->state != LINK_UP || link->peer_protocol < 3) {
        return -ENOTCONN;
    }
    if (link->sent_bytes - link->arrived_bytes > LINKS_BEAT_BEHIND_BYTES) {
        return -EAGAIN;
    }
    memcpy(body + 1, beat.at, beat.length);
    link_write_heartbeat(link, (struct bytes){body, 1 + beat.length});
    return 0;
}

/* ---- signs of life ---- */

void links_probe(struct links *links, uint64_t node_id)
{
    struct link *link = find(links, node_id);

    if (link && link->state == LINK_UP) {
        link_ping(link);
    }
}

static int compare_trips(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

static uint32_t usual_trip_us(const struct link *link)
{
    uint32_t trips_us[LINK_TRIPS], count = MIN(link->trip_count, LINK_TRIPS);

    memcpy(trips_us, link->trips_us, count * sizeof trips_us[0]);
    qsort(trips_us, count, sizeof trips_us[0], compare_trips);
    return count > 0 ? trips_us[count / 4] : 0;
}

void links_signs(const struct links *links, uint64_t node_id, struct links_signs *signs)
{
    const struct link *link = find(links, node_id);

    *signs = (struct links_signs){0};
    if (!link || link->state != LINK_UP) {
        return;
    }
    signs->heard_ms = link->heard_ms;
    signs->usual_trip_us = usual_trip_us(link);
    if (!stream_progress(link->stream, &signs->sent_bytes, &signs->arrived_bytes) ||
        stream_pending_bytes(link->stream) > 0) {
        signs->sent_bytes = UINT64_MAX;
    }
}

/* ---- status ---- */

static void fill(const struct link *link, struct links_status *status)
{
    uint32_t trips = MIN(link->trip_count, LINK_TRIPS), most = 0;

    for (uint32_t i = 0; i < trips; i++) {
        most = MAX(most, link->trips_us[i]);
    }
    uint64_t clock_ms = link->clock_begun_ms + clock_now_ms();

    *status = (struct links_status){
        .node_id = link->node_id,
        .address = link->address,
        .is_up = link->state == LINK_UP,
        .epoch = link->peer_epoch,
        .since_ms = link->since_ms,
        .heard_ms = link->heard_ms,
        .round_trip_us = link->round_trip_us,
        .round_trip_us_max = most,
        .has_clock = link->has_clock,
        .clock_offset_ms = link->has_clock ? (int64_t)(clock_ms - clock_unix_ms()) : 0,
        .sent_bytes = link->sent_bytes,
        .received_bytes = link->received_bytes,
        .pending_bytes = link->stream ? stream_pending_bytes(link->stream) : 0,
        .error = link->error,
        .issuer_sha256 = link->state == LINK_UP ? link->issuer_sha256 : NULL,
    };
}

bool links_status(const struct links *links, uint64_t node_id, struct links_status *status)
{
    const struct link *link = find(links, node_id);

    if (link) {
        fill(link, status);
    }
    return link != NULL;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = (*(struct link *const *)a)->node_id,
             right = (*(struct link *const *)b)->node_id;

    return left < right ? -1 : left > right;
}

void links_for_each(const struct links *links, void (*fn)(void *owner, const struct links_status *),
                    void *owner)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    GHashTableIter iterator;
    void *value;

    g_hash_table_iter_init(&iterator, links->table);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        g_ptr_array_add(all, value);
    }
    g_ptr_array_sort(all, compare_ids);
    for (guint i = 0; i < all->len; i++) {
        struct links_status status;
        fill(g_ptr_array_index(all, i), &status);
        fn(owner, &status);
    }
}

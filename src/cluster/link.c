/* One link; see link.h. A frame is its payload's length (4, big endian), channel (1), zeros (3),
 * payload. The first one each way is a hello; before it nothing else is taken.
 *
 * Ending: a goodbye goes out before a living node closes. Whoever gets FIN or RST without one knows
 * that the other process has ended (`is_end`). Errors that say that the way is broken (-ETIMEDOUT,
 * -EHOSTUNREACH, ...) and breaches of the protocol prove nothing. */
#include "cluster/link.h"
#include "base/clock.h"
#include "base/log.h"
#include "cluster/ca.h"
#include "cluster/token.h"
#include "loop/loop.h"
#include "net/connector.h"
#include "net/stream.h"
#include "net/tls.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return GUINT64_FROM_BE(value);
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return GUINT32_FROM_BE(value);
}

static void put_u64(uint8_t *at, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

/* ---- sending ---- */

/* Returns the bytes written. */
static size_t write_to(struct stream *stream, uint8_t channel, const struct bytes *pieces,
                       size_t count)
{
    uint8_t head[LINK_HEAD_BYTES] = {0};
    size_t length = 0;

    for (size_t i = 0; i < count; i++) {
        length += pieces[i].length;
    }
    uint32_t big = GUINT32_TO_BE((uint32_t)length);
    memcpy(head, &big, sizeof big);
    head[4] = channel;
    stream_write(stream, head, sizeof head);
    for (size_t i = 0; i < count; i++) {
        stream_write(stream, pieces[i].at, pieces[i].length);
    }
    return sizeof head + length;
}

static void write_frame(struct link *link, uint8_t channel, const struct bytes *pieces,
                        size_t count)
{
    link->sent_bytes += write_to(link->stream, channel, pieces, count);
}

static void write_message(struct link *link, uint8_t channel, enum link_message type,
                          struct bytes body)
{
    uint8_t first = (uint8_t)type;
    const struct bytes pieces[] = {{&first, 1}, body};

    write_frame(link, channel, pieces, G_N_ELEMENTS(pieces));
}

int link_send(struct link *link, uint8_t channel, const struct bytes *pieces, size_t count)
{
    size_t length = 0;

    for (size_t i = 0; i < count; i++) {
        length += pieces[i].length;
    }
    if (length > LINKS_FRAME_BYTES_MAX) {
        return -EMSGSIZE;
    }
    if (link->state != LINK_UP) {
        return -ENOTCONN;
    }
    if (stream_pending_bytes(link->stream) >= LINKS_QUEUE_BYTES) {
        link->wants_writable = true;
        return -EAGAIN;
    }
    write_frame(link, channel, pieces, count);
    return 0;
}

void link_write_heartbeat(struct link *link, struct bytes payload)
{
    write_frame(link, LINKS_HEARTBEAT, &payload, 1);
}

/* ---- timing ---- */

static bool is_dialler(const struct link *link)
{
    return link->links->node_id < link->node_id;
}

static bool may_dial(const struct link *link)
{
    return is_dialler(link) || link->links->is_asking;
}

/* A multiple of the time between pings, so that all links are due at once; half of it to one and a
 * half after the last one. */
static uint64_t next_ping_ms(const struct link *link)
{
    uint64_t ping_ms = link->links->ping_ms;

    return (link->pinged_ms + ping_ms / 2 + ping_ms - 1) / ping_ms * ping_ms;
}

static void set_timer(struct link *link)
{
    const struct links *links = link->links;
    uint64_t now_ms = loop_now_ms(links->loop), end_ms = link->heard_ms + links->give_up_ms;
    uint64_t next_ms = link->state == LINK_UP ? MIN(next_ping_ms(link), end_ms) : end_ms;

    timer_start(link->timer, next_ms > now_ms ? next_ms - now_ms : 1);
}

static void set_error(struct link *link, const char *error)
{
    g_free(link->error);
    link->error = g_strdup(error);
}

/* Random, so that the nodes of a cluster that comes back do not all dial at once. */
static uint64_t about_ms(uint64_t most_ms)
{
    return most_ms / 2 + (uint64_t)g_random_int_range(0, (gint32)(most_ms / 2) + 1);
}

/* The time for knocking stays as it is, whatever happens before that, until the link is up, and a
 * knock under way goes on: the other one may call again and again and let go each time, taking this
 * node for another. */
static void dial_later(struct link *link)
{
    uint64_t now_ms = loop_now_ms(link->links->loop);

    if (link->is_removed) {
        timer_stop(link->timer);
    } else if (may_dial(link)) {
        timer_start(link->timer, about_ms(link->backoff_ms));
        link->backoff_ms = MIN(link->backoff_ms * 2, LINK_BACKOFF_MAX);
    } else {
        link->knock_ms = link->knock_ms ? link->knock_ms : now_ms + about_ms(LINK_KNOCK_MS);
        timer_start(link->timer, link->knock_ms > now_ms ? link->knock_ms - now_ms : 1);
    }
}

/* ---- ending ---- */

static void note_socket(struct link *link, struct stream *stream)
{
    struct links *links = link->links;

    link->socket_number = ++links->sockets;
    if (links->events->on_socket) {
        links->events->on_socket(links->owner, link->socket_number, stream_descriptor(stream));
    }
}

static void forget_socket(struct link *link)
{
    struct links *links = link->links;

    if (link->socket_number != 0 && links->events->on_socket_done) {
        links->events->on_socket_done(links->owner, link->socket_number);
    }
    link->socket_number = 0;
}

/* The stream is gone already, or its owner's. */
static void drop(struct link *link, bool is_end, const char *error)
{
    struct links *links = link->links;
    bool was_up = link->state == LINK_UP;

    link->state = LINK_DOWN;
    link->stream = NULL;
    forget_socket(link);
    link->wants_writable = false;
    set_error(link, error);
    link->since_ms = loop_now_ms(links->loop);
    dial_later(link);
    if (was_up) {
        log_info("link down", "node=%016" G_GINT64_MODIFIER "x error=\"%s\" ended=%s",
                 link->node_id, error, is_end ? "yes" : "no");
        links->events->on_down(links->owner, link->node_id, is_end);
    }
}

static void say_goodbye(struct link *link, const char *why)
{
    g_autofree char *text = g_strndup(why, LINK_REASON_CHARS);

    write_message(link, LINKS_CONTROL, link->is_removed ? LINK_REMOVED : LINK_GOODBYE,
                  bytes_from_string(text));
    stream_close(link->stream, LINK_GOODBYE_MS);
}

void link_give_up(struct link *link, const char *why)
{
    bool was_dialling = link->connector != NULL;

    g_clear_pointer(&link->connector, connector_free);
    if (link->stream) {
        say_goodbye(link, why);
        drop(link, false, why);
    } else if (was_dialling || link->is_removed) {
        dial_later(link);
    }
}

static bool is_proof(int error)
{
    return error == 0 || error == -ECONNRESET || error == -EPIPE;
}

static void on_end(void *owner, int error)
{
    struct link *link = owner;
    const char *text = error == 0 ? "the other side has closed it" : g_strerror(-error);

    drop(link, is_proof(error), text);
}

/* ---- heartbeats ---- */

void link_ping(struct link *link)
{
    uint8_t body[8];

    link->pinged_us = clock_now_us();
    link->pinged_bytes = link->sent_bytes;
    link->pinged_ms = loop_now_ms(link->links->loop);
    put_u64(body, link->pinged_us);
    write_message(link, LINKS_HEARTBEAT, LINK_PING, (struct bytes){body, sizeof body});
    set_timer(link);
}

/* Ours goes with the answer when it is nearly due: one wake-up less on both sides. */
static void answer_ping(struct link *link, const uint8_t *sent)
{
    uint8_t body[16];

    memcpy(body, sent, 8);
    put_u64(body + 8, clock_unix_ms());
    write_message(link, LINKS_HEARTBEAT, LINK_PONG, (struct bytes){body, sizeof body});
    if (loop_now_ms(link->links->loop) >= link->pinged_ms + link->links->ping_ms / 2) {
        link_ping(link);
    }
}

static void on_pong(struct link *link, const uint8_t *body)
{
    uint64_t now_us = clock_now_us(), sent_us = get_u64(body);
    uint64_t trip_us = now_us > sent_us ? now_us - sent_us : 1;

    if (trip_us > UINT32_MAX) { /* nothing that we sent */
        return;
    }
    if (sent_us == link->pinged_us) {
        link->arrived_bytes = link->pinged_bytes;
    }
    link->trips_us[link->trip_count++ % LINK_TRIPS] = (uint32_t)trip_us;
    link->round_trip_us = link->round_trip_us == 0
                              ? (uint32_t)trip_us
                              : (uint32_t)(((uint64_t)link->round_trip_us * 7 + trip_us) / 8);
    link->has_clock = true;
    link->clock_begun_ms = get_u64(body + 8) + trip_us / 2000 - now_us / 1000;
    if (link->links->events->on_pong) {
        link->links->events->on_pong(link->links->owner, link->node_id);
    }
}

static void on_echo(struct link *link, const uint8_t *body)
{
    const struct links_events *events = link->links->events;
    struct links_echo echo = {get_u64(body), get_u64(body + 8), get_u32(body + 16),
                              get_u32(body + 20)};

    if (events->on_echo) {
        events->on_echo(link->links->owner, link->node_id, &echo);
    }
}

static bool on_heartbeat(struct link *link, uint8_t type, struct bytes body)
{
    const struct links_events *events = link->links->events;

    if (type == LINK_PING && body.length == 8) {
        answer_ping(link, body.at);
    } else if (type == LINK_PONG && body.length == 16) {
        on_pong(link, body.at);
    } else if (type == LINK_LEASE && body.length == 8 && events->on_ping) {
        events->on_ping(link->links->owner, link->node_id, get_u64(body.at));
    } else if (type == LINK_ECHO && body.length == LINK_ECHO_BYTES) {
        on_echo(link, body.at);
    } else if (type == LINK_BEAT && events->on_beat) {
        events->on_beat(link->links->owner, link->node_id, body);
    }
    return true; /* of a newer version: not for us */
}

/* ---- receiving ---- */

/* False when the link is not up any more, or was opened anew. */
static bool on_hello(struct link *link, struct bytes body)
{
    struct links *links = link->links;

    if (link->state != LINK_GREETING || body.length < 9 || body.at[0] < 1) {
        link_give_up(link, "it does not speak as a node does");
        return false;
    }
    link->peer_protocol = body.at[0];
    link->peer_epoch = get_u64(body.at + 1);
    link->arrived_bytes = link->sent_bytes;
    link->state = LINK_UP;
    link->since_ms = loop_now_ms(links->loop);
    link->backoff_ms = LINK_BACKOFF_MS;
    link->knock_ms = 0;
    set_error(link, NULL);
    link_ping(link);
    log_info("link up", "node=%016" G_GINT64_MODIFIER "x address=%s", link->node_id, link->address);
    links->events->on_up(links->owner, link->node_id);
    return true;
}

static bool on_control(struct link *link, uint8_t type, struct bytes body)
{
    if (type == LINK_HELLO) {
        return on_hello(link, body);
    }
    if (type == LINK_GOODBYE || type == LINK_REMOVED) {
        g_autofree char *text =
            g_strndup((const char *)body.at, MIN(body.length, LINK_REASON_CHARS));
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        g_autofree char *error = g_strdup_printf("the other side let go: %s", valid);
        struct links *links = link->links;
        stream_close(link->stream, 0);
        drop(link, false, error);
        if (type == LINK_REMOVED && links->events->on_removed) {
            links->events->on_removed(links->owner, link->node_id);
        }
        return false;
    }
    return true;
}

/* False when the rest is not to be looked at. */
static bool on_frame(struct link *link, uint8_t channel, struct bytes payload)
{
    struct links *links = link->links;
    const struct stream *stream = link->stream;

    bool is_message = channel == LINKS_CONTROL || channel == LINKS_HEARTBEAT;
    bool is_early = link->state == LINK_GREETING && channel != LINKS_CONTROL;

    if (is_early || (is_message && payload.length == 0)) {
        link_give_up(link, "it does not speak as a node does");
        return false;
    }
    if (is_message) {
        struct bytes body = {payload.at + 1, payload.length - 1};
        return (channel == LINKS_CONTROL ? on_control : on_heartbeat)(link, payload.at[0], body) &&
               link->stream == stream;
    }
    links->events->on_frame(links->owner, link->node_id, channel, payload);
    return link->stream == stream;
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct link *link = owner;
    size_t at = 0;

    link->heard_ms = loop_now_ms(link->links->loop);
    while (length - at >= LINK_HEAD_BYTES) {
        size_t payload = get_u32(bytes + at);
        if (payload > LINKS_FRAME_BYTES_MAX) {
            link_give_up(link, "it does not speak as a node does");
            return length;
        }
        if (length - at < LINK_HEAD_BYTES + payload) {
            if (at == 0) {
                stream_expect(link->stream, LINK_HEAD_BYTES + payload);
            }
            break;
        }
        uint8_t channel = bytes[at + 4];
        const uint8_t *body = bytes + at + LINK_HEAD_BYTES;
        at += LINK_HEAD_BYTES + payload;
        link->received_bytes += LINK_HEAD_BYTES + payload;
        if (!on_frame(link, channel, (struct bytes){body, payload})) {
            return length;
        }
    }
    return at;
}

static void on_drained(void *owner)
{
    struct link *link = owner;
    struct links *links = link->links;

    if (link->wants_writable && link->state == LINK_UP) {
        link->wants_writable = false;
        links->events->on_writable(links->owner, link->node_id);
    }
}

static const struct stream_events stream_events = {on_bytes, on_drained, on_end};

void link_open(struct link *link, struct stream *stream)
{
    uint8_t body[9] = {LINK_PROTOCOL};
    struct stream_peer peer;

    assert(!link->stream);
    stream_peer(stream, &peer);
    memset(link->issuer_sha256, 0, sizeof link->issuer_sha256);
    if (peer.issuer_sha256) {
        memcpy(link->issuer_sha256, peer.issuer_sha256, sizeof link->issuer_sha256);
    }
    if (is_dialler(link)) { /* a knock goes on: this call may be let go again */
        g_clear_pointer(&link->connector, connector_free);
    }
    link->stream = stream;
    note_socket(link, stream);
    link->state = LINK_GREETING;
    link->has_clock = false;
    link->heard_ms = link->pinged_ms = loop_now_ms(link->links->loop);
    stream_set_silence_ms(stream, (unsigned)link->links->give_up_ms);
    stream_start(stream, &stream_events, link);
    put_u64(body + 1, link->links->epoch);
    write_message(link, LINKS_CONTROL, LINK_HELLO, (struct bytes){body, sizeof body});
    set_timer(link);
}

/* ---- dialling ---- */

static void on_dialled(void *owner, struct stream *stream, const char *error)
{
    struct link *link = owner;
    struct stream_peer peer;

    g_clear_pointer(&link->connector, connector_free);
    if (link->state != LINK_DOWN) { /* the other one, whose turn it is, was faster */
        g_clear_pointer(&stream, stream_reset);
        return;
    }
    if (!stream) {
        set_error(link, error);
        dial_later(link);
        return;
    }
    stream_peer(stream, &peer);
    if (ca_node_id(peer.certificate_cn) != link->node_id) {
        g_autofree char *text = g_strdup_printf("%s: another node answers there", link->address);
        stream_reset(stream);
        set_error(link, text);
        dial_later(link);
        return;
    }
    link_open(link, stream);
}

static void dial(struct link *link)
{
    g_autofree char *host = NULL;
    g_autoptr(GError) error = NULL;
    uint16_t port = 7474;

    link->knock_ms = 0;
    if (address_split(link->address, &host, &port, &error) < 0) {
        set_error(link, error->message);
        dial_later(link);
        return;
    }
    timer_stop(link->timer);
    link->connector = connector_new(link->links->loop, host, port, link->links->client,
                                    link->links->give_up_ms, on_dialled, link);
}

void link_dial(struct link *link)
{
    if (link->state != LINK_DOWN || link->connector || link->is_removed) {
        return;
    }
    if (may_dial(link)) {
        dial(link);
    } else {
        dial_later(link);
    }
}

static void on_timer(void *owner)
{
    struct link *link = owner;
    const struct links *links = link->links;
    uint64_t now_ms = loop_now_ms(links->loop);

    if (link->state == LINK_DOWN) {
        if (!link->connector) {
            dial(link);
        }
        return;
    }
    if (now_ms >= link->heard_ms + links->give_up_ms) {
        link_give_up(link, "nothing heard for too long");
        return;
    }
    if (link->state == LINK_UP && now_ms >= next_ping_ms(link)) {
        link_ping(link);
    } else {
        set_timer(link);
    }
}

/* ---- strangers ---- */

static size_t on_stranger_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    return length;
}

static void on_stranger_end(void *owner, int error)
{
}

void links_tell_removed(struct stream *stream)
{
    static const struct stream_events deaf = {.on_bytes = on_stranger_bytes,
                                              .on_end = on_stranger_end};
    uint8_t first = LINK_REMOVED;
    const struct bytes pieces[] = {{&first, 1},
                                   bytes_from_string("the node was removed from the cluster")};

    stream_start(stream, &deaf, NULL);
    write_to(stream, LINKS_CONTROL, pieces, G_N_ELEMENTS(pieces));
    stream_close(stream, LINK_GOODBYE_MS);
}

/* ---- life ---- */

struct link *link_new(struct links *links, uint64_t node_id, const char *address)
{
    struct link *link = g_new0(struct link, 1);

    link->links = links;
    link->node_id = node_id;
    link->address = g_strdup(address);
    link->backoff_ms = LINK_BACKOFF_MS;
    link->timer = timer_new(links->loop, on_timer, link);
    link->since_ms = loop_now_ms(links->loop);
    return link;
}

void link_free(struct link *link)
{
    connector_free(link->connector);
    if (link->stream) {
        stream_close(link->stream, LINK_GOODBYE_MS);
    }
    timer_free(link->timer);
    g_free(link->address);
    g_free(link->error);
    g_free(link);
}

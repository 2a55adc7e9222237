/* See net.h. */
#include "net.h"
#include "loop/loop.h"
#include "mqtt/test_virtual_loop.h"
#include "net/connector.h"
#include "net/stream.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WINDOW_BYTES (256 * 1024) /* the kernel takes so much of a stream */
#define SILENCE_MS   3000         /* TCP_USER_TIMEOUT */
#define MAIL_MAX     256
#define RESEND_MS    300 /* TCP tries again so long after a cut has healed, at most */

static struct net *world; /* connectors know no owner */

/* ---- libraft's messages ---- */

struct mail {
    uint64_t due_ms, life; /* of the process that it is for */
    struct raft_message message;
};

static void message_copy(struct raft_message *to, const struct raft_message *from)
{
    *to = *from;
    to->server_address = "";
    if (from->type == RAFT_APPEND_ENTRIES && from->append_entries.n_entries > 0) {
        const struct raft_append_entries *source = &from->append_entries;
        struct raft_append_entries *target = &to->append_entries;
        size_t total = 0;
        for (unsigned i = 0; i < source->n_entries; i++) {
            total += source->entries[i].buf.len;
        }
        uint8_t *at = raft_malloc(total), *batch = at;
        target->entries = raft_calloc(source->n_entries, sizeof *target->entries);
        for (unsigned i = 0; i < source->n_entries; i++) {
            target->entries[i] = source->entries[i];
            target->entries[i].batch = batch;
            target->entries[i].buf.base = at;
            memcpy(at, source->entries[i].buf.base, source->entries[i].buf.len);
            at += source->entries[i].buf.len;
        }
    } else if (from->type == RAFT_APPEND_ENTRIES) {
        to->append_entries.entries = NULL;
    } else if (from->type == RAFT_INSTALL_SNAPSHOT) {
        const struct raft_install_snapshot *source = &from->install_snapshot;
        struct raft_install_snapshot *target = &to->install_snapshot;
        raft_configuration_init(&target->conf);
        for (unsigned i = 0; i < source->conf.n; i++) {
            raft_configuration_add(&target->conf, source->conf.servers[i].id,
                                   source->conf.servers[i].address, source->conf.servers[i].role);
        }
        target->data.base = raft_malloc(source->data.len);
        memcpy(target->data.base, source->data.base, source->data.len);
    }
}

static void mail_drop(struct mail *mail)
{
    struct raft_message *message = &mail->message;

    if (message->type == RAFT_APPEND_ENTRIES && message->append_entries.n_entries > 0) {
        raft_free(message->append_entries.entries[0].batch);
        raft_free(message->append_entries.entries);
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
    }
    g_free(mail);
}

static void on_drop_mail(void *mail)
{
    mail_drop(mail);
}

static uint64_t arrival_ms(struct net *net, unsigned from, unsigned to)
{
    return net->now_ms + 1 +
           (uint64_t)g_rand_int_range(net->random, 0, (gint32)net->delay_ms_max[from][to] + 1);
}

void net_post(struct net *net, unsigned from, const struct raft_message *message)
{
    unsigned to = (unsigned)message->server_id - 1;
    GQueue *queue = &net->mail[from][to];
    const struct mail *last = g_queue_peek_tail(queue);

    assert(to < net->count);
    if (queue->length >= MAIL_MAX || !net->boxes[to].loop ||
        !net->calls->is_member(net->owner, from, to)) {
        return;
    }
    struct mail *mail = g_new0(struct mail, 1);
    mail->due_ms = MAX(arrival_ms(net, from, to), last ? last->due_ms : 0);
    mail->life = net->boxes[to].life;
    message_copy(&mail->message, message);
    mail->message.server_id = from + 1;
    g_queue_push_tail(queue, mail);
}

static void deliver_mail(struct net *net, unsigned from, unsigned to)
{
    GQueue *queue = &net->mail[from][to];
    struct net_box *box = &net->boxes[to];
    struct mail *mail;

    while ((mail = g_queue_peek_head(queue)) != NULL && mail->due_ms <= net->now_ms &&
           !net->cut[from][to] && (box->is_awake || mail->life != box->life || !box->loop)) {
        g_queue_pop_head(queue);
        if (!box->loop || mail->life != box->life || !box->disk->receive ||
            !net->calls->is_member(net->owner, to, from)) {
            mail_drop(mail);
            continue;
        }
        virtual_loop_enter(box->loop);
        disk_receive(box->disk, &mail->message);
        g_free(mail);
        virtual_loop_end_turn(box->loop);
    }
}

/* ---- connections ---- */

enum packet_kind { PACKET_BYTES, PACKET_FIN, PACKET_RST };

struct packet {
    enum packet_kind kind;
    uint64_t due_ms, sent_ms;
    bool has_arrived;  /* the kernel of the other box has it */
    GByteArray *bytes; /* owned; of BYTES */
};

/* One side of a connection. */
struct end {
    unsigned box;
    int number;
    struct stream *stream; /* the process's; NULL = it has let go, or is gone */
    bool is_guarded;       /* the keeper holds it, the process is gone */
    bool is_closed;        /* by the kernel: FIN is sent, or nobody will ever know */
    GQueue out;            /* of struct packet, owned */
    size_t out_bytes;
    uint64_t sent_bytes, arrived_bytes;
};

struct wire {
    struct end ends[2];
};

static void packet_free(void *memory)
{
    struct packet *packet = memory;

    if (packet->bytes) {
        g_byte_array_unref(packet->bytes);
    }
    g_free(packet);
}

static void push(struct net *net, struct wire *wire, unsigned side, enum packet_kind kind,
                 GByteArray *bytes)
{
    struct end *end = &wire->ends[side];
    const struct packet *last = g_queue_peek_tail(&end->out);
    struct packet *packet = g_new0(struct packet, 1);

    packet->kind = kind;
    packet->bytes = bytes;
    packet->sent_ms = net->now_ms;
    packet->due_ms = MAX(arrival_ms(net, end->box, wire->ends[!side].box), last ? last->due_ms : 0);
    g_queue_push_tail(&end->out, packet);
    end->out_bytes += bytes ? bytes->len : 0;
    end->sent_bytes += bytes ? bytes->len : 0;
}

static void close_end(struct net *net, struct wire *wire, unsigned side, enum packet_kind kind)
{
    struct end *end = &wire->ends[side];

    if (!end->is_closed) {
        end->is_closed = true;
        push(net, wire, side, kind, NULL);
    }
}

/* What the process wrote goes to the kernel. */
static void pump(struct net *net, struct wire *wire, unsigned side)
{
    struct end *end = &wire->ends[side];

    if (!end->stream) {
        return;
    }
    if (end->out_bytes < WINDOW_BYTES && stream_pending_bytes(end->stream) > 0 && !end->is_closed) {
        GByteArray *bytes = g_byte_array_new();
        virtual_stream_receive(end->stream, bytes, WINDOW_BYTES - end->out_bytes);
        push(net, wire, side, PACKET_BYTES, bytes);
    }
    if (virtual_stream_is_ended(end->stream)) {
        close_end(net, wire, side, PACKET_FIN);
        virtual_stream_release(g_steal_pointer(&end->stream));
    }
}

static struct packet *first_under_way(const struct end *end)
{
    for (GList *link = end->out.head; link; link = link->next) {
        struct packet *packet = link->data;
        if (!packet->has_arrived) {
            return packet;
        }
    }
    return NULL;
}

/* What has not arrived for too long: this side gives up, and tells nobody. */
static void look_at_silence(struct net *net, struct wire *wire, unsigned side)
{
    struct end *end = &wire->ends[side];
    const struct packet *head = g_queue_peek_head(&end->out);
    const struct end *peer = &wire->ends[!side];
    bool is_lost = net->cut[end->box][peer->box] || !net->boxes[peer->box].has_power;

    if (!head || !is_lost || net->now_ms < head->sent_ms + SILENCE_MS) {
        return;
    }
    g_queue_clear_full(&end->out, packet_free);
    end->out_bytes = 0;
    end->is_closed = true;
    if (end->stream) {
        virtual_stream_fail(end->stream, -ETIMEDOUT);
        if (net->boxes[end->box].is_awake) {
            virtual_stream_deliver(end->stream, SIZE_MAX);
            virtual_loop_end_turn(net->boxes[end->box].loop);
        }
    }
}

/* The kernel of the other box takes what is due. */
static void carry(struct net *net, const struct wire *wire, struct end *end)
{
    unsigned to = wire->ends[end == &wire->ends[0]].box;
    struct packet *packet;

    while ((packet = first_under_way(end)) != NULL && packet->due_ms <= net->now_ms &&
           !net->cut[end->box][to] && net->boxes[to].has_power) {
        packet->has_arrived = true;
        end->arrived_bytes += packet->bytes ? packet->bytes->len : 0;
    }
    if (end->stream) {
        virtual_stream_set_progress(end->stream, end->sent_bytes, end->arrived_bytes);
    }
}

/* And hands it to the process. */
static void arrive(struct net *net, struct wire *wire, unsigned side, struct packet *packet)
{
    struct end *peer = &wire->ends[!side];

    if (!peer->stream || peer->is_closed) { /* nobody has it open there */
        if (packet->kind == PACKET_BYTES && !g_queue_peek_head(&peer->out)) {
            push(net, wire, !side, PACKET_RST, NULL);
        }
        return;
    }
    if (packet->bytes) { /* of PACKET_BYTES */
        virtual_stream_send(peer->stream, packet->bytes->data, packet->bytes->len);
    } else if (packet->kind == PACKET_FIN) {
        virtual_stream_finish(peer->stream);
    } else {
        virtual_stream_cut(peer->stream);
    }
    while (virtual_stream_deliver(peer->stream, SIZE_MAX)) {
    }
    virtual_loop_end_turn(net->boxes[peer->box].loop);
}

static void deliver(struct net *net, struct wire *wire, unsigned side)
{
    struct end *end = &wire->ends[side], *peer = &wire->ends[!side];
    const struct net_box *box = &net->boxes[peer->box];
    struct packet *packet;

    carry(net, wire, end);
    while ((packet = g_queue_peek_head(&end->out)) != NULL && packet->due_ms <= net->now_ms &&
           !net->cut[end->box][peer->box] && box->has_power && !peer->is_guarded &&
           (!peer->stream || box->is_awake)) {
        g_queue_pop_head(&end->out);
        end->out_bytes -= packet->bytes ? packet->bytes->len : 0;
        net->moved += packet->bytes ? packet->bytes->len : 0;
        arrive(net, wire, side, packet);
        packet_free(packet);
    }
}

static bool is_over(const struct wire *wire)
{
    for (unsigned side = 0; side < 2; side++) {
        const struct end *end = &wire->ends[side];
        if (end->stream || end->is_guarded || !g_queue_is_empty((GQueue *)&end->out)) {
            return false;
        }
    }
    return true;
}

static void wire_free(void *memory)
{
    struct wire *wire = memory;

    for (unsigned side = 0; side < 2; side++) {
        assert(!wire->ends[side].stream);
        g_queue_clear_full(&wire->ends[side].out, packet_free);
    }
    g_free(wire);
}

/* ---- connecting ---- */

struct connector {
    unsigned from, to;
    uint64_t due_ms, deadline_ms; /* due 0: it was told */
    void (*on_done)(void *owner, struct stream *stream, const char *error);
    void *owner;
};

static unsigned box_of(const struct net *net, const struct loop *loop)
{
    unsigned box = 0;

    while (box < net->count && net->boxes[box].loop != loop) {
        box++;
    }
    return box;
}

struct connector *
connector_new(struct loop *loop, const char *host, uint16_t port, struct tls_context *tls,
              uint64_t timeout_ms,
              void (*on_done)(void *owner, struct stream *stream, const char *error), void *owner)
{
    struct connector *connector = g_new0(struct connector, 1);

    connector->from = box_of(world, loop);
    connector->to = (unsigned)atoi(host + strlen("box-")) - 1;
    connector->on_done = on_done;
    connector->owner = owner;
    connector->due_ms = world->now_ms + 2;
    connector->deadline_ms = world->now_ms + timeout_ms;
    g_ptr_array_add(world->connectors, connector);
    return connector;
}

void connector_free(struct connector *connector)
{
    if (connector) {
        g_ptr_array_remove(world->connectors, connector);
        g_free(connector);
    }
}

static struct stream *open_end(struct net *net, struct wire *wire, unsigned side, unsigned box,
                               char common_name[20])
{
    struct stream_peer peer = {
        .kind = STREAM_TLS, .address = "192.0.2.1", .certificate_cn = common_name};
    struct end *end = &wire->ends[side];

    *end = (struct end){.box = box, .number = ++net->next_number};
    g_queue_init(&end->out);
    end->stream = virtual_stream_new(net->boxes[box].loop, &net->moved);
    virtual_stream_set_descriptor(end->stream, end->number);
    virtual_stream_set_peer(end->stream, &peer);
    return end->stream;
}

static void connect_both(struct net *net, const struct connector *connector)
{
    static char names[NET_BOXES_MAX][20]; /* the same at all times */
    unsigned from = connector->from, to = connector->to;
    struct wire *wire = g_new0(struct wire, 1);
    void (*on_done)(void *owner, struct stream *stream, const char *error) = connector->on_done;

    g_snprintf(names[from], sizeof names[from], "%016x", from + 1);
    g_snprintf(names[to], sizeof names[to], "%016x", to + 1);
    void *owner = connector->owner;
    struct stream *ours = open_end(net, wire, 0, from, names[to]);
    struct stream *theirs = open_end(net, wire, 1, to, names[from]);
    g_ptr_array_add(net->wires, wire);
    virtual_loop_enter(net->boxes[to].loop);
    net->calls->on_link(net->owner, to, from, theirs);
    virtual_loop_end_turn(net->boxes[to].loop);
    virtual_loop_enter(net->boxes[from].loop);
    on_done(owner, ours, NULL);
    virtual_loop_end_turn(net->boxes[from].loop);
}

static void fail(struct net *net, const struct connector *connector, const char *error)
{
    struct loop *loop = net->boxes[connector->from].loop;

    virtual_loop_enter(loop);
    connector->on_done(connector->owner, NULL, error);
    virtual_loop_end_turn(loop);
}

/* Whether something came of it: then the others may have changed. */
static bool try_connector(struct net *net, struct connector *connector)
{
    const struct net_box *to = &net->boxes[connector->to];
    bool is_there = net_is_reachable(net, connector->from, connector->to) && to->has_power;

    if (connector->due_ms == 0 || net->now_ms < connector->due_ms ||
        !net->boxes[connector->from].is_awake) {
        return false;
    }
    bool is_through = is_there && to->is_awake && to->loop;
    bool is_refused = is_there && !to->loop;
    if (!is_through && !is_refused && net->now_ms < connector->deadline_ms) {
        return false;
    }
    connector->due_ms = 0;
    if (is_through) { /* its owner frees it */
        connect_both(net, connector);
    } else {
        fail(net, connector, is_refused ? "connection refused" : "timed out");
    }
    return true;
}

static void try_connectors(struct net *net)
{
    for (guint i = 0; i < net->connectors->len;) {
        i = try_connector(net, net->connectors->pdata[i]) ? 0 : i + 1;
    }
}

/* ---- faults ---- */

bool net_is_reachable(const struct net *net, unsigned a, unsigned b)
{
    return !net->cut[a][b] && !net->cut[b][a];
}

void net_cut(struct net *net, unsigned from, unsigned to)
{
    net->cut[from][to] = true;
}

/* TCP sends again what is under way; libraft's connections may have been given up. */
void net_heal(struct net *net, unsigned from, unsigned to)
{
    uint64_t again_ms = net->now_ms + (uint64_t)g_rand_int_range(net->random, 0, RESEND_MS);

    if (!net->cut[from][to]) {
        return;
    }
    net->cut[from][to] = false;
    if (g_rand_int_range(net->random, 0, 2)) {
        g_queue_clear_full(&net->mail[from][to], on_drop_mail);
    }
    for (GList *link = net->mail[from][to].head; link; link = link->next) {
        ((struct mail *)link->data)->due_ms = MAX(((struct mail *)link->data)->due_ms, again_ms);
    }
    for (guint i = 0; i < net->wires->len; i++) {
        struct wire *wire = net->wires->pdata[i];
        for (unsigned side = 0; side < 2; side++) {
            bool is_meant = wire->ends[side].box == from && wire->ends[!side].box == to;
            for (GList *link = is_meant ? wire->ends[side].out.head : NULL; link;
                 link = link->next) {
                ((struct packet *)link->data)->due_ms =
                    MAX(((struct packet *)link->data)->due_ms, again_ms);
            }
        }
    }
}

void net_end_process(struct net *net, unsigned box, bool (*is_guarded)(void *owner, int number),
                     void *owner)
{
    for (guint i = 0; i < net->wires->len; i++) {
        struct wire *wire = net->wires->pdata[i];
        for (unsigned side = 0; side < 2; side++) {
            struct end *end = &wire->ends[side];
            if (end->box != box || !end->stream) {
                continue;
            }
            pump(net, wire, side);
            if (!end->stream) {
                continue;
            }
            virtual_stream_release(g_steal_pointer(&end->stream));
            end->is_guarded = !end->is_closed && is_guarded(owner, end->number);
            if (!end->is_guarded) {
                close_end(net, wire, side, PACKET_FIN);
            }
        }
    }
}

void net_release(struct net *net, int number)
{
    for (guint i = 0; i < net->wires->len; i++) {
        struct wire *wire = net->wires->pdata[i];
        for (unsigned side = 0; side < 2; side++) {
            struct end *end = &wire->ends[side];
            if (end->number == number && end->is_guarded) {
                end->is_guarded = false;
                close_end(net, wire, side, PACKET_FIN);
            }
        }
    }
}

void net_lose_power(struct net *net, unsigned box)
{
    for (guint i = 0; i < net->wires->len; i++) {
        struct wire *wire = net->wires->pdata[i];
        for (unsigned side = 0; side < 2; side++) {
            struct end *end = &wire->ends[side];
            if (end->box == box) {
                end->is_guarded = false;
                end->is_closed = true;
                g_queue_clear_full(&end->out, packet_free);
                end->out_bytes = 0;
            }
        }
    }
}

/* ---- time ---- */

uint64_t net_now_ms(const struct net *net)
{
    return net->now_ms;
}

uint64_t net_clock_ms(const struct net *net, unsigned box)
{
    return loop_now_ms(net->boxes[box].loop);
}

void net_turn(struct net *net)
{
    for (unsigned from = 0; from < net->count; from++) {
        for (unsigned to = 0; to < net->count; to++) {
            deliver_mail(net, from, to);
        }
    }
    for (guint i = 0; i < net->wires->len; i++) {
        struct wire *wire = net->wires->pdata[i];
        for (unsigned side = 0; side < 2; side++) {
            pump(net, wire, side);
            look_at_silence(net, wire, side);
            deliver(net, wire, side);
        }
    }
    for (guint i = net->wires->len; i-- > 0;) {
        if (is_over(net->wires->pdata[i])) {
            g_ptr_array_remove_index_fast(net->wires, i);
        }
    }
    try_connectors(net);
}

uint64_t net_next_ms(const struct net *net)
{
    uint64_t next_ms = UINT64_MAX;

    for (unsigned from = 0; from < net->count; from++) {
        for (unsigned to = 0; to < net->count; to++) {
            const struct mail *mail = g_queue_peek_head((GQueue *)&net->mail[from][to]);
            next_ms = mail ? MIN(next_ms, mail->due_ms) : next_ms;
        }
    }
    for (guint i = 0; i < net->wires->len; i++) {
        struct wire *wire = net->wires->pdata[i];
        for (unsigned side = 0; side < 2; side++) {
            const struct packet *packet = g_queue_peek_head(&wire->ends[side].out);
            bool is_waiting =
                wire->ends[side].stream && (stream_pending_bytes(wire->ends[side].stream) > 0 ||
                                            virtual_stream_is_ended(wire->ends[side].stream));
            next_ms = packet ? MIN(next_ms, packet->due_ms) : next_ms;
            next_ms = is_waiting ? 0 : next_ms;
        }
    }
    for (guint i = 0; i < net->connectors->len; i++) {
        const struct connector *connector = net->connectors->pdata[i];
        next_ms = connector->due_ms ? MIN(next_ms, connector->due_ms) : next_ms;
    }
    return next_ms;
}

/* leadership.c asks it how long ago the loop's turn began: just now. */
uint64_t uv_hrtime(void)
{
    for (unsigned box = 0; world && box < world->count; box++) {
        if (world->boxes[box].loop && virtual_loop_is_entered(world->boxes[box].loop)) {
            return loop_now_ms(world->boxes[box].loop) * 1000000;
        }
    }
    return 0;
}

/* ---- life ---- */

void net_init(struct net *net, GRand *random, unsigned count)
{
    *net = (struct net){.random = random, .count = count};
    net->wires = g_ptr_array_new_with_free_func(wire_free);
    net->connectors = g_ptr_array_new();
    for (unsigned from = 0; from < count; from++) {
        for (unsigned to = 0; to < count; to++) {
            g_queue_init(&net->mail[from][to]);
        }
    }
    world = net;
}

void net_deinit(struct net *net)
{
    for (unsigned from = 0; from < net->count; from++) {
        for (unsigned to = 0; to < net->count; to++) {
            g_queue_clear_full(&net->mail[from][to], on_drop_mail);
        }
    }
    g_ptr_array_unref(net->wires);
    g_ptr_array_unref(net->connectors);
    world = NULL;
}

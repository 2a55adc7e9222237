/* See client_exchange.h. One that connects is told at once; all of them are told when a link comes
 * up, from the kernel's list of sockets. */
#include "ingress/client_exchange.h"
#include "ingress/clients.h"
#include "ingress/ingress.h"
#include "ingress/sockets.h"
#include "loop/loop.h"
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define FULL_CLIENTS_MAX  6000
#define ADDED_CLIENTS_MAX 4096 /* then all are told anew */

/* A tickle is lost as any packet: it is sent again, as announcements are. Linux answers only one in
 * half a second (tcp_invalid_ratelimit). Who has come back meanwhile has another port. */
static const uint64_t again_after_ms[] = {20, 60, 520, 1000};

struct client_exchange {
    struct client_exchange_options options;
    struct clients *table; /* of all nodes, owned */
    struct timer *again;
    uint32_t added;
    unsigned tickled; /* times since an address was taken */
};

/* ---- telling ---- */

struct telling {
    const struct client_exchange_options *options;
    GByteArray *bytes; /* a frame that is being filled */
    unsigned count;
    uint64_t node_id; /* 0 = all */
};

static void send_frame(const struct telling *telling, struct bytes frame)
{
    telling->options->send(telling->options->owner, telling->node_id, frame);
}

static void begin_frame(struct telling *telling)
{
    uint8_t kind = CLIENT_EXCHANGE_CLIENTS;

    g_byte_array_set_size(telling->bytes, 0);
    g_byte_array_append(telling->bytes, &kind, 1);
}

static void flush_frame(struct telling *telling)
{
    if (telling->bytes->len > 1) {
        send_frame(telling, (struct bytes){telling->bytes->data, telling->bytes->len});
    }
    begin_frame(telling);
}

static void tell_client(void *owner, const struct ingress_client *client)
{
    struct telling *telling = owner;

    if (telling->count >= FULL_CLIENTS_MAX) {
        return;
    }
    telling->count++;
    g_byte_array_set_size(telling->bytes, telling->bytes->len + CLIENT_BYTES);
    clients_encode(telling->bytes->data + telling->bytes->len - CLIENT_BYTES, client);
    if (telling->bytes->len >= 1 + CLIENTS_PER_FRAME_MAX * CLIENT_BYTES) {
        flush_frame(telling);
    }
}

/* Held or not: those who came by an address that has gone on are to be tickled by its next holder,
 * which may hear of them only now. */
static void tell_clients_of(void *owner, const struct ingress_status *status)
{
    sockets_for_each(status->address, status->is_ipv6, tell_client, owner);
}

void client_exchange_tell(struct client_exchange *exchange, uint64_t node_id)
{
    const struct client_exchange_options *options = &exchange->options;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    struct telling telling = {options, bytes, 0, node_id};
    uint8_t forget = CLIENT_EXCHANGE_FORGET;

    send_frame(&telling, (struct bytes){&forget, sizeof forget});
    begin_frame(&telling);
    ingress_for_each(options->ingress, tell_clients_of, &telling);
    flush_frame(&telling);
    exchange->added = 0;
}

/* ---- one more ---- */

static bool fill_from(struct ingress_client *client, int fd)
{
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    const struct sockaddr_in *own4 = (const struct sockaddr_in *)&own;
    const struct sockaddr_in *peer4 = (const struct sockaddr_in *)&peer;
    const struct sockaddr_in6 *own6 = (const struct sockaddr_in6 *)&own;
    const struct sockaddr_in6 *peer6 = (const struct sockaddr_in6 *)&peer;

    *client = (struct ingress_client){0};
    if (getsockname(fd, (struct sockaddr *)&own, &own_length) < 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_length) < 0 ||
        (own.ss_family != AF_INET && own.ss_family != AF_INET6)) {
        return false;
    }
    client->is_ipv6 = own.ss_family == AF_INET6;
    client->port = ntohs(client->is_ipv6 ? own6->sin6_port : own4->sin_port);
    client->peer_port = ntohs(client->is_ipv6 ? peer6->sin6_port : peer4->sin_port);
    memcpy(client->vip, client->is_ipv6 ? (const void *)&own6->sin6_addr : &own4->sin_addr,
           client->is_ipv6 ? 16 : 4);
    memcpy(client->peer, client->is_ipv6 ? (const void *)&peer6->sin6_addr : &peer4->sin_addr,
           client->is_ipv6 ? 16 : 4);
    return true;
}

void client_exchange_accepted(struct client_exchange *exchange, int fd)
{
    const struct client_exchange_options *options = &exchange->options;
    uint8_t frame[1 + CLIENT_BYTES] = {CLIENT_EXCHANGE_CLIENTS};
    struct ingress_client client;

    if (fd < 0 || !ingress_holds_any(options->ingress) || !fill_from(&client, fd) ||
        !ingress_has(options->ingress, client.vip, client.is_ipv6)) {
        return;
    }
    if (++exchange->added > ADDED_CLIENTS_MAX) {
        client_exchange_tell(exchange, 0);
        return;
    }
    clients_encode(frame + 1, &client);
    options->send(options->owner, 0, (struct bytes){frame, sizeof frame});
}

/* ---- those of other nodes ---- */

void client_exchange_on_frame(struct client_exchange *exchange, uint64_t node_id, uint8_t kind,
                              struct bytes body)
{
    if (kind == CLIENT_EXCHANGE_FORGET) {
        clients_forget(exchange->table, node_id);
        return;
    }
    for (size_t at = 0; kind == CLIENT_EXCHANGE_CLIENTS && at + CLIENT_BYTES <= body.length;
         at += CLIENT_BYTES) {
        struct ingress_client client;
        clients_decode(body.at + at, &client);
        clients_add(exchange->table, node_id, &client);
    }
}

static void tickle(void *owner, const struct ingress_client *client)
{
    const struct client_exchange *exchange = owner;

    ingress_tickle(exchange->options.ingress, client);
}

static void tickle_those_of(void *owner, const struct ingress_status *status)
{
    struct client_exchange *exchange = owner;

    if (status->is_held) {
        clients_for_each(exchange->table, status->address, status->is_ipv6,
                         exchange->options.own_id, tickle, exchange);
    }
}

static void tickle_all(void *owner)
{
    struct client_exchange *exchange = owner;

    ingress_for_each(exchange->options.ingress, tickle_those_of, exchange);
    if (exchange->tickled < G_N_ELEMENTS(again_after_ms)) {
        timer_start(exchange->again, again_after_ms[exchange->tickled++]);
    }
}

void client_exchange_held(struct client_exchange *exchange)
{
    exchange->tickled = 0;
    tickle_all(exchange);
    client_exchange_tell(exchange, 0); /* whoever came in before the keeper told us */
}

/* ---- life ---- */

struct client_exchange *client_exchange_new(const struct client_exchange_options *options)
{
    struct client_exchange *exchange = g_new0(struct client_exchange, 1);

    exchange->options = *options;
    exchange->table = clients_new();
    exchange->again = timer_new(options->loop, tickle_all, exchange);
    return exchange;
}

void client_exchange_free(struct client_exchange *exchange)
{
    timer_free(exchange->again);
    clients_free(exchange->table);
    g_free(exchange);
}

/* See responder.h. Answers to all wait a moment (20 to 120 ms by RFC 6762 6), so that many askers
 * cost one; those to a single asker go at once. Changes of addresses are told by rtnetlink. */
#include "discovery/responder.h"
#include "discovery/multicast.h"
#include "loop/loop.h"
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#define TTL_S              4500 /* RFC 6762 10 */
#define ANSWER_MS          20
#define ANSWER_SPREAD_MS   100
#define ANNOUNCE_AGAIN_MS  1000
#define ADDRESSES_REST_MS  500
#define NETLINK_READS_MOST 64

struct responder {
    struct multicast multicast; /* first: on_message is given it */
    const struct service *service;
    struct timer *answer;   /* runs while an answer to all is due */
    struct timer *announce; /* the second announcement */
    struct timer *refresh;  /* addresses changed a moment ago */
    struct watch addresses;
    GByteArray *out;
};

static void tell(struct responder *responder, const struct multicast_interface *interface,
                 struct service_place place, const struct sockaddr_in *to)
{
    place.v4 = interface->v4.s_addr;
    place.v6 = IN6_IS_ADDR_UNSPECIFIED(&interface->v6) ? NULL : &interface->v6;
    service_write_answer(responder->out, responder->service, &place);
    struct bytes message = {responder->out->data, responder->out->len};
    if (to) {
        multicast_send_to(&responder->multicast, interface, to, message);
    } else {
        multicast_send(&responder->multicast, interface, message);
    }
}

static void tell_all(struct responder *responder, uint32_t ttl_s)
{
    const GArray *interfaces = responder->multicast.interfaces;

    for (guint i = 0; i < interfaces->len; i++) {
        tell(responder, &g_array_index(interfaces, struct multicast_interface, i),
             (struct service_place){.ttl_s = ttl_s}, NULL);
    }
}

static void on_answer(void *owner)
{
    tell_all(owner, TTL_S);
}

static void on_message(struct multicast *multicast, struct bytes message,
                       const struct sockaddr_in *from, const struct multicast_interface *interface)
{
    struct responder *responder = (struct responder *)multicast;
    uint16_t id;

    if (!interface || !service_is_asked(message, responder->service->name, &id)) {
        return;
    }
    if (ntohs(from->sin_port) != MULTICAST_PORT) {
        tell(responder, interface,
             (struct service_place){.is_legacy = true, .id = id, .ttl_s = TTL_S}, from);
    } else if (!timer_is_active(responder->answer)) {
        timer_start(responder->answer, ANSWER_MS + g_random_int() % ANSWER_SPREAD_MS);
    }
}

/* ---- addresses that come and go ---- */

static void on_refresh(void *owner)
{
    struct responder *responder = owner;

    multicast_refresh(&responder->multicast);
    tell_all(responder, TTL_S);
    timer_start(responder->announce, ANNOUNCE_AGAIN_MS);
}

static void on_addresses(struct watch *watch, unsigned events)
{
    struct responder *responder =
        (struct responder *)((char *)watch - offsetof(struct responder, addresses));
    char ignored[4096];

    for (int i = 0; i < NETLINK_READS_MOST; i++) {
        if (recv(watch->fd, ignored, sizeof ignored, MSG_DONTWAIT) < 0 && errno != ENOBUFS) {
            break;
        }
    }
    timer_start(responder->refresh, ADDRESSES_REST_MS);
}

static int watch_addresses(struct responder *responder)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                  .nl_groups =
                                      RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

    watch_init(&responder->addresses, fd, on_addresses);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        return -errno;
    }
    return watch_set(responder->multicast.loop, &responder->addresses, WATCH_READABLE);
}

/* ---- life ---- */

struct responder *responder_new(struct loop *loop, const struct service *service, int *error)
{
    struct responder *responder = g_new0(struct responder, 1);

    responder->service = service;
    responder->multicast.on_message = on_message;
    responder->out = g_byte_array_new();
    *error = multicast_open(&responder->multicast, loop, MULTICAST_PORT);
    if (*error < 0) {
        g_byte_array_unref(responder->out);
        g_free(responder);
        return NULL;
    }
    responder->answer = timer_new(loop, on_answer, responder);
    responder->announce = timer_new(loop, on_answer, responder);
    responder->refresh = timer_new(loop, on_refresh, responder);
    *error = watch_addresses(responder);
    if (*error < 0) {
        responder_free(responder);
        return NULL;
    }
    tell_all(responder, TTL_S);
    timer_start(responder->announce, ANNOUNCE_AGAIN_MS);
    return responder;
}

void responder_free(struct responder *responder)
{
    if (!responder) {
        return;
    }
    tell_all(responder, 0);
    watch_set(responder->multicast.loop, &responder->addresses, 0);
    if (responder->addresses.fd >= 0) {
        close(responder->addresses.fd);
    }
    timer_free(responder->answer);
    timer_free(responder->announce);
    timer_free(responder->refresh);
    multicast_close(&responder->multicast);
    g_byte_array_unref(responder->out);
    g_free(responder);
}

/* See multicast.h. The interface of each datagram is told and chosen by IP_PKTINFO; the time to
 * live is 255 (RFC 6762 11). */
#include "discovery/multicast.h"
#include "discovery/dns.h"
#include "loop/loop.h"
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROUP          0xe00000fbu /* 224.0.0.251 */
#define READS_PER_TURN 16

/* ---- interfaces ---- */

static struct multicast_interface *find(GArray *interfaces, int index)
{
    for (guint i = 0; i < interfaces->len; i++) {
        struct multicast_interface *interface =
            &g_array_index(interfaces, struct multicast_interface, i);
        if (interface->index == index) {
            return interface;
        }
    }
    return NULL;
}

static void note_address(GArray *interfaces, const struct ifaddrs *item)
{
    unsigned wanted = IFF_UP | IFF_RUNNING | IFF_MULTICAST;
    bool is_lan = (item->ifa_flags & wanted) == wanted &&
                  !(item->ifa_flags & (IFF_LOOPBACK | IFF_POINTOPOINT));
    int index = (int)if_nametoindex(item->ifa_name);

    if (!item->ifa_addr || !is_lan || index == 0) {
        return;
    }
    struct multicast_interface *interface = find(interfaces, index);
    if (!interface) {
        struct multicast_interface added = {.index = index};
        g_array_append_val(interfaces, added);
        interface = find(interfaces, index);
    }
    if (item->ifa_addr->sa_family == AF_INET && interface->v4.s_addr == 0) {
        memcpy(&interface->v4,
               (const char *)item->ifa_addr + offsetof(struct sockaddr_in, sin_addr),
               sizeof interface->v4);
    } else if (item->ifa_addr->sa_family == AF_INET6) {
        memcpy(&interface->v6,
               (const char *)item->ifa_addr + offsetof(struct sockaddr_in6, sin6_addr),
               sizeof interface->v6);
    }
}

static void join(struct multicast *multicast, int index, int option)
{
    struct ip_mreqn group = {.imr_multiaddr.s_addr = htonl(GROUP), .imr_ifindex = index};

    setsockopt(multicast->watch.fd, IPPROTO_IP, option, &group, sizeof group);
}

void multicast_refresh(struct multicast *multicast)
{
    g_autoptr(GArray) before = multicast->interfaces;
    struct ifaddrs *all = NULL;

    multicast->interfaces = g_array_new(FALSE, TRUE, sizeof(struct multicast_interface));
    if (getifaddrs(&all) == 0) {
        for (const struct ifaddrs *item = all; item; item = item->ifa_next) {
            note_address(multicast->interfaces, item);
        }
        freeifaddrs(all);
    }
    for (guint i = multicast->interfaces->len; i-- > 0;) {
        struct multicast_interface *interface =
            &g_array_index(multicast->interfaces, struct multicast_interface, i);
        if (interface->v4.s_addr == 0) {
            g_array_remove_index_fast(multicast->interfaces, i);
        } else {
            /* One that has gone and come back must be joined anew: joining twice does no harm. */
            join(multicast, interface->index, IP_ADD_MEMBERSHIP);
        }
    }
    for (guint i = 0; before && i < before->len; i++) {
        int index = g_array_index(before, struct multicast_interface, i).index;
        if (!find(multicast->interfaces, index)) {
            join(multicast, index, IP_DROP_MEMBERSHIP);
        }
    }
}

/* ---- datagrams ---- */

static int interface_of(struct msghdr *message)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item; item = CMSG_NXTHDR(message, item)) {
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(item), sizeof info);
            return info.ipi_ifindex;
        }
    }
    return 0;
}

static void on_readable(struct watch *watch, unsigned events)
{
    struct multicast *multicast =
        (struct multicast *)((char *)watch - offsetof(struct multicast, watch));
    uint8_t buffer[DNS_MESSAGE_BYTES_MAX] = {0};
    char control[CMSG_SPACE(sizeof(struct in_pktinfo))];

    for (int i = 0; i < READS_PER_TURN && watch->events != 0; i++) {
        struct sockaddr_in from = {0};
        struct iovec piece = {buffer, sizeof buffer};
        struct msghdr message = {.msg_name = &from,
                                 .msg_namelen = sizeof from,
                                 .msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control};
        ssize_t length = recvmsg(watch->fd, &message, MSG_DONTWAIT);
        if (length < 0) {
            return;
        }
        multicast->on_message(multicast, (struct bytes){buffer, (size_t)length}, &from,
                              find(multicast->interfaces, interface_of(&message)));
    }
}

void multicast_send_to(struct multicast *multicast, const struct multicast_interface *interface,
                       const struct sockaddr_in *to, struct bytes bytes)
{
    struct in_pktinfo info = {.ipi_ifindex = interface->index, .ipi_spec_dst = interface->v4};
    struct iovec piece = {(void *)bytes.at, bytes.length};
    char control[CMSG_SPACE(sizeof info)] = {0};
    struct sockaddr_in address = *to;
    struct msghdr message = {.msg_name = &address,
                             .msg_namelen = sizeof address,
                             .msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);

    item->cmsg_level = IPPROTO_IP;
    item->cmsg_type = IP_PKTINFO;
    item->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(item), &info, sizeof info);
    sendmsg(multicast->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void multicast_send(struct multicast *multicast, const struct multicast_interface *interface,
                    struct bytes message)
{
    struct sockaddr_in group = {
        .sin_family = AF_INET, .sin_port = htons(MULTICAST_PORT), .sin_addr.s_addr = htonl(GROUP)};

    multicast_send_to(multicast, interface, &group, message);
}

/* ---- life ---- */

/* Of a shared port only what is sent to the group: the kernel gives that to everyone who has the
 * port, but what is sent to this machine alone to one of them, and it may be an answer to Avahi
 * (RFC 6762 15.1). */
static int set_up(int fd, uint16_t port)
{
    int on = 1, ttl = 255;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(port != 0 ? GROUP : INADDR_ANY)};

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (port != 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        return -errno;
    }
    return 0;
}

int multicast_open(struct multicast *multicast, struct loop *loop, uint16_t port)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : set_up(fd, port);

    multicast->loop = loop;
    multicast->interfaces = NULL;
    watch_init(&multicast->watch, fd, on_readable);
    r = r < 0 ? r : watch_set(loop, &multicast->watch, WATCH_READABLE);
    if (r < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return r;
    }
    multicast_refresh(multicast);
    return 0;
}

void multicast_close(struct multicast *multicast)
{
    watch_set(multicast->loop, &multicast->watch, 0);
    close(multicast->watch.fd);
    g_array_unref(multicast->interfaces);
}

/* See address.h. rtnetlink, one request and its answer at a time. */
#include "keeper/address.h"
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUN_NAME     "mcvip%d"
#define MARK         0x6d /* IFA_PROTO: who put it there */
#define ANSWER_BYTES 16384
#define LEFT_MAX     64
#define LOCAL_MS_MAX 20
#define TUN_FD_LEAST 600 /* more than all guards and the rest */

void addresses_init(struct addresses *addresses)
{
    *addresses = (struct addresses){.tun_fd = -1, .netlink_fd = -1};
}

void addresses_deinit(struct addresses *addresses)
{
    if (addresses->tun_fd >= 0) {
        close(addresses->tun_fd);
    }
    if (addresses->netlink_fd >= 0) {
        close(addresses->netlink_fd);
    }
    addresses_init(addresses);
}

/* ---- rtnetlink ---- */

static int open_netlink(struct addresses *addresses)
{
    if (addresses->netlink_fd < 0) {
        addresses->netlink_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    }
    return addresses->netlink_fd < 0 ? -errno : 0;
}

/* Sends it and hands each message of the answer to `fn`. 0, or a negative errno. */
static int ask(struct addresses *addresses, struct nlmsghdr *request, mnl_cb_t fn, void *owner)
{
    uint8_t answer[ANSWER_BYTES];
    int r = open_netlink(addresses);

    request->nlmsg_seq = ++addresses->sequence;
    if (r < 0) {
        return r;
    }
    if (send(addresses->netlink_fd, request, request->nlmsg_len, 0) < 0) {
        return -errno;
    }
    do {
        ssize_t length = recv(addresses->netlink_fd, answer, sizeof answer, 0);
        if (length < 0) {
            return -errno;
        }
        r = mnl_cb_run(answer, (size_t)length, request->nlmsg_seq, 0, fn, owner);
    } while (r > MNL_CB_STOP);
    return r < 0 ? -errno : 0;
}

static struct ifaddrmsg *begin(uint8_t *buffer, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

    request->nlmsg_type = type;
    request->nlmsg_flags = NLM_F_REQUEST | flags;
    return mnl_nlmsg_put_extra_header(request, sizeof(struct ifaddrmsg));
}

static void describe(uint8_t *buffer, struct ifaddrmsg *message,
                     const struct keeper_address *address, unsigned index)
{
    struct nlmsghdr *request = (struct nlmsghdr *)buffer;
    size_t length = address->is_ipv6 ? 16 : 4;

    message->ifa_family = address->is_ipv6 ? AF_INET6 : AF_INET;
    message->ifa_prefixlen = address->is_ipv6 ? 128 : 32;
    message->ifa_scope = RT_SCOPE_UNIVERSE;
    message->ifa_index = index;
    mnl_attr_put(request, IFA_LOCAL, length, address->bytes);
    mnl_attr_put(request, IFA_ADDRESS, length, address->bytes);
}

/* ---- the device ---- */

static int set_up(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_NOARP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(request.ifr_name, name, sizeof request.ifr_name);
    int r = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return r;
}

/* The kernel lets go of a dead process's files from the highest number to the lowest: the device,
 * and the address with it, before the links, whose end tells others that the address is free. */
static int open_highest(const char *path, int flags)
{
    int low = open(path, flags);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, TUN_FD_LEAST);
    int r = fd < 0 ? -errno : fd;

    if (low >= 0) {
        close(low);
    }
    return r;
}

static int open_tun(struct addresses *addresses)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = TUN_NAME};

    if (addresses->tun_fd >= 0) {
        return 0;
    }
    addresses->tun_fd = open_highest("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (addresses->tun_fd < 0) {
        int r = addresses->tun_fd;
        addresses->tun_fd = -1;
        return r;
    }
    int r = ioctl(addresses->tun_fd, TUNSETIFF, &request) < 0 ? -errno : set_up(request.ifr_name);
    addresses->tun_index = r == 0 ? if_nametoindex(request.ifr_name) : 0;
    if (r < 0) {
        close(addresses->tun_fd);
        addresses->tun_fd = -1;
    }
    return r;
}

/* ---- addresses ---- */

static int note_type(const struct nlmsghdr *answer, void *owner)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(answer);
    bool *is_local = owner;

    *is_local = route->rtm_type == RTN_LOCAL;
    return MNL_CB_STOP;
}

static bool is_local(struct addresses *addresses, const struct keeper_address *address)
{
    uint8_t buffer[256];
    struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
    bool is_local = false;

    request->nlmsg_type = RTM_GETROUTE;
    request->nlmsg_flags = NLM_F_REQUEST;
    struct rtmsg *message = mnl_nlmsg_put_extra_header(request, sizeof *message);
    message->rtm_family = AF_INET6;
    message->rtm_dst_len = 128;
    mnl_attr_put(request, RTA_DST, 16, address->bytes);
    return ask(addresses, request, note_type, &is_local) == 0 && is_local;
}

/* The kernel enters an IPv6 address as its own a moment after it has taken it (a work queue), and
 * drops what comes for it until then: clients answer an announcement faster. */
static void wait_until_local(struct addresses *addresses, const struct keeper_address *address)
{
    for (unsigned ms = 0; ms < LOCAL_MS_MAX && !is_local(addresses, address); ms++) {
        poll(NULL, 0, 1);
    }
}

int addresses_put(struct addresses *addresses, const struct keeper_address *address,
                  unsigned lan_index, uint32_t lifetime_s)
{
    uint8_t buffer[256];
    int r = address->is_ipv6 ? 0 : open_tun(addresses);
    if (r < 0) {
        return r;
    }
    struct ifaddrmsg *message =
        begin(buffer, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
    /* Preferred for no time in IPv6: nobody takes it for the source of new connections. */
    struct ifa_cacheinfo lifetime = {.ifa_valid = lifetime_s,
                                     .ifa_prefered = address->is_ipv6 ? 0 : lifetime_s};
    struct nlmsghdr *request = (struct nlmsghdr *)buffer;
    describe(buffer, message, address, address->is_ipv6 ? lan_index : addresses->tun_index);
    mnl_attr_put(request, IFA_CACHEINFO, sizeof lifetime, &lifetime);
    mnl_attr_put_u32(request, IFA_FLAGS,
                     IFA_F_NOPREFIXROUTE | (address->is_ipv6 ? IFA_F_NODAD : 0));
    mnl_attr_put_u8(request, IFA_PROTO, MARK);
    r = ask(addresses, request, NULL, NULL);
    if (r == 0 && address->is_ipv6) {
        wait_until_local(addresses, address);
    }
    return r;
}

int addresses_take(struct addresses *addresses, const struct keeper_address *address,
                   unsigned lan_index)
{
    uint8_t buffer[256];
    struct ifaddrmsg *message = begin(buffer, RTM_DELADDR, NLM_F_ACK);

    describe(buffer, message, address, address->is_ipv6 ? lan_index : addresses->tun_index);
    return ask(addresses, (struct nlmsghdr *)buffer, NULL, NULL);
}

/* ---- what is left of an earlier life ---- */

struct left {
    struct keeper_address addresses[LEFT_MAX];
    unsigned indexes[LEFT_MAX];
    unsigned count;
};

static int note_left(const struct nlmsghdr *answer, void *owner)
{
    const struct ifaddrmsg *message = mnl_nlmsg_get_payload(answer);
    const struct nlattr *attribute;
    struct left *left = owner;
    struct keeper_address found = {.prefix = message->ifa_prefixlen, .is_ipv6 = 1};
    bool is_ours = false;

    mnl_attr_for_each(attribute, answer, sizeof *message)
    {
        if (mnl_attr_get_type(attribute) == IFA_PROTO &&
            mnl_attr_validate(attribute, MNL_TYPE_U8) == 0) {
            is_ours = mnl_attr_get_u8(attribute) == MARK;
        } else if (mnl_attr_get_type(attribute) == IFA_ADDRESS &&
                   mnl_attr_get_payload_len(attribute) == sizeof found.bytes) {
            memcpy(found.bytes, mnl_attr_get_payload(attribute), sizeof found.bytes);
        }
    }
    if (is_ours && left->count < LEFT_MAX) {
        left->addresses[left->count] = found;
        left->indexes[left->count++] = message->ifa_index;
    }
    return MNL_CB_OK;
}

/* IPv4 needs none: the device went with whoever held it. */
int addresses_clean(struct addresses *addresses)
{
    uint8_t buffer[256];
    struct left left = {.count = 0};
    struct ifaddrmsg *message = begin(buffer, RTM_GETADDR, NLM_F_DUMP);

    message->ifa_family = AF_INET6;
    int r = ask(addresses, (struct nlmsghdr *)buffer, note_left, &left);
    for (unsigned i = 0; i < left.count; i++) {
        addresses_take(addresses, &left.addresses[i], left.indexes[i]);
    }
    return r;
}

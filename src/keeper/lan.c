/* See lan.h. The kernel filters (classic BPF): a busy LAN does not wake the keeper for the ARP of
 * others. An interface without hardware addresses (a tunnel) has nobody to ask and to tell. */
#include "keeper/lan.h"
#include "keeper/frame.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define READS_MAX 64

static const uint8_t *bytes_of(const struct sockaddr *address)
{
    return address->sa_family == AF_INET
               ? (const uint8_t *)&((const struct sockaddr_in *)address)->sin_addr
               : (const uint8_t *)&((const struct sockaddr_in6 *)address)->sin6_addr;
}

static bool is_in_network(const struct ifaddrs *entry, const struct keeper_address *address)
{
    sa_family_t family = address->is_ipv6 ? AF_INET6 : AF_INET;

    if (!entry->ifa_addr || !entry->ifa_netmask || entry->ifa_addr->sa_family != family ||
        !(entry->ifa_flags & IFF_UP) || (entry->ifa_flags & (IFF_LOOPBACK | IFF_POINTOPOINT))) {
        return false;
    }
    const uint8_t *own = bytes_of(entry->ifa_addr);
    const uint8_t *mask = bytes_of(entry->ifa_netmask);
    bool is_any = false;
    for (unsigned i = 0; i < (address->is_ipv6 ? 16 : 4); i++) {
        if ((own[i] ^ address->bytes[i]) & mask[i]) {
            return false;
        }
        is_any |= mask[i] != 0;
    }
    return is_any;
}

unsigned lan_find_interface(const struct keeper_address *address)
{
    struct ifaddrs *list;
    unsigned index = 0;

    if (address->interface[0] != '\0') {
        return if_nametoindex(address->interface);
    }
    if (getifaddrs(&list) < 0) {
        return 0;
    }
    for (const struct ifaddrs *entry = list; entry && index == 0; entry = entry->ifa_next) {
        index = is_in_network(entry, address) ? if_nametoindex(entry->ifa_name) : 0;
    }
    freeifaddrs(list);
    return index;
}

static int read_mac(struct lan *lan)
{
    struct ifreq request = {0};

    if (!if_indextoname(lan->index, request.ifr_name) ||
        ioctl(lan->fd, SIOCGIFFLAGS, &request) < 0 || !(request.ifr_flags & IFF_UP)) {
        return -ENODEV;
    }
    if (ioctl(lan->fd, SIOCGIFHWADDR, &request) < 0 ||
        request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
        return -ENODEV;
    }
    memcpy(lan->mac, request.ifr_hwaddr.sa_data, sizeof lan->mac);
    return 0;
}

#define LOAD(size, at)         BPF_STMT(BPF_LD | (size) | BPF_ABS, at)
#define IF(value, then, other) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, other)
#define TAKE_IT                BPF_STMT(BPF_RET | BPF_K, FRAME_BYTES_MAX)
#define DROP_IT                BPF_STMT(BPF_RET | BPF_K, 0)

static int attach(int fd, struct sock_filter *code, size_t count)
{
    struct sock_fprog program = {(unsigned short)count, code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0 ? -errno : 0;
}

static uint32_t word(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* ARP in which the address is that of the sender, or is asked for by somebody without one. */
static int filter_arp(int fd, const uint8_t *address)
{
    struct sock_filter code[] = {
        LOAD(BPF_W, 28), IF(word(address), 3, 0), IF(0, 0, 3),
        LOAD(BPF_W, 38), IF(word(address), 0, 1), TAKE_IT,
        DROP_IT,
    };

    return attach(fd, code, sizeof code / sizeof *code);
}

/* ICMPv6 solicitations and advertisements whose target is the address. */
static int filter_nd(int fd, const uint8_t *address)
{
    struct sock_filter code[] = {
        LOAD(BPF_B, 20),
        IF(58, 0, 11),
        LOAD(BPF_B, 54),
        IF(136, 1, 0),
        IF(135, 0, 8),
        LOAD(BPF_W, 62),
        IF(word(address), 0, 6),
        LOAD(BPF_W, 66),
        IF(word(address + 4), 0, 4),
        LOAD(BPF_W, 70),
        IF(word(address + 8), 0, 2),
        LOAD(BPF_W, 74),
        IF(word(address + 12), 1, 0),
        DROP_IT,
        TAKE_IT,
    };

    return attach(fd, code, sizeof code / sizeof *code);
}

/* Filtered before it is bound: nothing that came in between lies in it. */
static int open_socket(struct lan *lan, const struct keeper_address *address)
{
    int type = htons(address->is_ipv6 ? ETH_P_IPV6 : ETH_P_ARP);
    struct sockaddr_ll where = {.sll_family = AF_PACKET,
                                .sll_protocol = (unsigned short)type,
                                .sll_ifindex = (int)lan->index};

    int r =
        address->is_ipv6 ? filter_nd(lan->fd, address->bytes) : filter_arp(lan->fd, address->bytes);
    if (r == 0 && bind(lan->fd, (struct sockaddr *)&where, sizeof where) < 0) {
        r = -errno;
    }
    return r;
}

int lan_open(struct lan *lan, const struct keeper_address *address)
{
    *lan = (struct lan){.fd = -1, .index = lan_find_interface(address)};
    if (lan->index == 0) {
        return -ENODEV;
    }
    lan->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (lan->fd < 0) {
        return -errno;
    }
    int r = read_mac(lan);
    r = r == 0 ? open_socket(lan, address) : r;
    if (r < 0) {
        lan_close(lan);
    }
    return r;
}

void lan_close(struct lan *lan)
{
    if (lan->fd >= 0) {
        close(lan->fd);
    }
    lan->fd = -1;
}

static void send_frame(const struct lan *lan, const struct frame *frame)
{
    struct sockaddr_ll where = {
        .sll_family = AF_PACKET, .sll_ifindex = (int)lan->index, .sll_halen = sizeof lan->mac};

    /* What the kernel does not take is repeated anyhow. */
    (void)!sendto(lan->fd, frame->bytes, frame->length, 0, (struct sockaddr *)&where, sizeof where);
}

void lan_probe(const struct lan *lan, const struct keeper_address *address)
{
    struct frame frame;

    frame_probe(&frame, address->bytes, address->is_ipv6, lan->mac);
    send_frame(lan, &frame);
}

void lan_announce(const struct lan *lan, const struct keeper_address *address)
{
    struct frame frame;

    frame_announce(&frame, address->bytes, address->is_ipv6, lan->mac);
    send_frame(lan, &frame);
}

bool lan_read_conflict(const struct lan *lan, const struct keeper_address *address, uint8_t *mac)
{
    uint8_t bytes[FRAME_BYTES_MAX];
    bool is_conflict = false;

    for (unsigned i = 0; i < READS_MAX; i++) {
        ssize_t length = recv(lan->fd, bytes, sizeof bytes, 0);
        if (length < 0) {
            break;
        }
        is_conflict |= frame_is_conflict(bytes, (size_t)length, address->bytes, address->is_ipv6,
                                         lan->mac, mac);
    }
    return is_conflict;
}

int lan_tickle(const struct keeper_message *message)
{
    struct frame_tickle tickle = {.from_port = message->port,
                                  .to_port = message->peer_port,
                                  .is_ipv6 = message->address.is_ipv6};
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
    struct frame frame;

    memcpy(tickle.from, message->address.bytes, sizeof tickle.from);
    memcpy(tickle.to, message->peer, sizeof tickle.to);
    memcpy(&to.sin_addr, message->peer, sizeof to.sin_addr);
    memcpy(&to6.sin6_addr, message->peer, sizeof to6.sin6_addr);
    frame_tickle(&frame, &tickle);
    int fd = socket(tickle.is_ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    IPPROTO_RAW); /* the header is ours */
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = tickle.is_ipv6
                    ? sendto(fd, frame.bytes, frame.length, 0, (struct sockaddr *)&to6, sizeof to6)
                    : sendto(fd, frame.bytes, frame.length, 0, (struct sockaddr *)&to, sizeof to);
    int r = n < 0 ? -errno : 0;
    close(fd);
    return r;
}

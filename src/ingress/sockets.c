/* See sockets.h. One dump request, answered in pieces. */
#include "ingress/sockets.h"
#include "ingress/clients.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES 32768

struct query {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
};

struct answer {
    const uint8_t *address;
    bool is_ipv6;
    void (*fn)(void *owner, const struct ingress_client *client);
    void *owner;
};

static void tell(const struct answer *answer, const struct inet_diag_msg *message)
{
    struct ingress_client client = {.port = ntohs(message->id.idiag_sport),
                                    .peer_port = ntohs(message->id.idiag_dport),
                                    .is_ipv6 = answer->is_ipv6};
    size_t length = answer->is_ipv6 ? 16 : 4;

    if (memcmp(message->id.idiag_src, answer->address, length) == 0) {
        memcpy(client.vip, message->id.idiag_src, length);
        memcpy(client.peer, message->id.idiag_dst, length);
        answer->fn(answer->owner, &client);
    }
}

/* 1: there is more to come; 0: that was all; or a negative errno. */
static int read_piece(int fd, const struct answer *answer)
{
    union {
        uint8_t bytes[ANSWER_BYTES];
        struct nlmsghdr align;
    } piece;
    ssize_t length = recv(fd, piece.bytes, sizeof piece.bytes, 0);
    size_t left = length > 0 ? (size_t)length : 0;

    if (length < 0) {
        return -errno;
    }
    for (const struct nlmsghdr *at = &piece.align; NLMSG_OK(at, left); at = NLMSG_NEXT(at, left)) {
        if (at->nlmsg_type == NLMSG_DONE) {
            return 0;
        }
        if (at->nlmsg_type == NLMSG_ERROR) {
            return ((const struct nlmsgerr *)NLMSG_DATA(at))->error;
        }
        if (at->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg))) {
            tell(answer, NLMSG_DATA(at));
        }
    }
    return 1;
}

int sockets_for_each(const uint8_t *address, bool is_ipv6,
                     void (*fn)(void *owner, const struct ingress_client *client), void *owner)
{
    struct answer answer = {address, is_ipv6, fn, owner};
    struct query query = {
        .header = {.nlmsg_len = sizeof query,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .request = {.sdiag_family = is_ipv6 ? AF_INET6 : AF_INET,
                    .sdiag_protocol = IPPROTO_TCP,
                    .idiag_states = 1u << TCP_ESTABLISHED},
    };
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int r = 1;

    if (fd < 0) {
        return -errno;
    }
    if (send(fd, &query, sizeof query, 0) < 0) {
        r = -errno;
    }
    while (r > 0) {
        r = read_piece(fd, &answer);
    }
    close(fd);
    return r;
}

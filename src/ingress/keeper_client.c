/* See keeper_client.h. */
#include "ingress/keeper_client.h"
#include "loop/watch.h"
#include <errno.h>
#include <glib.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_MAX 64 /* in one turn */

struct keeper_client {
    struct watch watch;
    struct loop *loop;
    int renewals;
    GQueue waiting; /* of struct keeper_message, owned, oldest first */
    void (*on_message)(void *owner, const struct keeper_message *message);
    void *owner;
};

static int send_now(struct keeper_client *client, const struct keeper_message *message)
{
    ssize_t n = send(client->watch.fd, message, sizeof *message, MSG_NOSIGNAL | MSG_DONTWAIT);

    return n < 0 ? -errno : 0;
}

static void update_watch(struct keeper_client *client)
{
    unsigned events =
        g_queue_is_empty(&client->waiting) ? WATCH_READABLE : WATCH_READABLE | WATCH_WRITABLE;

    watch_set(client->loop, &client->watch, events);
}

static void send_waiting(struct keeper_client *client)
{
    while (!g_queue_is_empty(&client->waiting) &&
           send_now(client, g_queue_peek_head(&client->waiting)) == 0) {
        g_free(g_queue_pop_head(&client->waiting));
    }
}

static void on_events(struct watch *watch, unsigned events)
{
    struct keeper_client *client = (struct keeper_client *)watch;
    struct keeper_message message;

    send_waiting(client);
    update_watch(client);
    for (unsigned i = 0; i < MESSAGES_MAX; i++) {
        ssize_t n = recv(client->watch.fd, &message, sizeof message, MSG_DONTWAIT);
        if (n == 0) { /* it is dead, and we are about to be (child.c) */
            watch_set(client->loop, &client->watch, 0);
        }
        if (n != sizeof message) {
            break;
        }
        client->on_message(client->owner, &message);
    }
}

struct keeper_client *keeper_client_new(struct loop *loop, struct keeper_ends ends,
                                        void (*on_message)(void *owner,
                                                           const struct keeper_message *message),
                                        void *owner)
{
    struct keeper_client *client = g_new0(struct keeper_client, 1);

    client->loop = loop;
    client->renewals = ends.renewals;
    client->on_message = on_message;
    client->owner = owner;
    g_queue_init(&client->waiting);
    watch_init(&client->watch, ends.pair, on_events);
    update_watch(client);
    return client;
}

void keeper_client_free(struct keeper_client *client)
{
    if (client) {
        watch_set(client->loop, &client->watch, 0);
        close(client->watch.fd);
        close(client->renewals);
        g_queue_clear_full(&client->waiting, g_free);
        g_free(client);
    }
}

void keeper_client_send(struct keeper_client *client, const struct keeper_message *message)
{
    if (g_queue_is_empty(&client->waiting) && send_now(client, message) != -EAGAIN) {
        return;
    }
    if (g_queue_get_length(&client->waiting) < KEEPER_CLIENT_WAITING_MAX) {
        g_queue_push_tail(&client->waiting, g_memdup2(message, sizeof *message));
        update_watch(client);
    }
}

void keeper_client_renew(struct keeper_client *client, uint64_t until_ms, uint64_t now_ms)
{
    struct keeper_message message = {
        .type = KEEPER_RENEW, .number = (uint32_t)(until_ms - now_ms), .until_ms = until_ms};

    (void)!send(client->renewals, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool keeper_client_is_read(const struct keeper_client *client)
{
    int bytes = 0;

    return ioctl(client->renewals, SIOCOUTQ, &bytes) == 0 && bytes == 0;
}

bool keeper_client_send_descriptor(struct keeper_client *client,
                                   const struct keeper_message *message, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec piece = {(void *)message, sizeof *message};
    struct msghdr header = {.msg_iov = &piece,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct cmsghdr *item = CMSG_FIRSTHDR(&header);

    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(item), &fd, sizeof fd);
    return g_queue_is_empty(&client->waiting) &&
           sendmsg(client->watch.fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

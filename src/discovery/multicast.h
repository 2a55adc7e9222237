/* A UDP socket for multicast DNS (224.0.0.251, port 5353) on every interface of the LAN: not
 * loopback, not what is down. Several programs of a machine may have the port at once (Avahi), so
 * whoever opens that one hears only what is sent to the group. */
#pragma once

#include "base/bytes.h"
#include "loop/watch.h"
#include <glib.h>
#include <netinet/in.h>

#define MULTICAST_PORT 5353

struct multicast_interface {
    int index;
    struct in_addr v4;
    struct in6_addr v6; /* link-local or better; unspecified when there is none */
};

struct multicast {
    struct loop *loop;
    struct watch watch;
    GArray *interfaces; /* struct multicast_interface */
    /* One message and whence it came: `from` may be answered by multicast_send_to. `interface` is
     * NULL when it came by one that is not known (any more). */
    void (*on_message)(struct multicast *multicast, struct bytes message,
                       const struct sockaddr_in *from, const struct multicast_interface *interface);
};

/* `port` 0 asks from a port of its own: answers come to it alone. Negative errno. */
int multicast_open(struct multicast *multicast, struct loop *loop, uint16_t port);
void multicast_close(struct multicast *multicast);
/* Looks at the interfaces anew and joins the group on those that are new. */
void multicast_refresh(struct multicast *multicast);
/* To all on one interface. What cannot be sent is lost, as with any datagram. */
void multicast_send(struct multicast *multicast, const struct multicast_interface *interface,
                    struct bytes message);
void multicast_send_to(struct multicast *multicast, const struct multicast_interface *interface,
                       const struct sockaddr_in *to, struct bytes message);

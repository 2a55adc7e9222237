/* See local_address.h. */
#include "node/local_address.h"
#include "state/cluster_tables.h"
#include <arpa/inet.h>
#include <glib.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static bool format(const struct sockaddr *address, char text[INET6_ADDRSTRLEN])
{
    if (address && address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return inet_ntop(AF_INET, &v4->sin_addr, text, INET6_ADDRSTRLEN);
    }
    if (address && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        return !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) &&
               inet_ntop(AF_INET6, &v6->sin6_addr, text, INET6_ADDRSTRLEN);
    }
    return false;
}

/* Names that programs for containers and virtual machines give, and our own for virtual IPs. */
static bool is_of_neighbours(const struct ifaddrs *interface)
{
    static const char *const others[] = {"docker", "br-", "veth", "virbr", "lxc", "cni", "mcvip"};

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        if (g_str_has_prefix(interface->ifa_name, others[i])) {
            return false;
        }
    }
    return (interface->ifa_flags & IFF_UP) && !(interface->ifa_flags & IFF_LOOPBACK);
}

/* The keeper puts those of IPv6 on the LAN's own interface. */
static bool is_virtual(const char *text, const struct state *state)
{
    for (uint32_t i = 0; i < state_vip_count(state); i++) {
        if (strcmp(state_vip_at(state, i)->address, text) == 0) {
            return true;
        }
    }
    return false;
}

char *local_address_choose(const struct ifaddrs *all, const struct state *state)
{
    char text[INET6_ADDRSTRLEN];
    g_autofree char *v4 = NULL, *v6 = NULL;

    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (!is_of_neighbours(at) || !format(at->ifa_addr, text) || is_virtual(text, state)) {
            continue;
        }
        char **slot = at->ifa_addr->sa_family == AF_INET ? &v4 : &v6;
        if (!*slot) {
            *slot = g_strdup(text);
        }
    }
    return v4 ? g_steal_pointer(&v4) : g_steal_pointer(&v6);
}

char *local_address_find(const struct state *state)
{
    struct ifaddrs *all;

    if (getifaddrs(&all) < 0) {
        return NULL;
    }
    char *found = local_address_choose(all, state);
    freeifaddrs(all);
    return found;
}

bool local_address_is_own(const char *wanted)
{
    char text[INET6_ADDRSTRLEN];
    struct ifaddrs *all;
    bool is_own = false;

    if (getifaddrs(&all) < 0) {
        return false;
    }
    for (const struct ifaddrs *at = all; at && !is_own; at = at->ifa_next) {
        is_own = format(at->ifa_addr, text) && strcmp(text, wanted) == 0;
    }
    freeifaddrs(all);
    return is_own;
}

/* See candidate.h. */
#include "ingress/candidate.h"
#include "keeper/lan.h"
#include "state/cluster_tables.h"
#include <arpa/inet.h>
#include <glib.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

struct candidate {
    struct keeper_address address;
    char host[INET6_ADDRSTRLEN]; /* in its one form */
};

static bool parse(struct candidate *candidate, const char *text, const char *interface)
{
    const char *slash = strchr(text, '/');
    g_autofree char *host = slash ? g_strndup(text, (size_t)(slash - text)) : NULL;
    struct keeper_address *address = &candidate->address;
    guint64 prefix = 0;

    *candidate = (struct candidate){0};
    if (!host || !g_ascii_string_to_unsigned(slash + 1, 10, 1, 128, &prefix, NULL)) {
        return false;
    }
    address->is_ipv6 = strchr(host, ':') != NULL;
    address->prefix = (uint8_t)prefix;
    g_strlcpy(address->interface, interface, sizeof address->interface);
    int family = address->is_ipv6 ? AF_INET6 : AF_INET;
    return prefix <= (address->is_ipv6 ? 128 : 32) &&
           inet_pton(family, host, address->bytes) == 1 &&
           inet_ntop(family, address->bytes, candidate->host, sizeof candidate->host);
}

static bool is_in_table(const struct candidate *candidate, const struct state *state)
{
    for (uint32_t i = 0; i < state_vip_count(state); i++) {
        if (strcmp(state_vip_at(state, i)->address, candidate->host) == 0) {
            return true;
        }
    }
    return false;
}

static const char *not_of_this_lan(const struct keeper_address *address)
{
    const struct in6_addr *six = (const void *)address->bytes;
    bool is_ipv6 = address->is_ipv6;

    if (is_ipv6 ? IN6_IS_ADDR_MULTICAST(six) : (address->bytes[0] & 0xf0) == 0xe0) {
        return "an address of many hosts (multicast)";
    }
    if (is_ipv6 ? IN6_IS_ADDR_LOOPBACK(six) : address->bytes[0] == 127) {
        return "an address of each host itself (loopback)";
    }
    return is_ipv6 && IN6_IS_ADDR_LINKLOCAL(six)
               ? "a link-local address, which clients cannot be told without an interface"
               : NULL;
}

/* Of IPv4, the first and the last address of a network are no host's (RFC 1122, 3.2.1.3). */
static const char *network_or_broadcast(const struct keeper_address *address)
{
    uint32_t bits, hosts;

    if (address->is_ipv6 || address->prefix >= 31) {
        return NULL;
    }
    memcpy(&bits, address->bytes, sizeof bits);
    hosts = UINT32_MAX >> address->prefix;
    bits = ntohl(bits) & hosts;
    return bits == 0       ? "the address of its network"
           : bits == hosts ? "its broadcast address"
                           : NULL;
}

/* The node's name that has the address itself, as members know it; NULL = none. */
static const char *owner_of(const struct candidate *candidate, const struct state *state)
{
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *node = state_node_at(state, i);
        const char *at = node->address[0] == '[' ? node->address + 1 : node->address;
        size_t length = strlen(candidate->host);
        if (strncmp(at, candidate->host, length) == 0 &&
            (at[length] == ':' || at[length] == ']' || at[length] == '\0')) {
            return node->name;
        }
    }
    return NULL;
}

static const void *bytes_of(const struct sockaddr *address)
{
    return address->sa_family == AF_INET6
               ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
               : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
}

static bool is_own(const struct keeper_address *address)
{
    sa_family_t family = address->is_ipv6 ? AF_INET6 : AF_INET;
    struct ifaddrs *all;
    bool found = false;

    if (getifaddrs(&all) < 0) {
        return false;
    }
    for (const struct ifaddrs *at = all; at && !found; at = at->ifa_next) {
        found = at->ifa_addr && at->ifa_addr->sa_family == family &&
                memcmp(bytes_of(at->ifa_addr), address->bytes, address->is_ipv6 ? 16 : 4) == 0;
    }
    freeifaddrs(all);
    return found;
}

static char *interface_names(void)
{
    GString *names = g_string_new(NULL);
    struct if_nameindex *all = if_nameindex();

    for (const struct if_nameindex *at = all; at && at->if_index != 0; at++) {
        if (strcmp(at->if_name, "lo") != 0) {
            g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", at->if_name);
        }
    }
    if (all) {
        if_freenameindex(all);
    }
    return g_string_free(names, FALSE);
}

static char *refuse_interface(const char *text, const char *interface)
{
    g_autofree char *names = interface_names();

    return *interface ? g_strdup_printf(
                            "virtual IP '%s': this node has no interface '%s'; it has: %s", text,
                            interface, names)
                      : g_strdup_printf(
                            "virtual IP '%s': no interface of this node is in its network: "
                            "take a free address of the network that your devices are in, or "
                            "name the interface (--interface)",
                            text);
}

char *candidate_refusal(const char *text, const char *interface, const struct state *state)
{
    struct candidate candidate;

    if (!parse(&candidate, text, interface) || is_in_table(&candidate, state)) {
        return NULL;
    }
    const char *foreign = not_of_this_lan(&candidate.address);
    if (foreign) {
        return g_strdup_printf("virtual IP '%s': this is %s: take a free address of the network "
                               "that your devices are in",
                               text, foreign);
    }
    const char *special = network_or_broadcast(&candidate.address);
    if (special) {
        return g_strdup_printf("virtual IP '%s': this is %s: take a free one of it", text, special);
    }
    const char *owner = owner_of(&candidate, state);
    if (owner) {
        return g_strdup_printf(
            "virtual IP '%s': node '%s' has this address itself: take a free one", text, owner);
    }
    if (is_own(&candidate.address)) {
        return g_strdup_printf(
            "virtual IP '%s': this node has this address itself: take a free one", text);
    }
    return lan_find_interface(&candidate.address) == 0 ? refuse_interface(text, interface) : NULL;
}

/* Virtual addresses: read from text, brought into the one form in which they are compared. */
#include "state/roster/tables.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

struct parsed {
    bool is_ipv6;
    uint8_t bytes[16];
};

static bool parse_address(const char *text, struct parsed *parsed)
{
    *parsed = (struct parsed){0};
    if (inet_pton(AF_INET, text, parsed->bytes) == 1) {
        return true;
    }
    parsed->is_ipv6 = true;
    return inet_pton(AF_INET6, text, parsed->bytes) == 1;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* One that a host on a network can have: neither loopback, multicast, broadcast nor nobody's. */
static bool is_of_a_host(const struct parsed *parsed)
{
    if (!parsed->is_ipv6) {
        return parsed->bytes[0] != 0 && parsed->bytes[0] != 127 && parsed->bytes[0] < 224;
    }
    return parsed->bytes[0] != 0xff && !all_zero(parsed->bytes, 15) &&
           !all_zero(parsed->bytes, 10); /* ::1, and the forms of IPv4 */
}

static bool is_interface(const char *text)
{
    if (strlen(text) >= IF_NAMESIZE || strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
        return false;
    }
    for (const char *at = text; *at; at++) {
        if (!g_ascii_isgraph(*at) || *at == '/' || *at == ':') {
            return false;
        }
    }
    return true;
}

static int compare(const struct virtual_address *a, const struct virtual_address *b)
{
    struct parsed left, right;
    parse_address(a->address, &left);
    parse_address(b->address, &right);
    return left.is_ipv6 != right.is_ipv6 ? (int)left.is_ipv6 - (int)right.is_ipv6
                                         : memcmp(left.bytes, right.bytes, sizeof left.bytes);
}

struct virtual_address *roster_parse_vip(const char *address, const char *interface, char **problem)
{
    const char *slash = strchr(address, '/');
    g_autofree char *host = slash ? g_strndup(address, (size_t)(slash - address)) : NULL;
    struct parsed parsed;
    if (!slash || !parse_address(host, &parsed)) {
        *problem = g_strdup_printf(
            "virtual IP '%.64s': must be ADDRESS/PREFIX, as in 192.168.1.50/24 or fd00::50/64",
            address);
        return NULL;
    }
    if (!is_of_a_host(&parsed)) {
        *problem = g_strdup_printf(
            "virtual IP '%s': no host can have this address: take a free one of your network",
            address);
        return NULL;
    }
    uint64_t prefix = 0;
    unsigned most = parsed.is_ipv6 ? 128 : 32;
    if (!g_ascii_string_to_unsigned(slash + 1, 10, 1, most, &prefix, NULL)) {
        *problem = g_strdup_printf("virtual IP '%.64s': the prefix must be 1..%u", address, most);
        return NULL;
    }
    if (!is_interface(interface)) {
        *problem = g_strdup_printf("virtual IP '%.64s': the interface's name must have at most %d "
                                   "characters without spaces, '/' and ':'",
                                   address, IF_NAMESIZE - 1);
        return NULL;
    }
    char text[INET6_ADDRSTRLEN];
    inet_ntop(parsed.is_ipv6 ? AF_INET6 : AF_INET, parsed.bytes, text, sizeof text);
    struct virtual_address *vip = g_new(struct virtual_address, 1);
    *vip = (struct virtual_address){.address = g_strdup(text),
                                    .interface = g_strdup(interface),
                                    .prefix = (uint8_t)prefix,
                                    .is_ipv6 = parsed.is_ipv6};
    return vip;
}

void roster_free_vip(void *memory)
{
    struct virtual_address *vip = memory;
    if (vip) {
        g_free(vip->address);
        g_free(vip->interface);
        g_free(vip);
    }
}

void roster_put_vip(struct roster *roster, struct virtual_address *vip)
{
    roster_remove_vip(roster, vip->address);
    uint32_t at = 0;
    while (at < roster->vips->len && compare(roster->vips->pdata[at], vip) < 0) {
        at++;
    }
    g_ptr_array_insert(roster->vips, (int)at, vip);
}

struct virtual_address *roster_find_vip(const struct roster *roster, const char *address)
{
    const char *slash = strchr(address, '/');
    g_autofree char *host =
        slash ? g_strndup(address, (size_t)(slash - address)) : g_strdup(address);
    struct parsed wanted;
    if (!parse_address(host, &wanted)) {
        return NULL;
    }
    for (uint32_t i = 0; i < roster->vips->len; i++) {
        struct virtual_address *vip = roster->vips->pdata[i];
        struct parsed parsed;
        parse_address(vip->address, &parsed);
        if (parsed.is_ipv6 == wanted.is_ipv6 &&
            memcmp(parsed.bytes, wanted.bytes, sizeof parsed.bytes) == 0) {
            return vip;
        }
    }
    return NULL;
}

bool roster_remove_vip(struct roster *roster, const char *address)
{
    struct virtual_address *vip = roster_find_vip(roster, address);
    return vip && g_ptr_array_remove(roster->vips, vip);
}

/* Fuzzes what comes from the LAN (keeper/frame.h): the input is a frame, which is asked whether
 * somebody else has the address. The keeper's own frames never say so. */
#include "keeper/frame.h"
#include <assert.h>
#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static const uint8_t mac[FRAME_MAC_BYTES] = {2, 0, 0, 0, 0, 1};
static const uint8_t address4[4] = {10, 0, 0, 1};
static const uint8_t address6[16] = {0xfd, [15] = 1};

static void check(const uint8_t *bytes, size_t size, const uint8_t *address, bool is_ipv6)
{
    uint8_t other[FRAME_MAC_BYTES];
    struct frame own;

    if (frame_is_conflict(bytes, size, address, is_ipv6, mac, other)) {
        assert(memcmp(other, mac, sizeof mac) != 0);
        assert(memmem(bytes, size, address, is_ipv6 ? 16 : 4));
    }
    frame_probe(&own, address, is_ipv6, mac);
    assert(!frame_is_conflict(own.bytes, own.length, address, is_ipv6, mac, other));
    frame_announce(&own, address, is_ipv6, mac);
    assert(!frame_is_conflict(own.bytes, own.length, address, is_ipv6, mac, other));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0) {
        return 0;
    }
    /* Nothing behind it, for the sanitizers. */
    g_autofree uint8_t *bytes = g_memdup2(input, size);
    check(bytes, size, address4, false);
    check(bytes, size, address6, true);
    return 0;
}

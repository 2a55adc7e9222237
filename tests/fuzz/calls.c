/* Fuzzes what other nodes call over a link (node/call.h): the input is a call. What is read is
 * written again, and must be the same. */
#include "node/call.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check_ended(struct bytes call)
{
    struct call_ended ended;
    uint8_t again[CALL_ENDED_BYTES];

    if (call_get_ended(call, &ended)) {
        call_put_ended(again, &ended);
        assert(bytes_equal(call, (struct bytes){again, sizeof again}));
    }
}

static void check_nodes(struct bytes call)
{
    g_autoptr(GByteArray) again = g_byte_array_new();
    struct call_node node;
    uint64_t index;
    size_t at;

    if (!call_get_nodes(call, &index, &at)) {
        return;
    }
    call_put_nodes(again, index);
    while (call_next_node(call, &at, &node)) {
        g_autofree char *address = g_strndup((const char *)node.address.at, node.address.length);
        assert(at <= call.length);
        if (strlen(address) < node.address.length) { /* a NUL in it: it is read as less */
            return;
        }
        call_put_node(again, node.id, address);
        assert(again->len == at);
    }
    assert(memcmp(again->data, call.at, at) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size == 0) {
        return 0;
    }
    /* Nothing behind it, for the sanitizers. */
    g_autofree uint8_t *copy = g_memdup2(input, size);
    check_ended((struct bytes){copy, size});
    check_nodes((struct bytes){copy, size});
    return 0;
}

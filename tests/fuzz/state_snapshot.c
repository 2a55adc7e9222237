/* A snapshot of whatever bytes: refused with an error, or a state that can be written again and
 * read again, to the same bytes. */
#include "state/snapshot.h"
#include "state/state.h"
#include "state/wire.h"
#include <stdlib.h>

#define SNAPSHOT_BYTES_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);

static GBytes *snapshot_of(const struct state *state)
{
    struct state_snapshot *snapshot = state_snapshot_new(state);
    GByteArray *whole = g_byte_array_new();
    uint32_t count = 0;
    const struct consensus_piece *pieces = state_snapshot_pieces(snapshot, &count);
    for (uint32_t i = 0; i < count; i++) {
        g_byte_array_append(whole, pieces[i].base, (guint)pieces[i].length);
    }
    state_snapshot_free(snapshot);
    return g_byte_array_free_to_bytes(whole);
}

static uint8_t *on_append(void *owner, size_t length)
{
    return NULL;
}

static struct state *new_state(void)
{
    struct state_options options = {1, 1};
    struct state_log log = {.append = on_append};
    return state_new(&options, &log);
}

static void check_stable(struct state *state)
{
    g_autoptr(GBytes) first = snapshot_of(state);
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(first, &length);
    if (state_restore(state, (struct bytes){at, length}, NULL) < 0) {
        abort();
    }
    g_autoptr(GBytes) second = snapshot_of(state);
    if (!g_bytes_equal(first, second)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    if (length > SNAPSHOT_BYTES_MAX) {
        return 0;
    }
    /* The length in the header is made right, so that the body is reached. */
    g_autofree uint8_t *bytes = g_malloc(length + 1);
    if (length > 0) {
        memcpy(bytes, input, length);
    }
    if (length >= 24) {
        wire_put_u64(bytes + 16, length);
    }
    struct state *state = new_state();
    g_autoptr(GError) error = NULL;
    if (state_restore(state, (struct bytes){bytes, length}, &error) == 0) {
        check_stable(state);
    } else if (!error) {
        abort();
    }
    state_free(state);
    return 0;
}

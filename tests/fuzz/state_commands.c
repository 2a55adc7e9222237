/* A group of the log with whatever records: applied or refused, never a crash; and what it leaves
 * behind is a state that a snapshot carries over whole. The header is made valid, so that the
 * records are reached. */
#include "state/record.h"
#include "state/snapshot.h"
#include "state/state.h"
#include <stdlib.h>

#define GROUP_BYTES_MAX 65536

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

static void check_carried_over(const struct state *state)
{
    g_autoptr(GBytes) before = snapshot_of(state);
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(before, &length);
    struct state *other = new_state();
    g_autoptr(GError) error = NULL;
    if (state_restore(other, (struct bytes){at, length}, &error) < 0) {
        abort();
    }
    g_autoptr(GBytes) after = snapshot_of(other);
    if (!g_bytes_equal(before, after) || state_bytes(state) != state_bytes(other)) {
        abort();
    }
    state_free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    if (length > GROUP_BYTES_MAX) {
        return 0;
    }
    g_autofree uint8_t *group = g_malloc(STATE_GROUP_HEADER_BYTES + length);
    struct record_header header = {
        .origin = 1, .epoch = 1, .first_sequence = 1, .time_unix_ms = 1700000000000u};
    record_header_encode(group, &header);
    if (length > 0) {
        memcpy(group + STATE_GROUP_HEADER_BYTES, input, length);
    }
    struct state *state = new_state();
    g_autoptr(GError) error = NULL;
    struct bytes bytes = {group, STATE_GROUP_HEADER_BYTES + length};
    if (state_apply(state, 1, bytes, &error) < 0 && !error) {
        abort();
    }
    check_carried_over(state);
    state_free(state);
    return 0;
}

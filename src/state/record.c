/* Groups of the log: reading is written for hostile bytes, every length is checked before it is
 * used. */
#include "state/record.h"
#include "state/state.h"
#include "state/wire.h"
#include <errno.h>

void record_header_encode(uint8_t *out, const struct record_header *header)
{
    wire_put_u32(out, RECORD_FORMAT_VERSION);
    wire_put_u32(out + 4, 0);
    wire_put_u64(out + 8, header->origin);
    wire_put_u64(out + 16, header->epoch);
    wire_put_u64(out + 24, header->first_sequence);
    wire_put_u64(out + 32, header->time_unix_ms);
}

int record_header_decode(struct record_header *header, struct bytes group, GError **error)
{
    if (group.length < STATE_GROUP_HEADER_BYTES) {
        g_set_error(error, STATE_ERROR, EBADMSG, "log entry: must have at least %d bytes, got %zu",
                    STATE_GROUP_HEADER_BYTES, group.length);
        return -EBADMSG;
    }
    uint32_t version = wire_get_u32(group.at);
    if (version > RECORD_FORMAT_VERSION) {
        g_set_error(error, STATE_ERROR, ENOTSUP,
                    "log entry: format %u is newer than this program, which reads up to %d: run a "
                    "newer microcloud",
                    version, RECORD_FORMAT_VERSION);
        return -ENOTSUP;
    }
    if (version == 0) {
        g_set_error_literal(error, STATE_ERROR, EBADMSG,
                            "log entry: it does not begin with a header");
        return -EBADMSG;
    }
    header->origin = wire_get_u64(group.at + 8);
    header->epoch = wire_get_u64(group.at + 16);
    header->first_sequence = wire_get_u64(group.at + 24);
    header->time_unix_ms = wire_get_u64(group.at + 32);
    return 0;
}

static bool is_all_zero(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.length; i++) {
        if (bytes.at[i] != 0) {
            return false;
        }
    }
    return true;
}

int record_next(struct bytes group, size_t *offset, struct bytes *record, GError **error)
{
    size_t left = group.length - *offset;
    const uint8_t *at = group.at + *offset;
    uint32_t length = left >= RECORD_LENGTH_BYTES ? wire_get_u32(at) : 0;
    if (length == 0) {
        if (left < 8 && is_all_zero((struct bytes){at, left})) {
            return 0;
        }
        g_set_error(error, STATE_ERROR, EBADMSG, "log entry: no record at byte %zu of %zu", *offset,
                    group.length);
        return -EBADMSG;
    }
    if (length > left - RECORD_LENGTH_BYTES) {
        g_set_error(error, STATE_ERROR, EBADMSG,
                    "log entry: record at byte %zu says %u bytes, only %zu are left", *offset,
                    length, left - RECORD_LENGTH_BYTES);
        return -EBADMSG;
    }
    *record = (struct bytes){at + RECORD_LENGTH_BYTES, length};
    *offset += RECORD_LENGTH_BYTES + length;
    return 1;
}

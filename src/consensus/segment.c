/* A segment is an 8-byte format, then batches: CRC of the header, CRC of the data, number of
 * entries n, n times (term, type, length), the data. In an open segment zeros follow. All little
 * endian, everything 8-byte aligned.
 *
 * When a batch does not add up, what stands there is an unfinished write if some 512-byte sector of
 * it is still all zeros (segments are allocated as zeros, and a disk writes whole sectors), no
 * single changed byte would explain the wrong checksum, and nothing behind it proves that later
 * writes were made: libraft has one write in flight, and we have at most CONSENSUS_IN_FLIGHT_MAX
 * entries, so an entry with an index that far ahead was submitted after this batch was safe.
 * Anything else is damage. What cannot be known: a last write whose lost sector is all zeros looks
 * as if it had never been finished. */
#include "consensus/segment.h"

#include "consensus/consensus.h"
#include "consensus/entry.h"
#include <errno.h>
#include <inttypes.h>

#define SECTOR_BYTES       512
#define CHECKSUMS_BYTES    8
#define COUNT_BYTES        8
#define ENTRY_HEADER_BYTES 16
/* More entries in one batch than the log can hold are not a count. */
#define BATCH_ENTRIES_MAX (SEGMENT_BYTES / 32)
/* libraft's entry types. */
enum { TYPE_COMMAND = 1, TYPE_BARRIER = 2, TYPE_CHANGE = 3 };
/* While searching: larger batches are not ours, and payloads that look like them would cost time.
 */
#define SEARCHED_ENTRIES_MAX 64
/* Entries that may be in one unfinished write: ours, and a barrier or two. */
#define UNFINISHED_ENTRIES_MAX (CONSENSUS_IN_FLIGHT_MAX + 2)

struct scan {
    struct bytes content;
    enum segment_kind kind;
    struct crc32 crc;
    uint64_t next_index;
    uint64_t last_term;
    struct segment_report report;
};

struct batch {
    size_t offset;
    uint64_t entries;
    size_t data_offset; /* 0: the header is not to be trusted */
    size_t end;
    bool is_whole;
};

static uint64_t read_u64(struct bytes content, size_t offset)
{
    uint64_t value;
    memcpy(&value, content.at + offset, sizeof value);
    return le64toh(value);
}

static uint32_t read_u32(struct bytes content, size_t offset)
{
    uint32_t value;
    memcpy(&value, content.at + offset, sizeof value);
    return le32toh(value);
}

static struct bytes slice(struct bytes content, size_t from, size_t to)
{
    return (struct bytes){content.at + from, to - from};
}

static bool is_zero(struct bytes bytes)
{
    return bytes.length == 0 ||
           (bytes.at[0] == 0 && memcmp(bytes.at, bytes.at + 1, bytes.length - 1) == 0);
}

static int fail(struct scan *scan, size_t offset, GError **error, const char *what)
{
    g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED,
                "damaged at byte %zu (entry %" PRIu64 "): %s", offset, scan->next_index, what);
    return -EBADMSG;
}

static int fail_newer(GError **error, uint64_t version)
{
    g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_NEWER,
                "written in format %" PRIu64
                " by a newer version of microcloud; this version reads %d: start the newer one",
                version, SEGMENT_FORMAT);
    return -EPROTONOSUPPORT;
}

static size_t header_bytes(uint64_t entries)
{
    return COUNT_BYTES + entries * ENTRY_HEADER_BYTES;
}

/* Whether the header of the batch at `offset` would match its checksum if only one byte of it, or
 * its count, were another. */
static bool is_header_changed(const struct scan *scan, size_t offset, uint64_t entries)
{
    struct bytes content = scan->content;
    uint32_t expected = read_u32(content, offset);
    uint8_t header[COUNT_BYTES + SEARCHED_ENTRIES_MAX * ENTRY_HEADER_BYTES];
    size_t begin = offset + CHECKSUMS_BYTES;

    for (uint64_t count = 1;
         count <= SEARCHED_ENTRIES_MAX && begin + header_bytes(count) <= content.length; count++) {
        uint64_t word = htole64(count);
        struct bytes view = {header, header_bytes(count)};
        memcpy(header, &word, sizeof word);
        memcpy(header + COUNT_BYTES, content.at + begin + COUNT_BYTES, view.length - COUNT_BYTES);
        uint32_t computed = crc32_compute(&scan->crc, view);
        bool is_other_count = count != entries && computed == expected;
        if (is_other_count ||
            (count == entries && crc32_is_one_byte_off(&scan->crc, view, computed, expected, 8))) {
            return true;
        }
    }
    return false;
}

/* Looks at the batch at `offset`: its extent as far as the header can be trusted, and whether it is
 * whole. */
static struct batch batch_look(const struct scan *scan, size_t offset)
{
    struct bytes content = scan->content;
    struct batch batch = {.offset = offset};
    size_t begin = offset + CHECKSUMS_BYTES;

    if (content.length - offset < CHECKSUMS_BYTES + COUNT_BYTES) {
        return batch;
    }
    batch.entries = read_u64(content, begin);
    if (batch.entries == 0 || batch.entries > BATCH_ENTRIES_MAX) {
        return batch;
    }
    batch.end = begin + header_bytes(batch.entries);
    if (batch.end > content.length ||
        crc32_compute(&scan->crc, slice(content, begin, batch.end)) != read_u32(content, offset)) {
        return batch;
    }
    batch.data_offset = batch.end;
    for (uint64_t i = 0; i < batch.entries; i++) {
        batch.end += read_u32(content, begin + COUNT_BYTES + i * ENTRY_HEADER_BYTES + 12);
    }
    if (batch.end <= content.length) {
        struct bytes data = slice(content, batch.data_offset, batch.end);
        batch.is_whole = crc32_compute(&scan->crc, data) == read_u32(content, offset + 4);
    }
    return batch;
}

/* Whether a single change explains why the batch does not add up. */
static bool is_changed(const struct scan *scan, const struct batch *batch)
{
    struct bytes content = scan->content;

    if (content.length - batch->offset < CHECKSUMS_BYTES + COUNT_BYTES) {
        return false;
    }
    if (batch->data_offset == 0) {
        return is_header_changed(scan, batch->offset, batch->entries);
    }
    if (batch->end > content.length) {
        return false;
    }
    struct bytes data = slice(content, batch->data_offset, batch->end);
    uint32_t computed = crc32_compute(&scan->crc, data);
    uint32_t expected = read_u32(content, batch->offset + 4);
    /* One bit only: in 64 KiB one in 250 unfinished writes looks like a changed byte by chance. */
    return __builtin_popcount(computed ^ expected) == 1 ||
           crc32_is_one_byte_off(&scan->crc, data, computed, expected, 1);
}

/* The entries of a whole batch must be those that are expected here. */
static int batch_check(struct scan *scan, const struct batch *batch, GError **error)
{
    size_t header = batch->offset + CHECKSUMS_BYTES + COUNT_BYTES;
    size_t data = batch->data_offset;

    for (uint64_t i = 0; i < batch->entries; i++, header += ENTRY_HEADER_BYTES) {
        uint64_t term = read_u64(scan->content, header);
        uint8_t type = scan->content.at[header + 8];
        size_t length = read_u32(scan->content, header + 12);
        struct bytes entry_content;
        uint64_t index = scan->next_index;

        if (term == 0 || term < scan->last_term || type < TYPE_COMMAND || type > TYPE_CHANGE ||
            length % ENTRY_ALIGNMENT != 0) {
            return fail(scan, header, error, "an entry header makes no sense");
        }
        if (type == TYPE_COMMAND) {
            switch (entry_prefix_read(slice(scan->content, data, data + length), &entry_content,
                                      &index)) {
            case ENTRY_FINE:
                break;
            case ENTRY_NEWER:
                return fail_newer(error, scan->content.at[data + 3]);
            case ENTRY_DAMAGED:
                return fail(scan, data, error, "an entry was not written by microcloud");
            }
        }
        if (index != scan->next_index) {
            return fail(scan, data, error,
                        "this entry belongs elsewhere: a file before this one is missing");
        }
        scan->report.first_term = scan->report.first_term ? scan->report.first_term : term;
        scan->report.last_term = scan->last_term = term;
        scan->report.entries++;
        scan->next_index++;
        data += length;
    }
    return 0;
}

/* Whether some whole batch behind `offset` holds an entry that cannot have been in the same write
 * as the one expected at `offset`. */
static bool has_later_write(const struct scan *scan, size_t offset, size_t end)
{
    for (size_t at = offset + ENTRY_ALIGNMENT; at + CHECKSUMS_BYTES + COUNT_BYTES <= end;
         at += ENTRY_ALIGNMENT) {
        uint64_t index;
        struct bytes entry_content;

        uint64_t entries = read_u64(scan->content, at + CHECKSUMS_BYTES);
        if (entries == 0 || entries > SEARCHED_ENTRIES_MAX) {
            continue;
        }
        struct batch batch = batch_look(scan, at);
        if (!batch.is_whole) {
            continue;
        }
        struct bytes data = slice(scan->content, batch.data_offset, batch.end);
        if (entry_prefix_read(data, &entry_content, &index) == ENTRY_FINE &&
            index >= scan->next_index + UNFINISHED_ENTRIES_MAX) {
            return true;
        }
        at = batch.end - ENTRY_ALIGNMENT;
    }
    return false;
}

static bool has_unwritten_sector(struct bytes content, size_t from, size_t to)
{
    while (from < to) {
        size_t end = (from / SECTOR_BYTES + 1) * SECTOR_BYTES;
        end = end < to ? end : to;
        if (is_zero(slice(content, from, end))) {
            return true;
        }
        from = end;
    }
    return false;
}

/* What stands at the end of an open segment, where no whole batch does: nothing, an unfinished
 * write, or damage. */
static int tail_check(struct scan *scan, const struct batch *batch, GError **error)
{
    struct bytes content = scan->content;
    size_t last = content.length;

    while (last > batch->offset && content.at[last - 1] == 0) {
        last--;
    }
    if (last == batch->offset) {
        return 0;
    }
    size_t extent = batch->end > last ? batch->end : last;
    if (scan->kind != SEGMENT_OPEN_LAST) {
        return fail(scan, batch->offset, error,
                    "a batch of entries does not match its checksum, and later ones were written");
    }
    if (extent > content.length) {
        return fail(scan, batch->offset, error, "the file was cut off in the middle of an entry");
    }
    if (is_changed(scan, batch) || !has_unwritten_sector(content, batch->offset, extent)) {
        return fail(scan, batch->offset, error, "a batch of entries does not match its checksum");
    }
    if (has_later_write(scan, batch->offset, last)) {
        return fail(scan, batch->offset, error,
                    "a batch of entries is missing, and later ones were written");
    }
    scan->report.is_torn = true;
    return 0;
}

static int scan_format(struct scan *scan, bool *is_unused, GError **error)
{
    struct bytes content = scan->content;

    *is_unused = scan->kind != SEGMENT_CLOSED && is_zero(content);
    if (*is_unused) {
        return 0;
    }
    if (content.length < sizeof(uint64_t)) {
        return fail(scan, 0, error, "the file is cut off or empty");
    }
    uint64_t format = read_u64(content, 0);
    if (format != SEGMENT_FORMAT) {
        /* A first write of which only later sectors reached the disk. */
        bool is_first_write = format == 0 && scan->kind == SEGMENT_OPEN_LAST &&
                              is_zero(slice(content, 0, SECTOR_BYTES)) &&
                              !has_later_write(scan, 0, content.length);
        if (is_first_write) {
            *is_unused = scan->report.is_torn = true;
            return 0;
        }
        return format > SEGMENT_FORMAT && format < 256
                   ? fail_newer(error, format)
                   : fail(scan, 0, error, "its format number makes no sense");
    }
    return 0;
}

static int scan_batches(struct scan *scan, GError **error)
{
    size_t offset = sizeof(uint64_t);

    while (offset < scan->content.length) {
        struct batch batch = batch_look(scan, offset);
        if (!batch.is_whole) {
            if (scan->kind == SEGMENT_CLOSED) {
                return fail(scan, offset, error, "a batch of entries does not match its checksum");
            }
            int r = tail_check(scan, &batch, error);
            if (r < 0) {
                return r;
            }
            break;
        }
        int r = batch_check(scan, &batch, error);
        if (r < 0) {
            return r;
        }
        offset = batch.end;
    }
    /* Without an entry there is nothing to keep, whatever the format number says. */
    scan->report.used_bytes = scan->report.entries > 0 ? offset : 0;
    return 0;
}

int segment_scan(struct bytes content, enum segment_kind kind, uint64_t first_index, uint64_t term,
                 struct segment_report *report, GError **error)
{
    struct scan scan = {
        .content = content, .kind = kind, .next_index = first_index, .last_term = term};
    bool is_unused = false;

    crc32_init(&scan.crc);
    int r = scan_format(&scan, &is_unused, error);
    if (r == 0 && !is_unused) {
        r = scan_batches(&scan, error);
    }
    if (r == 0) {
        *report = scan.report;
    }
    return r;
}

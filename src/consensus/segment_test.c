/* Segments as libraft writes them, whole, unfinished and damaged in every way that is told apart.
 */
#include "consensus/segment.h"

#include "consensus/consensus.h"
#include "consensus/entry.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ENTRY_BYTES 4096
#define BATCH_BYTES (16 + 16 + ENTRY_BYTES)
#define FIRST_INDEX 11

struct builder {
    uint8_t *content;
    size_t length, capacity;
    uint64_t next_index;
};

static void put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void builder_init(struct builder *builder)
{
    *builder = (struct builder){.capacity = 1024 * 1024, .next_index = FIRST_INDEX};
    builder->content = g_malloc0(builder->capacity);
    put_u64(builder->content, SEGMENT_FORMAT);
    builder->length = 8;
}

/* One batch with one entry; returns where it begins. */
static size_t add_entry(struct builder *builder, uint8_t type, uint64_t term)
{
    struct crc32 crc;
    uint8_t *at = builder->content + builder->length;
    uint8_t *data = at + 32;

    memset(data, 0xab, ENTRY_BYTES);
    if (type == 1) {
        entry_prefix_write(data, ENTRY_BYTES - ENTRY_PREFIX_BYTES, builder->next_index);
    }
    put_u64(at + 8, 1);
    put_u64(at + 16, term);
    put_u32(at + 24, type);
    put_u32(at + 28, ENTRY_BYTES);
    crc32_init(&crc);
    put_u32(at, crc32_compute(&crc, (struct bytes){at + 8, 24}));
    put_u32(at + 4, crc32_compute(&crc, (struct bytes){data, ENTRY_BYTES}));
    builder->length += BATCH_BYTES;
    builder->next_index++;
    return builder->length - BATCH_BYTES;
}

static void add_entries(struct builder *builder, unsigned count)
{
    while (count-- > 0) {
        add_entry(builder, 1, 3);
    }
}

struct result {
    int r;
    struct segment_report report;
    char message[256];
};

static struct result scan(const struct builder *builder, enum segment_kind kind)
{
    struct result result = {0};
    GError *error = NULL;
    size_t length = kind == SEGMENT_CLOSED ? builder->length : builder->capacity;
    result.r = segment_scan((struct bytes){builder->content, length}, kind, FIRST_INDEX, 2,
                            &result.report, &error);
    if (error) {
        g_strlcpy(result.message, error->message, sizeof result.message);
        g_error_free(error);
    }
    return result;
}

static void whole_segments_are_counted(void **test)
{
    struct builder builder;
    builder_init(&builder);
    add_entry(&builder, 3, 2);
    add_entry(&builder, 2, 3);
    add_entries(&builder, 5);
    for (enum segment_kind kind = SEGMENT_CLOSED; kind <= SEGMENT_OPEN_LAST; kind++) {
        struct result result = scan(&builder, kind);
        assert_int_equal(result.r, 0);
        assert_int_equal(result.report.entries, 7);
        assert_int_equal(result.report.first_term, 2);
        assert_int_equal(result.report.last_term, 3);
        assert_int_equal(result.report.used_bytes, builder.length);
        assert_false(result.report.is_torn);
    }
    g_free(builder.content);
}

static void segments_that_were_never_written_are_unused(void **test)
{
    struct builder builder;
    builder_init(&builder);
    assert_int_equal(scan(&builder, SEGMENT_OPEN_LAST).report.used_bytes, 0); /* the format alone */
    memset(builder.content, 0, 8);
    struct result result = scan(&builder, SEGMENT_OPEN_LAST);
    assert_int_equal(result.r, 0);
    assert_int_equal(result.report.used_bytes, 0);
    builder.length = 0;
    assert_int_equal(scan(&builder, SEGMENT_CLOSED).r, -EBADMSG);
    /* Only later sectors of the first write reached the disk. */
    builder.length = 8;
    add_entries(&builder, 1);
    memset(builder.content, 0, 1024);
    result = scan(&builder, SEGMENT_OPEN_LAST);
    assert_int_equal(result.r, 0);
    assert_true(result.report.is_torn);
    assert_int_equal(result.report.used_bytes, 0);
    g_free(builder.content);
}

static void an_unfinished_last_write_is_dropped_and_nothing_before_it(void **test)
{
    for (size_t sector = 0; sector < BATCH_BYTES / 512; sector++) {
        struct builder builder;
        builder_init(&builder);
        add_entries(&builder, 4);
        size_t begin = add_entry(&builder, 1, 3);
        size_t lost = (begin / 512 + 1 + sector) * 512;
        size_t end = lost + 512 < builder.length ? lost + 512 : builder.length;
        memset(builder.content + lost, 0, end - lost);
        struct result result = scan(&builder, SEGMENT_OPEN_LAST);
        assert_int_equal(result.r, 0);
        assert_int_equal(result.report.entries, 4);
        assert_int_equal(result.report.used_bytes, begin);
        assert_true(result.report.is_torn);
        assert_int_equal(scan(&builder, SEGMENT_OPEN).r, -EBADMSG);
        assert_int_equal(scan(&builder, SEGMENT_CLOSED).r, -EBADMSG);
        g_free(builder.content);
    }
}

static void a_lost_sector_before_later_writes_is_damage(void **test)
{
    struct builder builder;
    builder_init(&builder);
    add_entries(&builder, 4);
    memset(builder.content + 1024, 0, 512);
    assert_true(scan(&builder, SEGMENT_OPEN_LAST).report.is_torn); /* may all have been one write */
    add_entries(&builder, 20);
    struct result result = scan(&builder, SEGMENT_OPEN_LAST);
    assert_int_equal(result.r, -EBADMSG);
    assert_non_null(strstr(result.message, "later ones were written"));
    g_free(builder.content);
}

static void any_changed_byte_is_damage(void **test)
{
    struct builder builder;
    builder_init(&builder);
    add_entries(&builder, 3);
    for (size_t at = 0; at < builder.length; at += at < 64 ? 1 : 13) {
        uint8_t was = builder.content[at];
        for (unsigned change = 1; change < 256; change += 127) {
            builder.content[at] = was ^ (uint8_t)change;
            for (enum segment_kind kind = SEGMENT_CLOSED; kind <= SEGMENT_OPEN_LAST; kind++) {
                struct result result = scan(&builder, kind);
                if (result.r != -EBADMSG && result.r != -EPROTONOSUPPORT) {
                    fail_msg("byte %zu changed by %u is taken in kind %d", at, change, kind);
                }
            }
        }
        builder.content[at] = was;
    }
    g_free(builder.content);
}

static void a_change_in_a_payload_of_zeros_is_damage_and_not_an_unfinished_write(void **test)
{
    struct crc32 crc;
    struct builder builder;
    builder_init(&builder);
    size_t begin = add_entry(&builder, 1, 3);
    uint8_t *data = builder.content + begin + 32;
    memset(data + ENTRY_PREFIX_BYTES, 0, ENTRY_BYTES - ENTRY_PREFIX_BYTES);
    crc32_init(&crc);
    put_u32(builder.content + begin + 4, crc32_compute(&crc, (struct bytes){data, ENTRY_BYTES}));
    assert_int_equal(scan(&builder, SEGMENT_OPEN_LAST).report.entries, 1);
    data[2000] ^= 4;
    assert_int_equal(scan(&builder, SEGMENT_OPEN_LAST).r, -EBADMSG);
    g_free(builder.content);
}

static void a_file_that_was_cut_off_is_damage(void **test)
{
    struct builder builder;
    builder_init(&builder);
    add_entries(&builder, 3);
    for (size_t length = builder.length - 1; length > builder.length - BATCH_BYTES; length -= 97) {
        builder.capacity = length;
        struct result result = scan(&builder, SEGMENT_OPEN_LAST);
        assert_int_equal(result.r, -EBADMSG);
    }
    builder.capacity = builder.length; /* a stop that was cut short leaves this */
    assert_int_equal(scan(&builder, SEGMENT_OPEN_LAST).report.entries, 3);
    builder.capacity = 5;
    assert_int_equal(scan(&builder, SEGMENT_OPEN_LAST).r, -EBADMSG);
    g_free(builder.content);
}

static void entries_in_the_wrong_place_are_damage(void **test)
{
    struct builder builder;
    builder_init(&builder);
    add_entries(&builder, 1);
    builder.next_index++;
    add_entries(&builder, 1);
    struct result result = scan(&builder, SEGMENT_CLOSED);
    assert_int_equal(result.r, -EBADMSG);
    assert_non_null(strstr(result.message, "a file before this one is missing"));
    g_free(builder.content);

    builder_init(&builder);
    add_entry(&builder, 1, 5);
    add_entry(&builder, 1, 4);
    assert_int_equal(scan(&builder, SEGMENT_CLOSED).r, -EBADMSG);
    g_free(builder.content);

    builder_init(&builder);
    add_entry(&builder, 4, 5);
    assert_int_equal(scan(&builder, SEGMENT_CLOSED).r, -EBADMSG);
    g_free(builder.content);
}

static void a_newer_format_is_named_as_such(void **test)
{
    struct crc32 crc;
    struct builder builder;
    builder_init(&builder);
    size_t begin = add_entry(&builder, 1, 3);
    uint8_t *data = builder.content + begin + 32;
    crc32_init(&crc);

    data[3] = ENTRY_VERSION + 1;
    put_u32(builder.content + begin + 4, crc32_compute(&crc, (struct bytes){data, ENTRY_BYTES}));
    struct result result = scan(&builder, SEGMENT_CLOSED);
    assert_int_equal(result.r, -EPROTONOSUPPORT);
    assert_non_null(strstr(result.message, "newer version"));

    data[0] = 'X';
    put_u32(builder.content + begin + 4, crc32_compute(&crc, (struct bytes){data, ENTRY_BYTES}));
    assert_int_equal(scan(&builder, SEGMENT_CLOSED).r, -EBADMSG);

    put_u64(builder.content, 2);
    assert_int_equal(scan(&builder, SEGMENT_CLOSED).r, -EPROTONOSUPPORT);
    g_free(builder.content);
}

static void random_bytes_never_crash(void **test)
{
    GRand *random = g_rand_new_with_seed(4711);
    struct builder builder;
    builder_init(&builder);
    builder.capacity = 16 * 1024;
    for (unsigned round = 0; round < 2000; round++) {
        builder.length = (size_t)g_rand_int_range(random, 0, (int)builder.capacity);
        for (size_t i = 8; i < builder.capacity; i += 4) {
            put_u32(builder.content + i, g_rand_int(random) >> g_rand_int_range(random, 0, 32));
        }
        for (enum segment_kind kind = SEGMENT_CLOSED; kind <= SEGMENT_OPEN_LAST; kind++) {
            scan(&builder, kind);
        }
    }
    g_free(builder.content);
    g_rand_free(random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_segments_are_counted),
        cmocka_unit_test(segments_that_were_never_written_are_unused),
        cmocka_unit_test(an_unfinished_last_write_is_dropped_and_nothing_before_it),
        cmocka_unit_test(a_lost_sector_before_later_writes_is_damage),
        cmocka_unit_test(any_changed_byte_is_damage),
        cmocka_unit_test(a_change_in_a_payload_of_zeros_is_damage_and_not_an_unfinished_write),
        cmocka_unit_test(a_file_that_was_cut_off_is_damage),
        cmocka_unit_test(entries_in_the_wrong_place_are_damage),
        cmocka_unit_test(a_newer_format_is_named_as_such),
        cmocka_unit_test(random_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

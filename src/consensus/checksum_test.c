/* The checksums against published values, and against themselves in pieces. */
#include "consensus/checksum.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t checksum_of(const char *text)
{
    struct checksum checksum;
    checksum_init(&checksum);
    checksum_add(&checksum, text, strlen(text));
    return checksum_value(&checksum);
}

static void the_checksum_is_xxh64(void **test)
{
    assert_true(checksum_of("") == 0xEF46DB3751D8E999ull);
    assert_true(checksum_of("a") == 0xD24EC4F1A98C6E5Bull);
    assert_true(checksum_of("abc") == 0x44BC2CF5AD770999ull);
    assert_true(checksum_of("Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1ull);
}

static void pieces_give_the_checksum_of_the_whole(void **test)
{
    uint8_t bytes[301];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37);
    }
    struct checksum whole;
    checksum_init(&whole);
    checksum_add(&whole, bytes, sizeof bytes);
    for (size_t step = 1; step < 100; step++) {
        struct checksum pieces;
        checksum_init(&pieces);
        for (size_t at = 0; at < sizeof bytes; at += step) {
            size_t rest = sizeof bytes - at;
            checksum_add(&pieces, bytes + at, rest < step ? rest : step);
        }
        assert_true(checksum_value(&pieces) == checksum_value(&whole));
    }
}

static void the_crc_is_the_one_of_the_log(void **test)
{
    struct crc32 crc;
    crc32_init(&crc);
    /* libiberty's xcrc32 with init 0; the table's second entry is the polynomial. */
    assert_int_equal(crc.table[1], 0x04c11db7);
    assert_int_equal(crc.table[255], 0xb1f740b4);
    assert_int_equal(crc32_compute(&crc, bytes_from_string("123456789")), 0x89a1897f);
}

static void any_one_changed_byte_is_recognized(void **test)
{
    uint8_t bytes[600];
    struct crc32 crc;
    crc32_init(&crc);
    memset(bytes, 0x5a, sizeof bytes);
    struct bytes view = {bytes, sizeof bytes};
    uint32_t expected = crc32_compute(&crc, view);
    assert_false(crc32_is_one_byte_off(&crc, view, expected, expected, 8));
    for (size_t at = 0; at < sizeof bytes; at += 7) {
        for (unsigned change = 1; change < 256; change += 41) {
            bytes[at] ^= (uint8_t)change;
            bool is_bit = __builtin_popcount(change) == 1;
            assert_int_equal(
                crc32_is_one_byte_off(&crc, view, crc32_compute(&crc, view), expected, 1), is_bit);
            assert_true(crc32_is_one_byte_off(&crc, view, crc32_compute(&crc, view), expected, 8));
            bytes[at] ^= (uint8_t)change;
        }
    }
    memset(bytes + 100, 0, 300);
    assert_false(crc32_is_one_byte_off(&crc, view, crc32_compute(&crc, view), expected, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_xxh64),
        cmocka_unit_test(pieces_give_the_checksum_of_the_whole),
        cmocka_unit_test(the_crc_is_the_one_of_the_log),
        cmocka_unit_test(any_one_changed_byte_is_recognized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

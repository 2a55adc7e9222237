/* The histogram, the packets and the process figures of the load generator. */
#include "cli/bench/histogram.h"

#include "cli/bench/usage.h"
#include "cli/bench/wire.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void quantiles_are_within_one_percent(void **state)
{
    g_autofree struct histogram *histogram = g_new0(struct histogram, 1);
    for (uint64_t i = 1; i <= 100000; i++) {
        histogram_add(histogram, i * 1000);
    }
    assert_in_range(histogram_quantile(histogram, 0.5), 49500000, 50500000);
    assert_in_range(histogram_quantile(histogram, 0.99), 98000000, 100000000);
    assert_int_equal(histogram_quantile(histogram, 1), 100000000);
    assert_int_equal(histogram->most, 100000000);
    histogram_reset(histogram);
    assert_int_equal(histogram_quantile(histogram, 0.5), 0);
}

static void extreme_values_have_their_place(void **state)
{
    assert_int_equal(histogram_index(0), 0);
    assert_int_equal(histogram_index(127), 127);
    assert_true(histogram_index(128) > histogram_index(127));
    assert_true(histogram_index(UINT64_MAX) < HISTOGRAM_BUCKETS);
}

static void packets_have_their_length_and_places(void **state)
{
    struct wire_publish publish;
    wire_publish_init(&publish, 4, "bench/0", 1, true, 200);
    uint32_t length = 0;
    assert_int_equal(publish.bytes[0], 0x33);
    assert_int_equal(wire_length(publish.bytes + 1, publish.length - 1, &length), 2);
    assert_int_equal(length, 2 + 7 + 2 + 200);
    assert_int_equal(publish.length, 3 + length);
    assert_int_equal(publish.id_at, 3 + 2 + 7);
    assert_int_equal(publish.payload_at, publish.id_at + 2);
    wire_publish_deinit(&publish);
}

static void lengths_may_be_cut_or_malformed(void **state)
{
    uint32_t length = 0;
    assert_int_equal(wire_length((const uint8_t *)"\x80", 1, &length), 0);
    assert_int_equal(wire_length((const uint8_t *)"\xff\xff\xff\xff", 4, &length), -1);
    assert_int_equal(wire_length((const uint8_t *)"\xff\xff\xff\x7f", 4, &length), 4);
    assert_int_equal(length, 268435455);
}

static void a_process_has_memory_and_cpu_time(void **state)
{
    struct usage usage;
    usage_read(getpid(), &usage);
    assert_true(usage.rss_bytes > 0);
    assert_true(usage.cpu_ns > 0);
    assert_true(usage_cpu_ns(getpid()) >= usage.cpu_ns);
    usage_read(0x7ffffff0, &usage);
    assert_int_equal(usage.rss_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_one_percent),
        cmocka_unit_test(extreme_values_have_their_place),
        cmocka_unit_test(packets_have_their_length_and_places),
        cmocka_unit_test(lengths_may_be_cut_or_malformed),
        cmocka_unit_test(a_process_has_memory_and_cpu_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages: what is written is read again, pointers only lead backwards, nothing malformed is
 * taken. */
#include "discovery/dns.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct bytes of(const GByteArray *array)
{
    return (struct bytes){array->data, array->len};
}

static void what_is_written_is_read_again(void **state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GByteArray) srv = dns_srv_data(7474, "box.local");
    struct dns_reader reader;
    struct dns_record record;
    char target[DNS_NAME_TEXT_BYTES];
    uint16_t port = 0;

    dns_write_head(out, 77, DNS_FLAG_RESPONSE);
    dns_write_question(out, "_microcloud._tcp.local", DNS_PTR, DNS_CLASS_IN);
    dns_write_record(out, "my\\.box._microcloud._tcp.local", DNS_SRV,
                     DNS_CLASS_IN | DNS_CLASS_TOP_BIT, 120, of(srv));
    assert_int_equal(dns_reader_init(&reader, of(out)), 0);
    assert_int_equal(reader.id, 77);
    assert_int_equal(dns_reader_next(&reader, &record), 1);
    assert_true(record.is_question);
    assert_int_equal(record.type, DNS_PTR);
    assert_int_equal(dns_reader_next(&reader, &record), 1);
    assert_string_equal(record.name, "my\\.box._microcloud._tcp.local");
    assert_int_equal(record.class, DNS_CLASS_IN);
    assert_true(record.has_top_bit);
    assert_int_equal(record.ttl_s, 120);
    assert_int_equal(dns_record_target(of(out), &record, target, &port), 0);
    assert_string_equal(target, "box.local");
    assert_int_equal(port, 7474);
    assert_int_equal(dns_reader_next(&reader, &record), 0);
}

static void a_message_that_is_cut_off_anywhere_is_malformed(void **state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GByteArray) srv = dns_srv_data(1, "a.local");

    dns_write_head(out, 0, DNS_FLAG_RESPONSE);
    dns_write_record(out, "x.local", DNS_SRV, DNS_CLASS_IN, 1, of(srv));
    for (size_t length = 0; length < out->len; length++) {
        struct dns_reader reader;
        struct dns_record record;
        int r = dns_reader_init(&reader, (struct bytes){out->data, length});
        r = r < 0 ? r : dns_reader_next(&reader, &record);
        assert_int_equal(r, -EBADMSG);
    }
}

static void pointers_lead_backwards_only(void **state)
{
    /* Head with one question; its name is a pointer: to itself, to behind, to the head. */
    uint8_t message[] = {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 12, 0, 1};
    struct dns_reader reader;
    struct dns_record record;

    for (uint8_t target = 12; target < 20; target++) {
        message[13] = target;
        assert_int_equal(dns_reader_init(&reader, (struct bytes){message, sizeof message}), 0);
        assert_int_equal(dns_reader_next(&reader, &record), -EBADMSG);
    }
    message[13] = 6; /* a zero: the root */
    assert_int_equal(dns_reader_init(&reader, (struct bytes){message, sizeof message}), 0);
    assert_int_equal(dns_reader_next(&reader, &record), 1);
    assert_string_equal(record.name, "");
}

static void texts_are_found_by_their_key(void **state)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    dns_txt_add(data, "clusters", "no");
    dns_txt_add(data, "cluster", "abc");
    g_byte_array_append(data, (const uint8_t *)"\xffshort", 6); /* says more than it has */
    g_autofree char *found = dns_txt_get(of(data), "Cluster");
    assert_string_equal(found, "abc");
    assert_null(dns_txt_get(of(data), "version"));
}

static void long_labels_are_cut_between_characters(void **state)
{
    g_autofree char *many = g_strnfill(62, 'x');
    g_autofree char *label = g_strconcat(many, "é.", NULL);
    g_autofree char *escaped = dns_label_escape(label);

    assert_string_equal(escaped, many);
    g_autofree char *dotted = dns_label_escape("a.b\\c");
    assert_string_equal(dotted, "a\\.b\\\\c");
    g_autofree char *back = dns_label_unescape(dotted, strlen(dotted));
    assert_string_equal(back, "a.b\\c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(a_message_that_is_cut_off_anywhere_is_malformed),
        cmocka_unit_test(pointers_lead_backwards_only),
        cmocka_unit_test(texts_are_found_by_their_key),
        cmocka_unit_test(long_labels_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What one node says of itself is what another hears. */
#include "discovery/service.h"
#include "discovery/dns.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct service attic = {.name = "attic.box",
                                     .node_id = "00c0ffee00c0ffee",
                                     .cluster = "0b9610c4-e17",
                                     .version = "0.2.0",
                                     .port = 7474};

static struct bytes of(const GByteArray *array)
{
    return (struct bytes){array->data, array->len};
}

static void a_node_is_heard_as_it_is(void **state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct service_place place = {.v4 = inet_addr("192.168.1.10"), .ttl_s = 120};

    for (int is_legacy = 0; is_legacy < 2; is_legacy++) {
        place.is_legacy = is_legacy;
        service_write_answer(out, &attic, &place);
        g_autoptr(GPtrArray) heard = service_read(of(out));
        assert_int_equal(heard->len, 1);
        const struct service *service = heard->pdata[0];
        assert_string_equal(service->name, "attic.box");
        assert_string_equal(service->node_id, attic.node_id);
        assert_string_equal(service->cluster, attic.cluster);
        assert_string_equal(service->version, attic.version);
        assert_string_equal(service->address, "192.168.1.10");
        assert_int_equal(service->port, 7474);
        assert_false(service->is_gone);
    }
    place.ttl_s = 0;
    service_write_answer(out, &attic, &place);
    g_autoptr(GPtrArray) heard = service_read(of(out));
    assert_true(((const struct service *)heard->pdata[0])->is_gone);
}

static void an_address_of_version_6_serves_when_there_is_no_other(void **state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct in6_addr v6;

    inet_pton(AF_INET6, "fe80::1", &v6);
    service_write_answer(out, &attic, &(struct service_place){.v6 = &v6, .ttl_s = 1});
    g_autoptr(GPtrArray) heard = service_read(of(out));
    assert_string_equal(((const struct service *)heard->pdata[0])->address, "fe80::1");
}

static void only_questions_for_us_are_answered(void **state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint16_t id = 9;

    service_write_question(out);
    assert_true(service_is_asked(of(out), "attic.box", &id));
    assert_int_equal(id, 0);
    dns_write_head(out, 5, 0);
    dns_write_question(out, "_ipp._tcp.local", DNS_PTR, DNS_CLASS_IN);
    assert_false(service_is_asked(of(out), "attic.box", &id));
    dns_write_question(out, "Attic\\.Box._microcloud._tcp.local", DNS_SRV, DNS_CLASS_IN);
    assert_true(service_is_asked(of(out), "attic.box", &id));
    assert_int_equal(id, 5);
    assert_false(service_is_asked(of(out), "cellar", &id));
    service_write_answer(out, &attic, &(struct service_place){.ttl_s = 1, .is_legacy = true});
    assert_false(service_is_asked(of(out), "attic.box", &id));
}

static void what_is_not_ours_is_not_heard(void **state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GByteArray) data = dns_name_data("Printer._ipp._tcp.local");

    dns_write_head(out, 0, DNS_FLAG_RESPONSE);
    dns_write_record(out, "_ipp._tcp.local", DNS_PTR, DNS_CLASS_IN, 1, of(data));
    dns_write_record(out, SERVICE_TYPE, DNS_PTR, DNS_CLASS_IN, 1, of(data));
    g_autoptr(GPtrArray) heard = service_read(of(out));
    assert_int_equal(heard->len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_heard_as_it_is),
        cmocka_unit_test(an_address_of_version_6_serves_when_there_is_no_other),
        cmocka_unit_test(only_questions_for_us_are_answered),
        cmocka_unit_test(what_is_not_ours_is_not_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

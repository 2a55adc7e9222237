/* Who is connected by a virtual IP: kept, bounded, written and read again. */
#include "ingress/clients.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct ingress_client client(uint8_t vip, uint16_t peer_port)
{
    return (struct ingress_client){
        .vip = {10, 0, 0, vip}, .peer = {10, 0, 0, 7}, .port = 1883, .peer_port = peer_port};
}

static void count(void *owner, const struct ingress_client *each)
{
    unsigned *seen = owner;

    (*seen)++;
}

static unsigned count_of(const struct clients *clients, uint8_t vip, uint64_t except_id)
{
    struct ingress_client wanted = client(vip, 0);
    unsigned seen = 0;

    clients_for_each(clients, wanted.vip, false, except_id, count, &seen);
    return seen;
}

static void those_of_one_address_at_other_nodes_are_found(void **state)
{
    struct clients *clients = clients_new();

    for (uint16_t i = 0; i < 30; i++) {
        struct ingress_client each = client(i % 3 ? 100 : 101, i);
        clients_add(clients, i % 2 ? 1 : 2, &each);
    }
    assert_int_equal(count_of(clients, 100, 0), 20);
    assert_int_equal(count_of(clients, 100, 1), 10);
    assert_int_equal(count_of(clients, 101, 2), 5);
    assert_int_equal(count_of(clients, 102, 0), 0);
    clients_forget(clients, 1);
    assert_int_equal(count_of(clients, 100, 0), 10);
    clients_free(clients);
}

static void the_oldest_give_way(void **state)
{
    struct clients *clients = clients_new();

    for (unsigned i = 0; i < CLIENTS_PER_NODE_MAX + 100; i++) {
        struct ingress_client each = client(i < 100 ? 1 : 2, (uint16_t)i);
        clients_add(clients, 5, &each);
    }
    assert_int_equal(clients_count(clients, 5), CLIENTS_PER_NODE_MAX);
    assert_int_equal(count_of(clients, 1, 0), 0);
    assert_int_equal(count_of(clients, 2, 0), CLIENTS_PER_NODE_MAX);
    clients_free(clients);
}

static void what_is_written_is_read_again(void **state)
{
    uint8_t bytes[CLIENT_BYTES];

    for (unsigned is_ipv6 = 0; is_ipv6 <= 1; is_ipv6++) {
        struct ingress_client sent = client(9, 54321), got;
        memset(&got, 0, sizeof got);
        sent.is_ipv6 = is_ipv6;
        clients_encode(bytes, &sent);
        clients_decode(bytes, &got);
        assert_memory_equal(got.vip, sent.vip, sizeof sent.vip);
        assert_memory_equal(got.peer, sent.peer, sizeof sent.peer);
        assert_int_equal(got.port, 1883);
        assert_int_equal(got.peer_port, 54321);
        assert_int_equal(got.is_ipv6, sent.is_ipv6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_of_one_address_at_other_nodes_are_found),
        cmocka_unit_test(the_oldest_give_way),
        cmocka_unit_test(what_is_written_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Fuzzes what other nodes say of virtual IPs and of those who are connected by them
 * (ingress/peer_states.h, ingress/client_exchange.h): the input is a frame of each of two nodes. */
#include "ingress/client_exchange.h"
#include "ingress/clients.h"
#include "ingress/peer_states.h"
#include "loop/loop.h"
#include "state/cluster_tables.h"
#include <assert.h>
#include <string.h>

#define NODES     2
#define STATE     1 /* the first byte of a frame, as in node/cluster_vip.c */
#define VIP_COUNT 2

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check_states(const struct peer_states *states)
{
    static const struct virtual_address vips[VIP_COUNT] = {{.address = "10.0.0.1"},
                                                           {.address = "fd00::1", .is_ipv6 = true}};

    for (unsigned i = 0; i < VIP_COUNT; i++) {
        uint64_t holder = peer_states_holder(states, &vips[i]);
        const char *problem = peer_states_problem(states, &vips[i]);
        assert(holder == 0 || peer_states_is_holder(states, holder));
        assert(!problem || g_utf8_validate(problem, -1, NULL));
    }
    for (uint64_t id = 1; id <= NODES; id++) {
        assert(!peer_states_is_able(states, id) || !peer_states_is_unable(states, id));
    }
}

static void check_clients(struct bytes body)
{
    for (size_t at = 0; at + CLIENT_BYTES <= body.length; at += CLIENT_BYTES) {
        uint8_t bytes[CLIENT_BYTES];
        struct ingress_client client, again;
        clients_decode(body.at + at, &client);
        clients_encode(bytes, &client);
        clients_decode(bytes, &again);
        assert(memcmp(bytes + 1, body.at + at + 1, CLIENT_BYTES - 1) == 0);
        assert(again.is_ipv6 == client.is_ipv6 && again.port == client.port);
    }
}

/* One for all inputs: its timer is freed by a loop that runs, and this one does not. */
static struct client_exchange *the_exchange(void)
{
    static struct client_exchange *exchange;

    if (!exchange) {
        struct client_exchange_options options = {.loop = loop_new(), .own_id = NODES + 1};
        exchange = client_exchange_new(&options);
    }
    return exchange;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct client_exchange *exchange = the_exchange();
    struct peer_states *states = peer_states_new();
    size_t first = size > 0 ? MIN(input[0], size - 1) : 0;
    struct bytes frames[NODES] = {{input + (size > 0), first}};

    if (size > 0) {
        frames[1] = (struct bytes){input + 1 + first, size - 1 - first};
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (frames[i].length == 0) {
            continue;
        }
        /* Nothing behind it, for the sanitizers. */
        g_autofree uint8_t *copy = g_memdup2(frames[i].at, frames[i].length);
        struct bytes body = {copy + 1, frames[i].length - 1};
        if (copy[0] == STATE) {
            peer_states_told(states, i + 1, body);
            check_states(states);
        } else {
            client_exchange_on_frame(exchange, i + 1, copy[0], body);
            check_clients(body);
        }
    }
    peer_states_forget(states, 1);
    assert(!peer_states_is_holder(states, 1));
    peer_states_free(states);
    for (uint64_t id = 1; id <= NODES; id++) {
        client_exchange_on_frame(exchange, id, CLIENT_EXCHANGE_FORGET, (struct bytes){0});
    }
    return 0;
}

/* Who is connected is told to others, over real connections in a network namespace of the test's
 * own, whose loopback has the virtual IP; the keeper is the test's end of a pair. */
#include "ingress/client_exchange.h"
#include "base/clock.h"
#include "ingress/clients.h"
#include "ingress/ingress.h"
#include "loop/loop.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAMES_MAX 8
#define VIP        0x0a000001 /* 10.0.0.1 */

struct play {
    struct fixture fixture;
    struct loop *loop;
    struct timer *timer;
    struct ingress *ingress;
    struct client_exchange *exchange;
    struct keeper_ends keeper;
    int listener, client, accepted;
    uint16_t port, client_port;
    GBytes *frames[FRAMES_MAX]; /* sent, owned */
    uint64_t to[FRAMES_MAX];
    unsigned sent;
};

static void on_send(void *owner, uint64_t node_id, struct bytes frame)
{
    struct play *play = owner;

    assert_in_range(play->sent, 0, FRAMES_MAX - 1);
    play->to[play->sent] = node_id;
    play->frames[play->sent++] = g_bytes_new(frame.at, frame.length);
}

static void on_held(void *owner, const struct virtual_address *vip)
{
    struct play *play = owner;

    client_exchange_held(play->exchange);
}

static void on_changed(void *owner)
{
}

static void on_timer(void *owner)
{
    struct play *play = owner;

    loop_stop(play->loop);
}

static const struct ingress_events events = {on_held, on_changed};

static uint16_t port_of(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

static void connect_client(struct play *play)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(VIP)}};

    play->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(play->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(play->listener, 1), 0);
    play->port = port_of(play->listener);
    address.sin_port = htons(play->port);
    play->client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(play->client, (struct sockaddr *)&address, sizeof address), 0);
    play->client_port = port_of(play->client);
    play->accepted = accept(play->listener, NULL, NULL);
    assert_true(play->accepted >= 0);
}

static int set_up(void **state)
{
    struct play *play = g_new0(struct play, 1);
    int pair[2], renewals[2];

    fixture_init(&play->fixture);
    run(&play->fixture,
        state_propose_vip_set(play->fixture.state, "10.0.0.1/24", "lo", &play->fixture.completion));
    assert_int_equal(state_vip_count(play->fixture.state), 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, renewals), 0);
    play->keeper = (struct keeper_ends){pair[0], renewals[0]};
    play->loop = loop_new();
    play->timer = timer_new(play->loop, on_timer, play);
    play->ingress =
        ingress_new(play->loop, (struct keeper_ends){pair[1], renewals[1]}, &events, play);
    ingress_set(play->ingress, play->fixture.state, false);
    play->exchange = client_exchange_new(&(struct client_exchange_options){
        .loop = play->loop, .ingress = play->ingress, .own_id = 1, .send = on_send, .owner = play});
    connect_client(play);
    *state = play;
    return 0;
}

static int tear_down(void **state)
{
    struct play *play = *state;

    for (unsigned i = 0; i < play->sent; i++) {
        g_bytes_unref(play->frames[i]);
    }
    client_exchange_free(play->exchange);
    ingress_free(play->ingress);
    timer_free(play->timer);
    loop_free(play->loop);
    close(play->keeper.pair);
    close(play->keeper.renewals);
    close(play->listener);
    close(play->client);
    close(play->accepted);
    fixture_deinit(&play->fixture);
    g_free(play);
    return 0;
}

static struct keeper_message next(struct play *play)
{
    struct keeper_message message;

    if (recv(play->keeper.pair, &message, sizeof message, 0) != sizeof message) {
        message = (struct keeper_message){0};
    }
    return message;
}

/* The keeper says that the address is here. */
static void hold(struct play *play)
{
    ingress_lease(play->ingress, clock_now_ms() + 1000);
    struct keeper_message message = next(play);
    assert_int_equal(message.type, KEEPER_HOLD);
    message.type = KEEPER_HELD;
    assert_int_equal(send(play->keeper.pair, &message, sizeof message, 0), sizeof message);
    for (int turns = 0; turns < 2; turns++) {
        timer_start(play->timer, 0);
        loop_run(play->loop);
    }
}

static uint8_t kind(const struct play *play, unsigned frame)
{
    return *(const uint8_t *)g_bytes_get_data(play->frames[frame], NULL);
}

/* Whether the frame names the client of this test. */
static bool names_the_client(const struct play *play, unsigned frame)
{
    gsize length;
    const uint8_t *bytes = g_bytes_get_data(play->frames[frame], &length);
    struct ingress_client client;

    for (gsize at = 1; at + CLIENT_BYTES <= length; at += CLIENT_BYTES) {
        clients_decode(bytes + at, &client);
        if (client.port == play->port && client.peer_port == play->client_port) {
            return true;
        }
    }
    return false;
}

static void nobody_is_told_of_clients_of_other_addresses(void **state)
{
    struct play *play = *state;

    client_exchange_accepted(play->exchange, play->accepted); /* nothing is held */
    assert_int_equal(play->sent, 0);
}

static void all_are_told_of_who_came_before_the_keeper_answered(void **state)
{
    struct play *play = *state;

    hold(play);
    assert_int_equal(play->sent, 2);
    assert_int_equal(kind(play, 0), CLIENT_EXCHANGE_FORGET);
    assert_int_equal(kind(play, 1), CLIENT_EXCHANGE_CLIENTS);
    assert_int_equal(play->to[1], 0);
    assert_true(names_the_client(play, 1));
}

static void all_are_told_of_who_comes(void **state)
{
    struct play *play = *state;

    hold(play);
    client_exchange_accepted(play->exchange, play->accepted);
    assert_int_equal(play->sent, 3);
    assert_int_equal(kind(play, 2), CLIENT_EXCHANGE_CLIENTS);
    assert_true(names_the_client(play, 2));
}

static void one_node_is_told_of_all(void **state)
{
    struct play *play = *state;

    hold(play);
    client_exchange_tell(play->exchange, 7);
    assert_int_equal(play->sent, 4);
    assert_int_equal(play->to[2], 7);
    assert_int_equal(play->to[3], 7);
    assert_true(names_the_client(play, 3));
}

static void tell_of_client(struct play *play, uint64_t node_id, uint16_t peer_port)
{
    struct ingress_client client = {
        .vip = {10, 0, 0, 1}, .peer = {10, 0, 0, 9}, .port = 1883, .peer_port = peer_port};
    uint8_t body[CLIENT_BYTES];

    clients_encode(body, &client);
    client_exchange_on_frame(play->exchange, node_id, CLIENT_EXCHANGE_CLIENTS,
                             (struct bytes){body, sizeof body});
}

static void the_next_holder_tickles_clients_of_others(void **state)
{
    struct play *play = *state;

    tell_of_client(play, 2, 5001);
    tell_of_client(play, 3, 5002);
    client_exchange_on_frame(play->exchange, 3, CLIENT_EXCHANGE_FORGET, (struct bytes){NULL, 0});
    client_exchange_on_frame(play->exchange, 2, 99, (struct bytes){NULL, 0}); /* a newer node's */
    hold(play);
    struct keeper_message tickle = next(play);
    assert_int_equal(tickle.type, KEEPER_TICKLE);
    assert_int_equal(tickle.peer_port, 5001);
    assert_int_equal(tickle.port, 1883);
    assert_int_equal(tickle.peer[3], 9);
    assert_int_equal(next(play).type, 0);
}

/* False where that is not allowed. */
static bool enter_namespace(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(VIP)}};

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    memcpy(&request.ifr_addr, &address, sizeof address);
    int r = ioctl(fd, SIOCSIFADDR, &request);
    request.ifr_flags = IFF_UP;
    r = r < 0 ? r : ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
    return r == 0;
}

#define EXCHANGE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXCHANGE_TEST(nobody_is_told_of_clients_of_other_addresses),
        EXCHANGE_TEST(all_are_told_of_who_came_before_the_keeper_answered),
        EXCHANGE_TEST(all_are_told_of_who_comes),
        EXCHANGE_TEST(one_node_is_told_of_all),
        EXCHANGE_TEST(the_next_holder_tickles_clients_of_others),
    };
    if (!enter_namespace()) {
        return 77; /* skipped: no namespaces here */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

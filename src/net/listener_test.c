/* Listening and connecting: both families, Unix sockets, the PROXY protocol, running out of
 * descriptors. */
#include "net/listener.h"
#include "net/connector.h"
#include "net/fixture.h"
#include "net/stream_pair.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

struct world {
    struct loop *loop;
    struct listener *listener;
    struct connector *connector;
    struct owner accepted, connected;
    unsigned accepts, results;
    char *error;
    char *path;
};

static void on_stream(void *owner, struct stream *stream)
{
    struct world *world = owner;

    if (world->accepts++ == 0) {
        owner_start(&world->accepted, stream);
    } else {
        stream_reset(stream);
    }
}

static void on_done(void *owner, struct stream *stream, const char *error)
{
    struct world *world = owner;

    world->results++;
    world->error = g_strdup(error);
    if (stream) {
        owner_start(&world->connected, stream);
    }
}

static int set_up(void **state)
{
    struct world *world = g_new0(struct world, 1);

    world->loop = loop_new();
    world->path = g_strdup_printf("%s/listener-test-%d.sock", g_get_tmp_dir(), getpid());
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    listener_free(world->listener);
    connector_free(world->connector);
    if (world->accepted.received) {
        owner_finish(&world->accepted);
    }
    if (world->connected.received) {
        owner_finish(&world->connected);
    }
    loop_free(world->loop);
    g_unlink(world->path);
    g_free(world->path);
    g_free(world->error);
    g_free(world);
    return 0;
}

static void listen_with(struct world *world, struct listener_options options)
{
    GError *error = NULL;

    world->listener = listener_new(world->loop, &options, on_stream, world, &error);
    assert_null(error);
}

static void connect_to(struct world *world, const char *host, uint16_t port)
{
    world->connector = connector_new(world->loop, host, port, NULL, 2000, on_done, world);
}

static void bytes_travel_both_ways(struct world *world)
{
    wait_for(world->loop, world->connected.stream && world->accepted.stream);
    stream_write(world->connected.stream, "hello", 5);
    wait_for(world->loop, owner_has(&world->accepted, "hello"));
    stream_write(world->accepted.stream, "welcome", 7);
    wait_for(world->loop, owner_has(&world->connected, "welcome"));
}

static int connect_raw(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* ---- addresses ---- */

static void ip4_tells_the_peer_s_address(void **state)
{
    struct world *world = *state;
    struct stream_peer peer;

    listen_with(world, (struct listener_options){.address = "127.0.0.1"});
    connect_to(world, "127.0.0.1", listener_port(world->listener));
    bytes_travel_both_ways(world);
    stream_peer(world->accepted.stream, &peer);
    assert_string_equal(peer.address, "127.0.0.1");
    assert_int_equal(peer.kind, STREAM_TCP);
    assert_true(peer.is_loopback && peer.port != 0);
}

static void ip6_does_too(void **state)
{
    struct world *world = *state;
    struct stream_peer peer;

    listen_with(world, (struct listener_options){.address = "::1"});
    connect_to(world, "::1", listener_port(world->listener));
    bytes_travel_both_ways(world);
    stream_peer(world->accepted.stream, &peer);
    assert_string_equal(peer.address, "::1");
    assert_true(peer.is_loopback);
}

static void without_an_address_both_families_share_one_port(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct listener_options){.address = NULL});
    close(connect_raw(listener_port(world->listener)));
    wait_for(world->loop, world->accepts == 1);
    connect_to(world, "::1", listener_port(world->listener));
    wait_for(world->loop, world->accepts == 2);
}

static void an_address_in_use_or_none_is_an_error_that_says_so(void **state)
{
    struct world *world = *state;
    g_autoptr(GError) in_use = NULL, none = NULL;

    listen_with(world, (struct listener_options){.address = "127.0.0.1"});
    struct listener_options again = {.address = "127.0.0.1",
                                     .port = listener_port(world->listener)};
    assert_null(listener_new(world->loop, &again, on_stream, world, &in_use));
    assert_non_null(strstr(in_use->message, "address in use"));
    struct listener_options name = {.address = "localhost"};
    assert_null(listener_new(world->loop, &name, on_stream, world, &none));
    assert_non_null(strstr(none->message, "numeric"));
}

static void nobody_listening_is_told_with_a_reason(void **state)
{
    struct world *world = *state;

    connect_to(world, "127.0.0.1", 1);
    wait_for(world->loop, world->results == 1);
    assert_non_null(strstr(world->error, "refused"));
}

static void a_name_that_is_none_is_told(void **state)
{
    struct world *world = *state;

    connect_to(world, "no such name.invalid", 1);
    wait_for(world->loop, world->results == 1);
    assert_non_null(strstr(world->error, "no such name.invalid"));
}

static void a_connector_given_up_says_nothing(void **state)
{
    struct world *world = *state;

    connect_to(world, "localhost", 1);
    connector_free(world->connector);
    world->connector = NULL;
    for (unsigned i = 0; i < 5; i++) {
        run_once(world->loop);
    }
    assert_int_equal(world->results, 0);
}

/* ---- Unix sockets ---- */

static void a_unix_socket_has_its_mode_and_vanishes_with_the_listener(void **state)
{
    struct world *world = *state;
    g_autofree char *host = g_strconcat("unix:", world->path, NULL);
    struct stream_peer peer;
    struct stat status;

    listen_with(world, (struct listener_options){.unix_path = world->path});
    assert_int_equal(stat(world->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    connect_to(world, host, 0);
    bytes_travel_both_ways(world);
    stream_peer(world->accepted.stream, &peer);
    assert_string_equal(peer.address, "unix");
    assert_int_equal(peer.kind, STREAM_UNIX);
    listener_free(world->listener);
    world->listener = NULL;
    assert_int_not_equal(stat(world->path, &status), 0);
}

static void a_stale_socket_file_is_replaced(void **state)
{
    struct world *world = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, world->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    listen_with(world, (struct listener_options){.unix_path = world->path});
}

static void a_socket_in_use_and_a_file_that_is_none_are_left_alone(void **state)
{
    struct world *world = *state;
    g_autoptr(GError) in_use = NULL, file = NULL;
    struct listener_options options = {.unix_path = world->path};

    listen_with(world, options);
    assert_null(listener_new(world->loop, &options, on_stream, world, &in_use));
    assert_non_null(strstr(in_use->message, "another process listens"));
    assert_true(g_file_test(world->path, G_FILE_TEST_EXISTS));
    listener_free(world->listener);
    world->listener = NULL;

    g_file_set_contents(world->path, "precious", -1, NULL);
    assert_null(listener_new(world->loop, &options, on_stream, world, &file));
    assert_non_null(strstr(file->message, "no socket"));
    assert_true(g_file_test(world->path, G_FILE_TEST_IS_REGULAR));
}

/* The other end does not read. */
static void what_the_other_kernel_has_is_known(void **state)
{
    struct world *world = *state;
    uint64_t sent = 0, arrived = 0, sent_before = 0, arrived_before = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    listen_with(world, (struct listener_options){.address = "127.0.0.1"});
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(listener_port(world->listener)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    wait_for(world->loop, world->accepts > 0);
    struct stream *stream = world->accepted.stream;
    assert_true(stream_progress(stream, &sent_before, &arrived_before));
    assert_int_equal(sent_before, arrived_before);
    stream_write(stream, "hello", 5);
    wait_for(world->loop, stream_pending_bytes(stream) == 0);
    wait_for(world->loop, stream_progress(stream, &sent, &arrived) && sent == arrived);
    assert_int_equal(arrived - arrived_before, 5);
    close(fd);
}

static void two_streams_in_this_process_are_joined(void **state)
{
    struct world *world = *state;
    struct stream *a, *b;

    assert_int_equal(stream_pair_new(world->loop, &a, &b), 0);
    owner_start(&world->accepted, a);
    owner_start(&world->connected, b);
    bytes_travel_both_ways(world);
}

/* ---- PROXY protocol ---- */

static const uint8_t proxy_header[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49,
                                       0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, 192,  0,    2,    1,
                                       198,  51,   100,  2,    0x12, 0x34, 0x07, 0x5b};

static void the_proxy_s_client_is_the_peer_though_the_header_trickles_in(void **state)
{
    struct world *world = *state;
    struct stream_peer peer;

    listen_with(world, (struct listener_options){.address = "127.0.0.1", .proxy_protocol = true});
    int fd = connect_raw(listener_port(world->listener));
    for (size_t i = 0; i < sizeof proxy_header; i++) {
        assert_int_equal(world->accepts, 0);
        assert_int_equal(send(fd, proxy_header + i, 1, 0), 1);
        run_once(world->loop);
    }
    peer_send(fd, "CONNECT");
    wait_for(world->loop, world->accepted.received && owner_has(&world->accepted, "CONNECT"));
    stream_peer(world->accepted.stream, &peer);
    assert_string_equal(peer.address, "192.0.2.1");
    assert_int_equal(peer.port, 0x1234);
    assert_false(peer.is_loopback);
    close(fd);
}

static void bytes_in_one_piece_with_the_header_are_kept(void **state)
{
    struct world *world = *state;
    uint8_t bytes[sizeof proxy_header + 3];

    memcpy(bytes, proxy_header, sizeof proxy_header);
    memcpy(bytes + sizeof proxy_header, "abc", 3);
    listen_with(world, (struct listener_options){.address = "127.0.0.1", .proxy_protocol = true});
    int fd = connect_raw(listener_port(world->listener));
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    wait_for(world->loop, world->accepted.received && owner_has(&world->accepted, "abc"));
    close(fd);
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void what_is_no_proxy_header_is_refused(void **state)
{
    struct world *world = *state;
    static const char *const inputs[] = {"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
                                         "\x10\x10 a bare CONNECT", "\r\n\r\n"};

    listen_with(world, (struct listener_options){.address = "127.0.0.1", .proxy_protocol = true});
    for (unsigned i = 0; i < G_N_ELEMENTS(inputs); i++) {
        int fd = connect_raw(listener_port(world->listener));
        peer_send(fd, inputs[i]);
        shutdown(fd, SHUT_WR);
        wait_for(world->loop, is_closed(fd));
        close(fd);
    }
    assert_int_equal(world->accepts, 0);
}

/* ---- limits ---- */

static void running_out_of_descriptors_is_survived(void **state)
{
    struct world *world = *state;
    struct rlimit limit, tight;

    listen_with(world, (struct listener_options){.address = "127.0.0.1"});
    int fd = connect_raw(listener_port(world->listener));
    int next = dup(fd);
    getrlimit(RLIMIT_NOFILE, &limit);
    tight = limit;
    tight.rlim_cur = (rlim_t)next;
    close(next);
    for (int i = 3; i < next; i++) { /* fill the holes */
        if (fcntl(i, F_GETFD) < 0) {
            dup2(fd, i);
        }
    }
    setrlimit(RLIMIT_NOFILE, &tight);
    for (unsigned i = 0; i < 3; i++) {
        run_once(world->loop);
    }
    assert_int_equal(world->accepts, 0);
    setrlimit(RLIMIT_NOFILE, &limit);
    wait_for(world->loop, world->accepts == 1);
    close(fd);
}

#define LISTENER_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LISTENER_TEST(ip4_tells_the_peer_s_address),
        LISTENER_TEST(ip6_does_too),
        LISTENER_TEST(without_an_address_both_families_share_one_port),
        LISTENER_TEST(an_address_in_use_or_none_is_an_error_that_says_so),
        LISTENER_TEST(nobody_listening_is_told_with_a_reason),
        LISTENER_TEST(a_name_that_is_none_is_told),
        LISTENER_TEST(a_connector_given_up_says_nothing),
        LISTENER_TEST(a_unix_socket_has_its_mode_and_vanishes_with_the_listener),
        LISTENER_TEST(a_stale_socket_file_is_replaced),
        LISTENER_TEST(a_socket_in_use_and_a_file_that_is_none_are_left_alone),
        LISTENER_TEST(what_the_other_kernel_has_is_known),
        LISTENER_TEST(two_streams_in_this_process_are_joined),
        LISTENER_TEST(the_proxy_s_client_is_the_peer_though_the_header_trickles_in),
        LISTENER_TEST(bytes_in_one_piece_with_the_header_are_kept),
        LISTENER_TEST(what_is_no_proxy_header_is_refused),
        LISTENER_TEST(running_out_of_descriptors_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

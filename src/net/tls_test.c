/* TLS from listener to connector: versions, client certificates, reload, handshakes that fail. */
#include "net/tls.h"
#include "net/connector.h"
#include "net/fixture.h"
#include "net/listener.h"
#include "net/tls_private.h"
#include "net/transport.h"
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <openssl/ssl.h>

struct world {
    struct loop *loop;
    char *folder, *certificate, *key, *client_certificate, *client_key;
    struct tls_context *server, *client;
    struct listener *listener;
    struct connector *connector;
    struct owner accepted, connected;
    unsigned accepts, results;
    char *error; /* of connecting */
};

static void on_stream(void *owner, struct stream *stream)
{
    struct world *world = owner;

    world->accepts++;
    owner_start(&world->accepted, stream);
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
    world->folder = g_dir_make_tmp("tls-test-XXXXXX", NULL);
    world->certificate = g_build_filename(world->folder, "server.pem", NULL);
    world->key = g_build_filename(world->folder, "server.key", NULL);
    world->client_certificate = g_build_filename(world->folder, "client.pem", NULL);
    world->client_key = g_build_filename(world->folder, "client.key", NULL);
    tls_make_self_signed(world->certificate, world->key, "box.example", NULL);
    tls_make_self_signed(world->client_certificate, world->client_key, "sensor-7", NULL);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    const char *names[] = {world->certificate, world->key, world->client_certificate,
                           world->client_key};

    listener_free(world->listener);
    connector_free(world->connector);
    if (world->accepted.received) {
        owner_finish(&world->accepted);
    }
    if (world->connected.received) {
        owner_finish(&world->connected);
    }
    tls_context_free(world->server);
    tls_context_free(world->client);
    loop_free(world->loop);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_unlink(names[i]);
    }
    g_rmdir(world->folder);
    g_free(world->folder);
    g_free(world->certificate);
    g_free(world->key);
    g_free(world->client_certificate);
    g_free(world->client_key);
    g_free(world->error);
    g_free(world);
    return 0;
}

static void listen_with(struct world *world, struct tls_options options)
{
    GError *error = NULL;

    if (!options.certificate_pem) {
        options.certificate_file = world->certificate;
        options.key_file = world->key;
    }
    world->server = tls_context_new(&options, &error);
    assert_null(error);
    struct listener_options listening = {.address = "127.0.0.1", .tls = world->server};
    world->listener = listener_new(world->loop, &listening, on_stream, world, &error);
    assert_null(error);
}

static void connect_with(struct world *world, struct tls_options options, const char *host)
{
    GError *error = NULL;

    options.is_client = true;
    if (!options.ca_file && !options.ca_sha256) {
        options.ca_file = world->certificate;
    }
    tls_context_free(world->client);
    world->client = tls_context_new(&options, &error);
    assert_null(error);
    connector_free(world->connector);
    world->connector = connector_new(world->loop, host, listener_port(world->listener),
                                     world->client, 3000, on_done, world);
}

static void bytes_travel_both_ways(struct world *world)
{
    wait_for(world->loop, world->connected.stream != NULL);
    stream_write(world->connected.stream, "hello", 5);
    wait_for(world->loop, world->accepted.received && owner_has(&world->accepted, "hello"));
    stream_write(world->accepted.stream, "welcome", 7);
    wait_for(world->loop, owner_has(&world->connected, "welcome"));
}

static void tls_1_3_carries_bytes_both_ways(void **state)
{
    struct world *world = *state;
    struct stream_peer peer;

    listen_with(world, (struct tls_options){.minimum_version = "1.3"});
    connect_with(world, (struct tls_options){.minimum_version = "1.3"}, "localhost");
    bytes_travel_both_ways(world);
    stream_peer(world->accepted.stream, &peer);
    assert_int_equal(peer.kind, STREAM_TLS);
    assert_true(peer.is_loopback);
    assert_null(peer.certificate_cn);
}

static void tls_1_2_is_spoken_too(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.maximum_version = "1.2"});
    connect_with(world, (struct tls_options){.insecure = false}, "127.0.0.1");
    bytes_travel_both_ways(world);
}

static void a_version_that_is_too_old_is_refused(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.minimum_version = "1.3"});
    connect_with(world, (struct tls_options){.maximum_version = "1.2"}, "localhost");
    wait_for(world->loop, world->results == 1 && world->accepted.ends == 1);
    assert_non_null(world->error);
    assert_int_equal(world->accepted.error, -EPROTO);
}

static void a_megabyte_comes_through_whole(void **state)
{
    struct world *world = *state;
    g_autofree char *much = g_malloc(1000000);

    for (size_t i = 0; i < 1000000; i++) {
        much[i] = (char)(i * 31 + i / 1000);
    }
    listen_with(world, (struct tls_options){.insecure = false});
    connect_with(world, (struct tls_options){.insecure = false}, "localhost");
    wait_for(world->loop, world->connected.stream != NULL);
    for (size_t at = 0; at < 1000000; at += 100) {
        stream_write(world->connected.stream, much + at, 100);
    }
    wait_for(world->loop, world->accepted.received && world->accepted.received->len == 1000000);
    assert_memory_equal(world->accepted.received->data, much, 1000000);
}

/* What came before is read together with the end, which must still be told as what it was: a reset
 * proves something else than silence does. */
static void last_words_come_and_the_reset_behind_them_is_told(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.insecure = false});
    connect_with(world, (struct tls_options){.insecure = false}, "localhost");
    bytes_travel_both_ways(world);
    struct stream *stream = TAKE(world->connected.stream);
    g_byte_array_set_size(world->accepted.received, 0);
    stream_write(stream, "last words", 10);
    stream->transport->flush(stream);
    stream_reset(stream);
    wait_for(world->loop, world->accepted.ends == 1);
    assert_true(owner_has(&world->accepted, "last words"));
    assert_int_equal(world->accepted.error, -ECONNRESET);
}

/* The reset is first seen when something is written: a process that was stopped writes first. */
static void last_words_come_though_an_answer_finds_nobody(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.insecure = false});
    connect_with(world, (struct tls_options){.insecure = false}, "localhost");
    bytes_travel_both_ways(world);
    struct stream *stream = TAKE(world->connected.stream);
    g_byte_array_set_size(world->accepted.received, 0);
    stream_write(stream, "last words", 10);
    stream->transport->flush(stream);
    stream_reset(stream);
    stream_turn(stream);
    stream_write(world->accepted.stream, "answer", 6);
    world->accepted.stream->transport->flush(world->accepted.stream);
    wait_for(world->loop, world->accepted.ends == 1);
    assert_true(owner_has(&world->accepted, "last words"));
    assert_true(world->accepted.error == 0 || world->accepted.error == -ECONNRESET);
}

/* Who closes its port has handshakes under way. */
static void a_handshake_goes_on_when_its_context_is_freed(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.alpn = "one two"});
    connect_with(world, (struct tls_options){.alpn = "two"}, "localhost");
    wait_for(world->loop, world->accepted.received != NULL);
    tls_context_free(TAKE(world->server));
    tls_context_free(TAKE(world->client));
    bytes_travel_both_ways(world);
}

/* With a client that would rather have these. */
static const char *cipher_agreed_on(struct world *world, const char *of_client)
{
    SSL *server = tls_connection_new(world->server, NULL);
    SSL *client = tls_connection_new(world->client, "localhost");
    BIO *server_bio, *client_bio;

    BIO_new_bio_pair(&server_bio, 0, &client_bio, 0);
    SSL_set_bio(server, server_bio, server_bio);
    SSL_set_bio(client, client_bio, client_bio);
    SSL_set_ciphersuites(client, of_client);
    for (unsigned i = 0; i < 10 && !SSL_is_init_finished(server); i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    const char *name = SSL_get_cipher_name(server); /* static */
    SSL_free(server);
    SSL_free(client);
    return name;
}

static void the_cipher_is_the_cheapest_that_both_sides_can_do(void **state)
{
    struct world *world = *state;
    struct tls_options client = {.is_client = true, .ca_file = world->certificate};

    listen_with(world, (struct tls_options){.minimum_version = "1.3"});
    world->client = tls_context_new(&client, NULL);
    assert_string_equal(
        cipher_agreed_on(world, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"),
        "TLS_CHACHA20_POLY1305_SHA256");
    assert_string_equal(cipher_agreed_on(world, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"),
                        "TLS_AES_128_GCM_SHA256");
}

static void a_verified_client_certificate_names_its_owner(void **state)
{
    struct world *world = *state;
    struct stream_peer peer;

    listen_with(world, (struct tls_options){.ca_file = world->client_certificate,
                                            .require_client_certificate = true});
    connect_with(world,
                 (struct tls_options){.certificate_file = world->client_certificate,
                                      .key_file = world->client_key},
                 "localhost");
    bytes_travel_both_ways(world);
    stream_peer(world->accepted.stream, &peer);
    assert_string_equal(peer.certificate_cn, "sensor-7");
}

static void a_client_without_the_required_certificate_is_refused(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.ca_file = world->client_certificate,
                                            .require_client_certificate = true});
    connect_with(world, (struct tls_options){.insecure = false}, "localhost");
    wait_for(world->loop, world->accepted.ends == 1);
    assert_int_equal(world->accepted.error, -EPROTO);
    assert_int_equal(world->accepted.received->len, 0);
}

static void a_server_that_nobody_vouches_for_is_refused(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.insecure = false});
    connect_with(world, (struct tls_options){.ca_file = world->client_certificate}, "localhost");
    wait_for(world->loop, world->results == 1);
    assert_non_null(world->error);
    assert_null(world->connected.stream);
}

static void a_reload_counts_for_new_connections_and_drops_nobody(void **state)
{
    struct world *world = *state;
    GError *error = NULL;

    listen_with(world, (struct tls_options){.insecure = false});
    connect_with(world, (struct tls_options){.insecure = false}, "localhost");
    bytes_travel_both_ways(world);

    tls_make_self_signed(world->certificate, world->key, "box.example", NULL);
    assert_int_equal(tls_context_reload(world->server, &error), 0);
    stream_write(world->connected.stream, "!", 1);
    wait_for(world->loop, owner_has(&world->accepted, "hello!"));

    owner_finish(&world->connected);
    owner_finish(&world->accepted);
    world->connected = world->accepted = (struct owner){.most = 0};
    connect_with(world, (struct tls_options){.insecure = false}, "localhost"); /* the new CA */
    bytes_travel_both_ways(world);
}

static void a_failed_reload_keeps_the_old_certificate_and_names_the_file(void **state)
{
    struct world *world = *state;
    g_autoptr(GError) error = NULL;

    listen_with(world, (struct tls_options){.insecure = false});
    connect_with(world, (struct tls_options){.insecure = false}, "localhost");
    g_file_set_contents(world->certificate, "no certificate", -1, NULL);
    assert_true(tls_context_reload(world->server, &error) < 0);
    assert_non_null(strstr(error->message, world->certificate));
    bytes_travel_both_ways(world);
}

static int connect_raw(const struct world *world)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(listener_port(world->listener)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void who_speaks_no_tls_is_refused(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.insecure = false});
    int fd = connect_raw(world);
    peer_send(fd, "\x10\x0c this is no ClientHello, it is something else altogether");
    wait_for(world->loop, world->accepted.ends == 1);
    assert_int_equal(world->accepted.error, -EPROTO);
    close(fd);
}

static void writing_before_the_handshake_does_not_spin(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.insecure = false});
    int fd = connect_raw(world);
    wait_for(world->loop, world->accepts == 1);
    stream_write(world->accepted.stream, "early", 5);
    struct timer *wake = timer_new(world->loop, on_wake, &wake);
    uint64_t until_ms = clock_now_ms() + 50;
    unsigned turns = 0;
    timer_start(wake, 50);
    for (; clock_now_ms() < until_ms; turns++) {
        uv_run(loop_native(world->loop), UV_RUN_ONCE);
    }
    assert_true(turns < 10);
    timer_free(wake);
    close(fd);
}

static void both_sides_know_the_protocol_that_was_agreed_on(void **state)
{
    struct world *world = *state;
    struct stream_peer peer;

    listen_with(world, (struct tls_options){.alpn = "raft link join"});
    connect_with(world, (struct tls_options){.alpn = "link"}, "localhost");
    bytes_travel_both_ways(world);
    stream_peer(world->accepted.stream, &peer);
    assert_string_equal(peer.alpn, "link");
    stream_peer(world->connected.stream, &peer);
    assert_string_equal(peer.alpn, "link");
}

static void a_protocol_that_is_not_spoken_is_refused(void **state)
{
    struct world *world = *state;

    listen_with(world, (struct tls_options){.alpn = "raft link join"});
    connect_with(world, (struct tls_options){.alpn = "lin"}, "localhost");
    wait_for(world->loop, world->results == 1);
    assert_non_null(strstr(world->error, "protocol"));
}

static void a_pinned_certificate_is_trusted_whatever_its_name(void **state)
{
    struct world *world = *state;
    g_autofree char *certificate = NULL, *key = NULL;
    uint8_t sha256[32];

    assert_int_equal(tls_make_certificate("joining", &certificate, &key, sha256, NULL), 0);
    listen_with(world, (struct tls_options){.certificate_pem = certificate, .key_pem = key});
    connect_with(world, (struct tls_options){.ca_sha256 = sha256}, "127.0.0.1");
    bytes_travel_both_ways(world);
}

static void another_certificate_than_the_pinned_one_is_refused(void **state)
{
    struct world *world = *state;
    g_autofree char *certificate = NULL, *key = NULL;
    uint8_t sha256[32];

    assert_int_equal(tls_make_certificate("joining", &certificate, &key, sha256, NULL), 0);
    sha256[31] ^= 1;
    listen_with(world, (struct tls_options){.certificate_pem = certificate, .key_pem = key});
    connect_with(world, (struct tls_options){.ca_sha256 = sha256}, "127.0.0.1");
    wait_for(world->loop, world->results == 1);
    assert_non_null(world->error);
    assert_null(world->connected.stream);
}

#define TLS_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(tls_1_3_carries_bytes_both_ways),
        TLS_TEST(tls_1_2_is_spoken_too),
        TLS_TEST(a_version_that_is_too_old_is_refused),
        TLS_TEST(a_megabyte_comes_through_whole),
        TLS_TEST(last_words_come_and_the_reset_behind_them_is_told),
        TLS_TEST(last_words_come_though_an_answer_finds_nobody),
        TLS_TEST(a_handshake_goes_on_when_its_context_is_freed),
        TLS_TEST(the_cipher_is_the_cheapest_that_both_sides_can_do),
        TLS_TEST(a_verified_client_certificate_names_its_owner),
        TLS_TEST(a_client_without_the_required_certificate_is_refused),
        TLS_TEST(a_server_that_nobody_vouches_for_is_refused),
        TLS_TEST(a_reload_counts_for_new_connections_and_drops_nobody),
        TLS_TEST(a_failed_reload_keeps_the_old_certificate_and_names_the_file),
        TLS_TEST(both_sides_know_the_protocol_that_was_agreed_on),
        TLS_TEST(a_protocol_that_is_not_spoken_is_refused),
        TLS_TEST(a_pinned_certificate_is_trusted_whatever_its_name),
        TLS_TEST(another_certificate_than_the_pinned_one_is_refused),
        TLS_TEST(who_speaks_no_tls_is_refused),
        TLS_TEST(writing_before_the_handshake_does_not_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

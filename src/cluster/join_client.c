/* The node that joins (join.h): its port is opened to be called back, then the token's addresses
 * are tried one after the other until one of them answers. What one refuses, all refuse. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "cluster/join_message.h"
#include "loop/loop.h"
#include "net/connector.h"
#include "net/listener.h"
#include "net/stream.h"
#include "net/tls.h"
#include "text/value.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define DIAL_MS 5000
#define PORT    7474

struct join_client {
    struct loop *loop;
    struct token token;
    char *name, *version, *role, *address;
    uint16_t port;
    uint32_t level;
    uint64_t unix_ms;
    void (*on_done)(void *owner, const struct join_answer *answer, const GError *error);
    void *owner;

    char *key_pem, *request_pem, *own_certificate, *own_key;
    uint8_t own_fingerprint[CA_FINGERPRINT_BYTES];
    struct tls_context *listener_tls, *tls;
    struct listener *listener;
    struct connector *connector;
    struct stream *stream;
    struct timer *timer; /* all of it; and what fails at once is told from here */
    unsigned next;       /* address */
    GString *tried;      /* what was wrong with those before */
    enum join_error tried_code;
    GError *failure;
    struct text_value *message; /* what `answer` borrows from */
    struct join_answer answer;
};

/* ---- ending ---- */

static void close_all(struct join_client *client)
{
    g_clear_pointer(&client->listener, listener_free);
    connector_free(TAKE(client->connector));
    if (client->stream) {
        stream_close(TAKE(client->stream), 0);
    }
    timer_stop(client->timer);
}

static void G_GNUC_PRINTF(3, 4)
    fail(struct join_client *client, enum join_error code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autoptr(GError) error = g_error_new_literal(JOIN_ERROR, (int)code, message);
    close_all(client);
    client->on_done(client->owner, NULL, error);
}

/* ---- answer ---- */

static void on_answer(struct join_client *client, const uint8_t *bytes, size_t length)
{
    g_autoptr(GError) error = NULL;

    client->message = text_parse_json((const char *)bytes, length, &error);
    if (!client->message || join_answer_from_value(&client->answer, client->message, &error) < 0) {
        enum join_error code =
            error->domain == JOIN_ERROR ? (enum join_error)error->code : JOIN_ERROR_FAILED;
        fail(client, code, "%s", error->message);
        return;
    }
    client->answer.key_pem = client->key_pem;
    close_all(client);
    client->on_done(client->owner, &client->answer, NULL);
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct join_client *client = owner;
    size_t size;

    if (join_message_size(bytes, length, &size) < 0) {
        fail(client, JOIN_ERROR_FAILED, "the other side does not speak as a node does");
        return length;
    }
    if (size == 0) {
        return 0;
    }
    on_answer(client, bytes + JOIN_HEAD_BYTES, size - JOIN_HEAD_BYTES);
    return length;
}

static void on_end(void *owner, int error)
{
    struct join_client *client = owner;

    client->stream = NULL;
    fail(client, JOIN_ERROR_FAILED,
         "the other side ended the connection without an answer: see its log, then try again");
}

static const struct stream_events stream_events = {.on_bytes = on_bytes, .on_end = on_end};

/* ---- asking ---- */

static void ask(struct join_client *client)
{
    struct join_request request = {.protocol = JOIN_PROTOCOL,
                                   .token_id = client->token.id,
                                   .cluster = client->token.cluster,
                                   .name = client->name,
                                   .address = client->address,
                                   .version = client->version,
                                   .role = client->role,
                                   .level = client->level,
                                   .unix_ms = client->unix_ms ? client->unix_ms : clock_unix_ms(),
                                   .request_pem = client->request_pem,
                                   .port = listener_port(client->listener)};

    memcpy(request.secret, client->token.secret, sizeof request.secret);
    memcpy(request.fingerprint, client->own_fingerprint, sizeof request.fingerprint);
    _cleanup_(text_freep) struct text_value *value = join_request_to_value(&request);
    stream_start(client->stream, &stream_events, client);
    join_write(client->stream, value);
}

/* Names of OpenSSL's verdicts on certificates tell the clock from the fingerprint. */
static enum join_error code_of(const char *error)
{
    if (strstr(error, "expired") || strstr(error, "not yet valid")) {
        return JOIN_ERROR_CLOCK;
    }
    return strstr(error, "certificate") ? JOIN_ERROR_FINGERPRINT : JOIN_ERROR_UNREACHABLE;
}

static const char *advice_of(enum join_error code)
{
    switch (code) {
    case JOIN_ERROR_CLOCK:
        return "is the clock of this machine right?";
    case JOIN_ERROR_FINGERPRINT:
        return "another cluster answers there, or its authority was replaced: make a new token";
    default:
        return "does that node run, and does a firewall let port 7474 through?";
    }
}

static void dial(struct join_client *client);

static void on_dialled(void *owner, struct stream *stream, const char *error)
{
    struct join_client *client = owner;

    g_clear_pointer(&client->connector, connector_free);
    if (stream) {
        client->stream = stream;
        ask(client);
        return;
    }
    if (client->tried->len == 0 || client->tried_code == JOIN_ERROR_UNREACHABLE) {
        client->tried_code = code_of(error);
    }
    g_string_append_printf(client->tried, "%s%s: %s", client->tried->len > 0 ? ", " : "",
                           client->token.addresses[client->next - 1], error);
    dial(client);
}

static void dial(struct join_client *client)
{
    const char *address = client->token.addresses[client->next];
    g_autofree char *host = NULL;
    g_autoptr(GError) error = NULL;
    uint16_t port = PORT;

    if (!address) {
        fail(client, client->tried_code, "no node of the token's cluster answers (%s): %s",
             client->tried->str, advice_of(client->tried_code));
        return;
    }
    client->next++;
    if (address_split(address, &host, &port, &error) < 0) {
        on_dialled(client, NULL, error->message);
        return;
    }
    client->connector =
        connector_new(client->loop, host, port, client->tls, DIAL_MS, on_dialled, client);
}

/* ---- being called back ---- */

static void on_greeted(void *owner, const char *error)
{
    stream_reset(owner);
}

/* The handshake shows that it is us; there is nothing more to say. */
static void on_called(void *owner, struct stream *stream)
{
    stream_handshake(stream, on_greeted, stream);
}

static int open_port(struct join_client *client, const char *bind, GError **error)
{
    struct listener_options options = {
        .address = bind, .port = client->port, .tls = client->listener_tls};

    client->listener = listener_new(client->loop, &options, on_called, client, error);
    if (!client->listener) {
        g_prefix_error(error, "port for other nodes (--peer-port): ");
    }
    return client->listener ? 0 : -EADDRINUSE;
}

/* ---- life ---- */

static int prepare(struct join_client *client, GError **error)
{
    struct tls_options asked = {.is_client = true,
                                .ca_sha256 = client->token.fingerprint,
                                .minimum_version = "1.3",
                                .alpn = "join",
                                .any_name = true};

    if (ca_request(&client->key_pem, &client->request_pem, error) < 0 ||
        tls_make_certificate(client->name, &client->own_certificate, &client->own_key,
                             client->own_fingerprint, error) < 0) {
        return -EIO;
    }
    struct tls_options called = {.certificate_pem = client->own_certificate,
                                 .key_pem = client->own_key,
                                 .minimum_version = "1.3",
                                 .alpn = "join"};
    client->tls = tls_context_new(&asked, error);
    client->listener_tls = client->tls ? tls_context_new(&called, error) : NULL;
    return client->listener_tls ? 0 : -EIO;
}

static void on_timer(void *owner)
{
    struct join_client *client = owner;

    if (client->failure) {
        fail(client, JOIN_ERROR_LISTEN, "%s", client->failure->message);
    } else if (client->next == 0) {
        timer_start(client->timer, JOIN_TIMEOUT_MS);
        dial(client);
    } else {
        fail(client, JOIN_ERROR_UNREACHABLE, "no answer within %d seconds (%s)",
             JOIN_TIMEOUT_MS / 1000,
             client->tried->len > 0 ? client->tried->str : client->token.addresses[0]);
    }
}

static void copy_token(struct token *to, const struct token *from)
{
    *to = *from;
    to->cluster = g_strdup(from->cluster);
    to->addresses = g_strdupv(from->addresses);
}

struct join_client *join_client_new(const struct join_client_options *options,
                                    void (*on_done)(void *owner, const struct join_answer *answer,
                                                    const GError *error),
                                    void *owner)
{
    struct join_client *client = g_new0(struct join_client, 1);

    client->loop = options->loop;
    copy_token(&client->token, options->token);
    client->name = g_strdup(options->name);
    client->version = g_strdup(options->version);
    client->role = g_strdup(options->role);
    client->address = g_strdup(options->address);
    client->port = options->port;
    client->level = options->level;
    client->unix_ms = options->unix_ms;
    client->on_done = on_done;
    client->owner = owner;
    client->tried = g_string_new(NULL);
    client->timer = timer_new(client->loop, on_timer, client);
    if (prepare(client, &client->failure) == 0) {
        open_port(client, options->bind, &client->failure);
    }
    timer_start(client->timer, 0);
    return client;
}

void join_client_free(struct join_client *client)
{
    if (!client) {
        return;
    }
    close_all(client);
    timer_free(client->timer);
    tls_context_free(client->tls);
    tls_context_free(client->listener_tls);
    text_free(client->message);
    g_free((void *)client->answer.nodes);
    g_clear_error(&client->failure);
    g_string_free(client->tried, TRUE);
    token_deinit(&client->token);
    g_free(client->name);
    g_free(client->version);
    g_free(client->role);
    g_free(client->address);
    g_free(client->key_pem);
    g_free(client->request_pem);
    g_free(client->own_certificate);
    g_free(client->own_key);
    g_free(client);
}

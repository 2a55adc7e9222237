/* The node that is asked (join.h). One `joining` after the other:
 *
 *   READING --request--> checks --> CALLING --called back--> signs, `propose` --> PROPOSED
 *       --join_accept / join_refuse--> the answer goes out
 *
 * Beyond JOIN_UNDER_WAY_MAX a request is read, since the answer would be lost with what is unread,
 * and told to come again. Each is bounded in time; one whose stream ends while it is proposed waits
 * for the owner's answer and then is undone. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "cluster/join_message.h"
#include "loop/loop.h"
#include "net/connector.h"
#include "net/stream.h"
#include "net/tls.h"
#include "text/value.h"
#include <errno.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <string.h>

#define LINGER_MS 2000

enum joining_state { JOINING_READING, JOINING_CALLING, JOINING_PROPOSED };

struct joining {
    struct join_server *server;
    struct stream *stream; /* NULL: it has ended */
    struct timer *timer;
    struct text_value *message; /* what `request` borrows from */
    struct join_request request;
    char *address, *chain_pem;
    uint64_t node_id;
    struct ca_certificate certificate;
    struct tls_context *tls; /* to call back */
    struct connector *connector;
    enum joining_state state;
};

struct join_server {
    struct join_server_options options;
    char *cluster, *version;
    GPtrArray *under_way; /* of struct joining */
};

/* ---- ending ---- */

static void joining_free(struct joining *joining)
{
    g_ptr_array_remove_fast(joining->server->under_way, joining);
    if (joining->stream) {
        stream_close(joining->stream, LINGER_MS);
    }
    connector_free(joining->connector);
    tls_context_free(joining->tls);
    timer_free(joining->timer);
    text_free(joining->message);
    g_free(joining->address);
    g_free(joining->chain_pem);
    g_free(joining);
}

void join_refuse(struct joining *joining, enum join_error code, const char *message)
{
    log_warning("a node may not join", "name=\"%s\" code=%s why=\"%s\"",
                joining->request.name ? joining->request.name : "", join_error_code(code), message);
    if (joining->stream) {
        _cleanup_(text_freep) struct text_value *answer = join_error_to_value(code, message);
        join_write(joining->stream, answer);
    }
    joining_free(joining);
}

static void G_GNUC_PRINTF(3, 4)
    refuse(struct joining *joining, enum join_error code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    join_refuse(joining, code, message);
}

static void refuse_error(struct joining *joining, const GError *error)
{
    enum join_error code =
        error->domain == JOIN_ERROR ? (enum join_error)error->code : JOIN_ERROR_FAILED;

    join_refuse(joining, code, error->message);
}

void join_accept(struct joining *joining, const struct join_answer *answer)
{
    struct join_server *server = joining->server;
    struct join_answer whole = *answer;

    if (!joining->stream) {
        log_warning("a node joined and was gone before it heard of it", "name=\"%s\"",
                    joining->request.name);
        server->options.events->undo(server->options.owner, joining->node_id);
        joining_free(joining);
        return;
    }
    whole.node_id = joining->node_id;
    whole.cluster = server->cluster;
    whole.address = joining->address;
    whole.chain_pem = joining->chain_pem;
    _cleanup_(text_freep) struct text_value *value = join_answer_to_value(&whole);
    join_write(joining->stream, value);
    joining_free(joining);
}

/* ---- signing ---- */

static uint64_t draw_id(const struct join_server *server)
{
    uint64_t id = 0;

    while (id == 0 || !server->options.events->is_free(server->options.owner, id)) {
        RAND_bytes((uint8_t *)&id, sizeof id);
    }
    return id;
}

static void propose(struct joining *joining)
{
    struct join_server *server = joining->server;
    const struct join_server_options *options = &server->options;
    g_autoptr(GError) error = NULL;
    const struct ca *ca = options->events->ca(options->owner, &error);

    if (!ca) {
        refuse_error(joining, error);
        return;
    }
    joining->node_id = draw_id(server);
    if (ca_sign(ca, joining->request.request_pem, joining->node_id, clock_unix_ms(),
                &joining->chain_pem, &error) < 0 ||
        ca_look(joining->chain_pem, &joining->certificate, &error) < 0) {
        refuse_error(joining, error);
        return;
    }
    joining->state = JOINING_PROPOSED;
    timer_stop(joining->timer); /* the owner answers, in its own time */
    joining->request.address = joining->address;
    options->events->propose(options->owner, joining, &joining->request, joining->node_id,
                             &joining->certificate);
}

/* ---- calling back ---- */

static void on_called(void *owner, struct stream *stream, const char *error)
{
    struct joining *joining = owner;

    if (!stream) {
        refuse(joining, JOIN_ERROR_ADDRESS,
               "address '%s': cannot be reached back from here: %s: give the right one with "
               "--address, and open its port in the firewall",
               joining->address, error);
        return;
    }
    stream_close(stream, 0);
    propose(joining);
}

/* Where it says, or where we see it. */
static char *address_of(const struct joining *joining)
{
    struct stream_peer peer;

    if (joining->request.address) {
        return g_strdup(joining->request.address);
    }
    stream_peer(joining->stream, &peer);
    return address_join(peer.address, joining->request.port);
}

static void call_back(struct joining *joining)
{
    struct tls_options tls = {.is_client = true,
                              .ca_sha256 = joining->request.fingerprint,
                              .minimum_version = "1.3",
                              .alpn = "join",
                              .any_name = true};
    g_autoptr(GError) error = NULL;
    g_autofree char *host = NULL;
    uint16_t port = joining->request.port;

    joining->address = address_of(joining);
    if (address_split(joining->address, &host, &port, &error) < 0) {
        refuse(joining, JOIN_ERROR_ADDRESS, "%s", error->message);
        return;
    }
    joining->tls = tls_context_new(&tls, &error);
    if (!joining->tls) {
        refuse_error(joining, error);
        return;
    }
    joining->state = JOINING_CALLING;
    joining->connector = connector_new(joining->server->options.loop, host, port, joining->tls,
                                       JOIN_CALLBACK_MS, on_called, joining);
}

/* ---- checking ---- */

static bool is_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    return *name && strlen(name) <= JOIN_NAME_CHARS && strspn(name, allowed) == strlen(name);
}

/* Of what is said here; which commands it can apply is looked at by the owner. True when it was
 * refused. */
static bool has_wrong_version(struct joining *joining)
{
    const struct join_server *server = joining->server;
    const struct join_request *request = &joining->request;

    if (request->protocol < JOIN_PROTOCOL) {
        refuse(joining, JOIN_ERROR_VERSION_OLD,
               "version %s is too old for this cluster, whose nodes run %s: install that one",
               request->version, server->version);
    } else if (request->protocol > JOIN_PROTOCOL) {
        refuse(joining, JOIN_ERROR_VERSION_NEW,
               "version %s is too new for this cluster, whose nodes run %s: upgrade those first",
               request->version, server->version);
    }
    return request->protocol != JOIN_PROTOCOL;
}

static bool has_wrong_clock(struct joining *joining)
{
    int64_t off_ms =
        (int64_t)(joining->request.unix_ms - loop_unix_ms(joining->server->options.loop));

    if (off_ms >= -JOIN_CLOCK_MS_MAX && off_ms <= JOIN_CLOCK_MS_MAX) {
        return false;
    }
    refuse(joining, JOIN_ERROR_CLOCK,
           "its clock is %lld seconds %s ours: set the clock (chrony, systemd-timesyncd) and try "
           "again",
           (long long)(ABS(off_ms) / 1000), off_ms < 0 ? "behind" : "ahead of");
    return true;
}

static void check(struct joining *joining)
{
    const struct join_server *server = joining->server;
    const struct join_request *request = &joining->request;
    g_autoptr(GError) error = NULL;

    if (has_wrong_version(joining)) {
        return;
    }
    if (server->under_way->len > JOIN_UNDER_WAY_MAX) {
        refuse(joining, JOIN_ERROR_BUSY, "other nodes join just now: try again in a minute");
    } else if (strcmp(request->cluster, server->cluster) != 0) {
        refuse(joining, JOIN_ERROR_CLUSTER, "the token is of another cluster");
    } else if (!is_name(request->name)) {
        refuse(joining, JOIN_ERROR_NAME,
               "name '%.64s': must be 1 to %d letters, digits, '-', '_' and '.'", request->name,
               JOIN_NAME_CHARS);
    } else if (!has_wrong_clock(joining)) {
        if (server->options.events->check(server->options.owner, request, &error) < 0) {
            refuse_error(joining, error);
        } else {
            call_back(joining);
        }
    }
}

/* ---- reading ---- */

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct joining *joining = owner;
    g_autoptr(GError) error = NULL;
    size_t size;

    if (joining->state != JOINING_READING) {
        return length; /* says nothing more */
    }
    if (join_message_size(bytes, length, &size) < 0) {
        refuse(joining, JOIN_ERROR_FAILED, "it does not speak as a node does");
        return length;
    }
    if (size == 0) {
        return 0;
    }
    joining->message =
        text_parse_json((const char *)bytes + JOIN_HEAD_BYTES, size - JOIN_HEAD_BYTES, &error);
    if (!joining->message ||
        join_request_from_value(&joining->request, joining->message, &error) < 0) {
        refuse_error(joining, error);
    } else {
        check(joining);
    }
    return length;
}

static void on_end(void *owner, int error)
{
    struct joining *joining = owner;

    joining->stream = NULL;
    if (joining->state != JOINING_PROPOSED) {
        joining_free(joining);
    }
}

static void on_timeout(void *owner)
{
    refuse(owner, JOIN_ERROR_FAILED, "joining took longer than %d seconds", JOIN_TIMEOUT_MS / 1000);
}

static const struct stream_events stream_events = {.on_bytes = on_bytes, .on_end = on_end};

/* ---- life ---- */

void join_server_accept(struct join_server *server, struct stream *stream)
{
    if (server->under_way->len >= JOIN_UNDER_WAY_MAX + JOIN_TURNED_AWAY_MAX) {
        log_warning("a node may not join", "code=%s why=\"too many ask at once\"",
                    join_error_code(JOIN_ERROR_BUSY));
        stream_reset(stream);
        return;
    }
    struct joining *joining = g_new0(struct joining, 1);

    joining->server = server;
    joining->stream = stream;
    joining->timer = timer_new(server->options.loop, on_timeout, joining);
    timer_start(joining->timer, JOIN_TIMEOUT_MS);
    g_ptr_array_add(server->under_way, joining);
    stream_start(stream, &stream_events, joining);
}

struct join_server *join_server_new(const struct join_server_options *options)
{
    struct join_server *server = g_new0(struct join_server, 1);

    server->options = *options;
    server->cluster = g_strdup(options->cluster);
    server->version = g_strdup(options->version);
    server->under_way = g_ptr_array_new();
    return server;
}

void join_server_free(struct join_server *server)
{
    if (!server) {
        return;
    }
    while (server->under_way->len > 0) {
        joining_free(g_ptr_array_index(server->under_way, 0));
    }
    g_ptr_array_unref(server->under_way);
    g_free(server->cluster);
    g_free(server->version);
    g_free(server);
}

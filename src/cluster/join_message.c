/* See join_message.h. Numbers of 64 bits that are no counts (ids, secrets, keys) travel as hex. */
#include "cluster/join_message.h"
#include "base/cleanup.h"
#include "net/stream.h"
#include "text/value.h"
#include <errno.h>
#include <string.h>

static const char *const codes[] = {
    [JOIN_ERROR_FAILED] = "failed",
    [JOIN_ERROR_UNREACHABLE] = "unreachable",
    [JOIN_ERROR_FINGERPRINT] = "fingerprint",
    [JOIN_ERROR_CLUSTER] = "cluster",
    [JOIN_ERROR_TOKEN] = "token",
    [JOIN_ERROR_TOKEN_OLD] = "token_old",
    [JOIN_ERROR_TOKEN_USED] = "token_used",
    [JOIN_ERROR_NAME] = "name",
    [JOIN_ERROR_VERSION_OLD] = "version_old",
    [JOIN_ERROR_VERSION_NEW] = "version_new",
    [JOIN_ERROR_CLOCK] = "clock",
    [JOIN_ERROR_ADDRESS] = "address",
    [JOIN_ERROR_LISTEN] = "listen",
    [JOIN_ERROR_QUORUM] = "no_quorum",
    [JOIN_ERROR_BUSY] = "busy",
};

GQuark join_error_quark(void)
{
    return g_quark_from_static_string("join-error");
}

const char *join_error_code(enum join_error code)
{
    return (unsigned)code < G_N_ELEMENTS(codes) ? codes[code] : codes[JOIN_ERROR_FAILED];
}

static enum join_error code_from_string(const char *text)
{
    for (unsigned i = 0; text && i < G_N_ELEMENTS(codes); i++) {
        if (strcmp(codes[i], text) == 0) {
            return (enum join_error)i;
        }
    }
    return JOIN_ERROR_FAILED;
}

/* ---- framing ---- */

void join_write(struct stream *stream, const struct text_value *message)
{
    g_autofree char *json = text_to_json(message, false);
    uint32_t length = GUINT32_TO_BE((uint32_t)strlen(json));

    stream_write(stream, &length, sizeof length);
    stream_write(stream, json, strlen(json));
}

int join_message_size(const uint8_t *bytes, size_t length, size_t *size)
{
    uint32_t payload;

    *size = 0;
    if (length < JOIN_HEAD_BYTES) {
        return 0;
    }
    memcpy(&payload, bytes, sizeof payload);
    payload = GUINT32_FROM_BE(payload);
    if (payload == 0 || payload > JOIN_BYTES_MAX) {
        return -EBADMSG;
    }
    *size = length >= JOIN_HEAD_BYTES + payload ? JOIN_HEAD_BYTES + payload : 0;
    return 0;
}

/* ---- hex ---- */

static void set_hex(struct text_value *object, const char *key, const uint8_t *bytes, size_t length)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (size_t i = 0; i < length; i++) {
        g_string_append_printf(text, "%02x", bytes[i]);
    }
    text_set_string(object, key, text->str);
}

static bool get_hex(const struct text_value *object, const char *key, uint8_t *bytes, size_t length)
{
    const char *text = text_string(text_get(object, key), "");

    if (strlen(text) != 2 * length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void set_id(struct text_value *object, const char *key, uint64_t id)
{
    char text[17];

    ca_format_node_id(id, text);
    text_set_string(object, key, text);
}

static uint64_t get_id(const struct text_value *object, const char *key)
{
    return ca_node_id(text_string(text_get(object, key), ""));
}

static int fail(GError **error, const char *what)
{
    g_set_error(error, JOIN_ERROR, JOIN_ERROR_FAILED, "join: what the other side said has no %s",
                what);
    return -EBADMSG;
}

/* ---- request ---- */

struct text_value *join_request_to_value(const struct join_request *request)
{
    struct text_value *value = text_new_object();

    text_set_integer(value, "protocol", request->protocol);
    text_set_string(value, "cluster", request->cluster);
    set_id(value, "token", request->token_id);
    set_hex(value, "secret", request->secret, sizeof request->secret);
    text_set_string(value, "name", request->name);
    text_set_string(value, "address", request->address);
    text_set_integer(value, "port", request->port);
    text_set_string(value, "version", request->version);
    text_set_string(value, "role", request->role);
    text_set_integer(value, "level", request->level);
    text_set_integer(value, "unix_ms", (int64_t)request->unix_ms);
    text_set_string(value, "request", request->request_pem);
    set_hex(value, "fingerprint", request->fingerprint, sizeof request->fingerprint);
    return value;
}

static const char *missing_text(const struct text_value *value)
{
    static const char *const keys[] = {"cluster", "name", "version", "role", "request"};

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!text_string(text_get(value, keys[i]), NULL)) {
            return keys[i];
        }
    }
    return NULL;
}

int join_request_from_value(struct join_request *request, const struct text_value *value,
                            GError **error)
{
    const char *missing = missing_text(value);
    int64_t port = text_integer(text_get(value, "port"), 0);
    int64_t level = text_integer(text_get(value, "level"), 0);

    *request = (struct join_request){
        .protocol = text_integer(text_get(value, "protocol"), 0),
        .token_id = get_id(value, "token"),
        .cluster = text_string(text_get(value, "cluster"), NULL),
        .name = text_string(text_get(value, "name"), NULL),
        .address = text_string(text_get(value, "address"), NULL),
        .version = text_string(text_get(value, "version"), NULL),
        .role = text_string(text_get(value, "role"), NULL),
        .unix_ms = (uint64_t)MAX(text_integer(text_get(value, "unix_ms"), 0), 0),
        .request_pem = text_string(text_get(value, "request"), NULL),
    };
    if (missing) {
        return fail(error, missing);
    }
    if (request->protocol < 1 || port < 1 || port > UINT16_MAX || level < 1 || level > UINT32_MAX) {
        return fail(error, "protocol, port or level");
    }
    request->port = (uint16_t)port;
    request->level = (uint32_t)level;
    if (!get_hex(value, "secret", request->secret, sizeof request->secret) ||
        !get_hex(value, "fingerprint", request->fingerprint, sizeof request->fingerprint)) {
        return fail(error, "secret or fingerprint");
    }
    return 0;
}

/* ---- answer ---- */

struct text_value *join_answer_to_value(const struct join_answer *answer)
{
    struct text_value *value = text_new_object();
    struct text_value *nodes = text_new_list();

    for (size_t i = 0; i < answer->node_count; i++) {
        struct text_value *node = text_new_object();
        set_id(node, "id", answer->nodes[i].id);
        text_set_string(node, "name", answer->nodes[i].name);
        text_set_string(node, "address", answer->nodes[i].address);
        text_append(nodes, node);
    }
    set_id(value, "node", answer->node_id);
    text_set_string(value, "cluster", answer->cluster);
    text_set_string(value, "address", answer->address);
    text_set_string(value, "role", answer->role);
    text_set_string(value, "chain", answer->chain_pem);
    text_set_string(value, "ca", answer->ca_pem);
    set_hex(value, "cluster_key", answer->cluster_key, sizeof answer->cluster_key);
    text_set(value, "nodes", nodes);
    return value;
}

struct text_value *join_error_to_value(enum join_error code, const char *message)
{
    struct text_value *value = text_new_object();
    struct text_value *error = text_new_object();

    text_set_string(error, "code", join_error_code(code));
    text_set_string(error, "message", message);
    text_set(value, "error", error);
    return value;
}

static void read_nodes(struct join_answer *answer, const struct text_value *list)
{
    struct join_node *nodes = g_new0(struct join_node, text_count(list) + 1);

    for (size_t i = 0; i < text_count(list); i++) {
        const struct text_value *node = text_at(list, i);
        struct join_node *to = &nodes[answer->node_count];
        *to = (struct join_node){get_id(node, "id"), text_string(text_get(node, "name"), ""),
                                 text_string(text_get(node, "address"), NULL)};
        answer->node_count += to->id != 0 && to->address;
    }
    answer->nodes = nodes;
}

int join_answer_from_value(struct join_answer *answer, const struct text_value *value,
                           GError **error)
{
    const struct text_value *refusal = text_get(value, "error");

    if (refusal) {
        g_set_error(error, JOIN_ERROR,
                    (int)code_from_string(text_string(text_get(refusal, "code"), NULL)), "%s",
                    text_string(text_get(refusal, "message"), "refused"));
        return -EACCES;
    }
    *answer = (struct join_answer){
        .node_id = get_id(value, "node"),
        .cluster = text_string(text_get(value, "cluster"), NULL),
        .address = text_string(text_get(value, "address"), NULL),
        .role = text_string(text_get(value, "role"), NULL),
        .chain_pem = text_string(text_get(value, "chain"), NULL),
        .ca_pem = text_string(text_get(value, "ca"), NULL),
    };
    if (answer->node_id == 0 || !answer->cluster || !answer->address || !answer->chain_pem ||
        !answer->ca_pem ||
        !get_hex(value, "cluster_key", answer->cluster_key, sizeof answer->cluster_key)) {
        return fail(error, "node, cluster, address or certificates");
    }
    read_nodes(answer, text_get(value, "nodes"));
    return 0;
}

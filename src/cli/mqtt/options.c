/* The shared option table, and what the options come to: -L taken apart, the protocol version, TLS,
 * properties.
 *
 * Options of mosquitto's tools that make no sense here (PSK, engines, SRV, SOCKS) are known and
 * refused by name, so that nobody believes that they work. */
#include "cli/mqtt/options.h"

#include "cli/error.h"
#include "cli/mqtt/properties.h"
#include "net/tls.h"
#include "packet/packet.h"
#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(struct mqtt_values, member)

const struct cli_option mqtt_options[] = {
    {"host", 'h', CLI_TEXT, AT(host), "HOST", "the broker (localhost)", 0, 0, NULL},
    {"port", 'p', CLI_NUMBER, AT(port), "PORT", "its port (1883; with TLS 8883)", 1, 65535, NULL},
    {"unix", 0, CLI_TEXT, AT(unix_path), "PATH", "a Unix socket instead", 0, 0, NULL},
    {"url", 'L', CLI_TEXT, AT(url), "URL", "mqtt(s)://[NAME[:PASSWORD]@]HOST[:PORT]/TOPIC", 0, 0,
     NULL},
    {"topic", 't', CLI_LIST, AT(topics), "TOPIC", "topic name, or for sub a filter (several)", 0, 0,
     NULL},
    {"username", 'u', CLI_TEXT, AT(username), "NAME", "user name", 0, 0, NULL},
    {"pw", 'P', CLI_TEXT, AT(password), "PASSWORD", "password", 0, 0, NULL},
    {"id", 'i', CLI_TEXT, AT(id), "ID", "client id (made up)", 0, 0, NULL},
    {"id-prefix", 'I', CLI_TEXT, AT(id_prefix), "PREFIX", "client id: this and the process id", 0,
     0, NULL},
    {"keepalive", 'k', CLI_NUMBER, AT(keep_alive_s), "S", "keep alive (60)", 0, 65535, NULL},
    {"qos", 'q', CLI_NUMBER, AT(qos), "N", "quality of service 0, 1 or 2 (0)", 0, 2, NULL},
    {"disable-clean-session", 'c', CLI_FLAG, AT(persistent), NULL,
     "keep the session after the connection", 0, 0, NULL},
    {"session-expiry-interval", 'x', CLI_TEXT, AT(expiry_text), "S",
     "how long it is kept; MQTT 5 (-1 with -c: for ever)", 0, 0, NULL},
    {"protocol-version", 'V', CLI_TEXT, AT(version_text), "VERSION",
     "mqttv5, mqttv311 or mqttv31, or 5, 311, 31 (311)", 0, 0, NULL},
    {"property", 'D', CLI_WORDS, AT(properties), "COMMAND NAME VALUE",
     "an MQTT 5 property: publish content-type text/plain", 0, 0, mqtt_properties_count_words},
    {"will-topic", 0, CLI_TEXT, AT(will_topic), "TOPIC", "a will", 0, 0, NULL},
    {"will-payload", 0, CLI_TEXT, AT(will_payload), "TEXT", "its payload (empty)", 0, 0, NULL},
    {"will-qos", 0, CLI_NUMBER, AT(will_qos), "N", "its quality of service (0)", 0, 2, NULL},
    {"will-retain", 0, CLI_FLAG, AT(will_retain), NULL, "it is retained", 0, 0, NULL},
    {"cafile", 0, CLI_TEXT, AT(ca_file), "FILE", "TLS: trusted certificates, PEM", 0, 0, NULL},
    {"capath", 0, CLI_TEXT, AT(ca_path), "DIR", "TLS: a directory of them", 0, 0, NULL},
    {"tls-use-os-certs", 0, CLI_FLAG, AT(tls_os_certs), NULL, "TLS: trust what the system trusts",
     0, 0, NULL},
    {"cert", 0, CLI_TEXT, AT(cert), "FILE", "TLS: the client's certificate", 0, 0, NULL},
    {"key", 0, CLI_TEXT, AT(key), "FILE", "TLS: its key", 0, 0, NULL},
    {"keyform", 0, CLI_TEXT, AT(key_form), "pem", "TLS: form of the key", 0, 0, NULL},
    {"tls-version", 0, CLI_TEXT, AT(tls_version), "VERSION", "TLS: tlsv1.2 or tlsv1.3 at least", 0,
     0, NULL},
    {"insecure", 0, CLI_FLAG, AT(insecure), NULL, "TLS: do not verify the broker (for tests only)",
     0, 0, NULL},
    {"debug", 'd', CLI_FLAG, AT(debug), NULL, "show every packet on stderr", 0, 0, NULL},
    {"quiet", 0, CLI_FLAG, AT(quiet), NULL, "print no errors", 0, 0, NULL},
    {"nodelay", 0, CLI_FLAG, AT(nodelay), NULL, "known for mosquitto's sake: it is always so", 0, 0,
     NULL},
    {"bind", 'A', CLI_TEXT, AT(bind_address), "ADDR", "connect from this address", 0, 0, NULL},
    {"srv", 'S', CLI_FLAG, AT(srv), NULL, "not supported: SRV look-ups", 0, 0, NULL},
    {"ciphers", 0, CLI_TEXT, AT(ciphers), "LIST", "TLS 1.2: ciphers as openssl lists them", 0, 0,
     NULL},
    {"tls-alpn", 0, CLI_TEXT, AT(tls_alpn), "NAME", "TLS: the protocol to ask for (ALPN)", 0, 0,
     NULL},
    {"tls-engine", 0, CLI_TEXT, AT(tls_engine), "NAME", "not supported", 0, 0, NULL},
    {"tls-engine-kpass-sha1", 0, CLI_TEXT, AT(tls_engine), "SHA1", "not supported", 0, 0, NULL},
    {"psk", 0, CLI_TEXT, AT(psk), "KEY", "not supported", 0, 0, NULL},
    {"psk-identity", 0, CLI_TEXT, AT(psk_identity), "NAME", "not supported", 0, 0, NULL},
    {"proxy", 0, CLI_TEXT, AT(proxy), "URL", "not supported", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static int target_check_supported(const struct mqtt_values *values, GError **error)
{
    const struct {
        const char *name;
        bool is_given;
    } refused[] = {
        {"-S", values->srv},
        {"--tls-engine", values->tls_engine != NULL},
        {"--psk", values->psk || values->psk_identity},
        {"--proxy", values->proxy != NULL},
        {"--keyform", values->key_form && strcmp(values->key_form, "pem") != 0},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (refused[i].is_given) {
            cli_fail_usage(error, "%s: is not supported", refused[i].name);
            return -1;
        }
    }
    return 0;
}

static int target_version(struct mqtt_target *target, const char *text, GError **error)
{
    static const struct {
        const char *name;
        uint8_t version;
    } names[] = {{"5", PACKET_MQTT_5},       {"mqttv5", PACKET_MQTT_5},
                 {"311", PACKET_MQTT_3_1_1}, {"mqttv311", PACKET_MQTT_3_1_1},
                 {"31", PACKET_MQTT_3_1},    {"mqttv31", PACKET_MQTT_3_1}};
    target->version = PACKET_MQTT_3_1_1;
    for (unsigned i = 0; text && i < G_N_ELEMENTS(names); i++) {
        if (strcmp(names[i].name, text) == 0) {
            target->version = names[i].version;
            return 0;
        }
    }
    if (text) {
        cli_fail_usage(error, "-V: must be mqttv5, mqttv311 or mqttv31, got '%s'", text);
        return -1;
    }
    return 0;
}

static char *url_part(const char *begin, const char *end)
{
    return g_uri_unescape_segment(begin, end, NULL);
}

static void url_login(struct mqtt_target *target, const char *begin, const char *end)
{
    const char *colon = memchr(begin, ':', (size_t)(end - begin));
    g_free(target->username);
    target->username = url_part(begin, colon ? colon : end);
    if (colon) {
        g_free(target->password);
        target->password = url_part(colon + 1, end);
    }
}

/* HOST, HOST:PORT, [IPV6], [IPV6]:PORT */
static int url_place(struct mqtt_target *target, const char *begin, const char *end, GError **error)
{
    const char *close = *begin == '[' ? memchr(begin, ']', (size_t)(end - begin)) : NULL;
    const char *search = close ? close : begin;
    const char *colon = memchr(search, ':', (size_t)(end - search));
    const char *host_end = close ? close : colon ? colon : end;
    const char *host = close ? begin + 1 : begin;
    g_free(target->host);
    target->host = g_strndup(host, (size_t)(host_end - host));
    if (colon) {
        g_autofree char *port = g_strndup(colon + 1, (size_t)(end - colon - 1));
        guint64 number;
        if (!g_ascii_string_to_unsigned(port, 10, 1, 65535, &number, NULL)) {
            cli_fail_usage(error, "-L: the port must be 1..65535, got '%s'", port);
            return -1;
        }
        target->port = (uint16_t)number;
    }
    return 0;
}

static int target_url(struct mqtt_target *target, const char *url, GError **error)
{
    bool is_tls = g_str_has_prefix(url, "mqtts://");
    if (!is_tls && !g_str_has_prefix(url, "mqtt://")) {
        cli_fail_usage(error, "-L: must begin with mqtt:// or mqtts://, got '%s'", url);
        return -1;
    }
    const char *at = strstr(url, "://") + 3;
    const char *slash = strchr(at, '/');
    const char *end = slash ? slash : at + strlen(at);
    const char *login_end = NULL;
    for (const char *c = at; c < end; c++) {
        login_end = *c == '@' ? c : login_end;
    }
    if (login_end) {
        url_login(target, at, login_end);
        at = login_end + 1;
    }
    target->use_tls = is_tls;
    target->url_topic = slash && slash[1] ? g_strdup(slash + 1) : NULL;
    return url_place(target, at, end, error);
}

static int target_expiry(struct mqtt_target *target, const struct mqtt_values *values,
                         GError **error)
{
    const char *text = values->expiry_text;
    if (!text) {
        target->expiry_s = values->persistent ? UINT32_MAX : 0;
        return 0;
    }
    if (target->version != PACKET_MQTT_5) {
        cli_fail_usage(error, "-x: needs -V 5");
        return -1;
    }
    guint64 number = UINT32_MAX;
    if (strcmp(text, "-1") != 0 && strcmp(text, "∞") != 0 &&
        !g_ascii_string_to_unsigned(text, 10, 0, UINT32_MAX, &number, NULL)) {
        cli_fail_usage(error, "-x: must be 0..4294967295 or -1, got '%s'", text);
        return -1;
    }
    target->expiry_s = (uint32_t)number;
    return 0;
}

static int target_tls(struct mqtt_target *target, const struct mqtt_values *values, GError **error)
{
    target->use_tls |= values->ca_file || values->ca_path || values->tls_os_certs ||
                       values->insecure || values->cert;
    if (!target->use_tls) {
        return 0;
    }
    const char *version = values->tls_version;
    version = version && g_str_has_prefix(version, "tlsv") ? version + 4 : version;
    if (version && strcmp(version, "1.2") != 0 && strcmp(version, "1.3") != 0) {
        cli_fail_usage(error, "--tls-version: must be tlsv1.2 or tlsv1.3, got '%s'",
                       values->tls_version);
        return -1;
    }
    struct tls_options options = {.is_client = true,
                                  .certificate_file = values->cert,
                                  .key_file = values->key,
                                  .ca_file = values->ca_file ? values->ca_file : values->ca_path,
                                  .insecure = values->insecure,
                                  .minimum_version = version,
                                  .ciphers = values->ciphers,
                                  .alpn = values->tls_alpn};
    target->tls = tls_context_new(&options, error);
    return target->tls ? 0 : -1;
}

static int target_properties(struct mqtt_target *target, const struct mqtt_values *values,
                             GError **error)
{
    if (values->properties && target->version != PACKET_MQTT_5) {
        cli_fail_usage(error, "-D: needs -V 5");
        return -1;
    }
    for (guint i = 0; values->properties && i < values->properties->len; i++) {
        if (mqtt_properties_add(target, g_ptr_array_index(values->properties, i), error) < 0) {
            return -1;
        }
    }
    if (target->version == PACKET_MQTT_5 && target->expiry_s > 0) {
        properties_add_u32(&target->connect, PROPERTY_SESSION_EXPIRY, target->expiry_s);
    }
    return 0;
}

static void target_client_id(struct mqtt_target *target, const struct mqtt_values *values,
                             const char *name)
{
    if (values->id) {
        target->client_id = g_strdup(values->id);
    } else if (values->id_prefix) {
        target->client_id = g_strdup_printf("%s%d", values->id_prefix, (int)getpid());
    } else {
        target->client_id =
            g_strdup_printf("microcloud-%s-%d-%04x", name, (int)getpid(), g_random_int() & 0xffff);
    }
}

/* What says nothing without something else. */
static int target_check_pairs(const struct mqtt_target *target, const struct mqtt_values *values,
                              GError **error)
{
    const char *wrong = NULL;

    if (!values->will_topic && (values->will_payload || values->will_qos || values->will_retain)) {
        wrong = "--will-topic: is missing";
    } else if (values->id && values->id_prefix) {
        wrong = "-I: does not go with -i";
    } else if (values->persistent && !values->id && !values->id_prefix) {
        wrong = "-c: needs a client id: -i ID";
    } else if (target->password && !target->username && target->version != PACKET_MQTT_5) {
        wrong = "-P: needs -u (or -V 5)";
    }
    if (wrong) {
        cli_fail_usage(error, "%s", wrong);
    }
    return wrong ? -1 : 0;
}

/* All that can be wrong. */
static int target_parse(struct mqtt_target *target, const struct mqtt_values *values,
                        GError **error)
{
    if (target_check_supported(values, error) < 0 ||
        target_version(target, values->version_text, error) < 0) {
        return -1;
    }
    if (values->bind_address && !g_hostname_is_ip_address(values->bind_address)) {
        cli_fail_usage(error, "-A: must be an address of this machine, got '%s'",
                       values->bind_address);
        return -1;
    }
    if (values->url && target_url(target, values->url, error) < 0) {
        return -1;
    }
    if (target_check_pairs(target, values, error) < 0) {
        return -1;
    }
    if (target_expiry(target, values, error) < 0 || target_properties(target, values, error) < 0) {
        return -1;
    }
    return target_tls(target, values, error);
}

int mqtt_target_init(struct mqtt_target *target, const struct mqtt_values *values, const char *name,
                     GError **error)
{
    *target = (struct mqtt_target){.host = g_strdup(values->host ? values->host : "localhost"),
                                   .username = g_strdup(values->username),
                                   .password = g_strdup(values->password)};
    struct properties_builder *const builders[] = {&target->connect,    &target->publish,
                                                   &target->subscribe,  &target->unsubscribe,
                                                   &target->disconnect, &target->will};
    for (unsigned i = 0; i < G_N_ELEMENTS(builders); i++) {
        properties_builder_init(builders[i]);
    }
    target_client_id(target, values, name);
    if (target_parse(target, values, error) < 0) {
        return -1;
    }
    if (values->unix_path) {
        g_free(target->host);
        target->host = g_strdup_printf("unix:%s", values->unix_path);
    }
    if (values->port > 0) {
        target->port = (uint16_t)values->port;
    } else if (target->port == 0) {
        target->port = target->use_tls ? 8883 : 1883;
    }
    return 0;
}

void mqtt_target_deinit(struct mqtt_target *target)
{
    struct properties_builder *const builders[] = {&target->connect,    &target->publish,
                                                   &target->subscribe,  &target->unsubscribe,
                                                   &target->disconnect, &target->will};
    for (unsigned i = 0; i < G_N_ELEMENTS(builders); i++) {
        if (builders[i]->bytes) {
            properties_builder_deinit(builders[i]);
        }
    }
    if (target->tls) {
        tls_context_free(target->tls);
    }
    g_free(target->host);
    g_free(target->username);
    g_free(target->password);
    g_free(target->client_id);
    g_free(target->url_topic);
}

/* One table says every option: its name on the command line and in the file is the same. See
 * config.h. */
#include "node/config.h"
#include "base/cleanup.h"
#include "text/value.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/microcloud/microcloud.yml"
#define PORT_UNSET   (-1)

enum option_kind { OPTION_TEXT, OPTION_PORT, OPTION_FLAG };

static const struct node_option {
    const char *name;
    enum option_kind kind;
    size_t offset;
    int port; /* default */
} node_options[] = {
    {"data", OPTION_TEXT, offsetof(struct node_config, data), 0},
    {"name", OPTION_TEXT, offsetof(struct node_config, name), 0},
    {"address", OPTION_TEXT, offsetof(struct node_config, address), 0},
    {"bind", OPTION_TEXT, offsetof(struct node_config, bind), 0},
    {"config", OPTION_TEXT, offsetof(struct node_config, config_file), 0},
    {"join", OPTION_TEXT, offsetof(struct node_config, join), 0},
    {"log-level", OPTION_TEXT, offsetof(struct node_config, log_level), 0},
    {"mqtt-port", OPTION_PORT, offsetof(struct node_config, mqtt_port), 1883},
    {"mqtts-port", OPTION_PORT, offsetof(struct node_config, mqtts_port), 8883},
    {"http-port", OPTION_PORT, offsetof(struct node_config, http_port), 8080},
    {"https-port", OPTION_PORT, offsetof(struct node_config, https_port), 8443},
    {"peer-port", OPTION_PORT, offsetof(struct node_config, peer_port), 7474},
    {"mqtt-socket", OPTION_TEXT, offsetof(struct node_config, mqtt_socket), 0},
    {"tls-cert", OPTION_TEXT, offsetof(struct node_config, tls_certificate), 0},
    {"tls-key", OPTION_TEXT, offsetof(struct node_config, tls_key), 0},
    {"tls-ca", OPTION_TEXT, offsetof(struct node_config, tls_ca), 0},
    {"require-client-certificate", OPTION_FLAG,
     offsetof(struct node_config, require_client_certificate), 0},
    {"witness", OPTION_FLAG, offsetof(struct node_config, witness), 0},
    {"rescue", OPTION_FLAG, offsetof(struct node_config, rescue), 0},
    {"no-discovery", OPTION_FLAG, offsetof(struct node_config, no_discovery), 0},
    {"no-keeper", OPTION_FLAG, offsetof(struct node_config, no_keeper), 0},
    {"user", OPTION_TEXT, offsetof(struct node_config, user), 0},
    {"proxy-protocol", OPTION_FLAG, offsetof(struct node_config, proxy_protocol), 0},
};

static int fail(GError **error, int status, const char *name, const char *what)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: %s", name, what);
    return status;
}

static void *member(struct node_config *config, const struct node_option *option)
{
    return (char *)config + option->offset;
}

static const struct node_option *find(const char *name, size_t length)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(node_options); i++) {
        if (strlen(node_options[i].name) == length &&
            strncmp(node_options[i].name, name, length) == 0) {
            return &node_options[i];
        }
    }
    return NULL;
}

static int set_port(int *port, const char *name, const char *text, int status, GError **error)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(text, 10, 0, UINT16_MAX, &number, NULL)) {
        g_autofree char *what = g_strdup_printf("must be a port, 0 (off) to 65535, got '%s'", text);
        return fail(error, status, name, what);
    }
    *port = (int)number;
    return 0;
}

/* ---- command line ---- */

static int set_from_words(struct node_config *config, const struct node_option *option,
                          const char *text, GError **error)
{
    g_autofree char *name = g_strconcat("--", option->name, NULL);

    if (option->kind == OPTION_PORT) {
        return set_port(member(config, option), name, text, 2, error);
    }
    if (text[0] == '\0') {
        return fail(error, 2, name, "must not be empty");
    }
    g_free(*(char **)member(config, option));
    *(char **)member(config, option) = g_strdup(text);
    return 0;
}

static int parse_words(struct node_config *config, int argc, char **argv, GError **error)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const struct node_option *option =
            strncmp(word, "--", 2) == 0 ? find(word + 2, length - 2) : NULL;
        if (!option) {
            return fail(error, 2, word, "unknown option; see microcloud run --help");
        }
        if (option->kind == OPTION_FLAG) {
            if (equals) {
                return fail(error, 2, word, "takes no value");
            }
            *(bool *)member(config, option) = true;
            continue;
        }
        const char *value = equals ? equals + 1 : ++i < argc ? argv[i] : NULL;
        if (!value) {
            return fail(error, 2, word, "a value is missing");
        }
        int r = set_from_words(config, option, value, error);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* ---- file ---- */

static int set_from_file(struct node_config *config, const struct node_option *option,
                         const struct text_value *value, GError **error)
{
    if (option->kind == OPTION_PORT) {
        int *port = member(config, option);
        if (text_kind(value) != TEXT_INTEGER) {
            return fail(error, 1, option->name, "must be a port, 0 (off) to 65535");
        }
        g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, text_integer(value, -1));
        return *port == PORT_UNSET ? set_port(port, option->name, text, 1, error) : 0;
    }
    if (option->kind == OPTION_FLAG) {
        bool *flag = member(config, option);
        if (text_kind(value) != TEXT_BOOLEAN) {
            return fail(error, 1, option->name, "must be true or false");
        }
        *flag |= text_boolean(value, false);
        return 0;
    }
    char **text = member(config, option);
    if (text_kind(value) != TEXT_STRING) {
        return fail(error, 1, option->name, "must be a string");
    }
    *text = *text ? *text : g_strdup(text_string(value, NULL));
    return 0;
}

static int read_members(struct node_config *config, const struct text_value *file, GError **error)
{
    if (text_kind(file) != TEXT_OBJECT && text_kind(file) != TEXT_NULL) {
        return fail(error, 1, "file", "must be a list of `option: value` lines");
    }
    for (size_t i = 0; i < text_count(file); i++) {
        const char *key = text_key_at(file, i);
        const struct node_option *option = find(key, strlen(key));
        if (!option || strcmp(key, "config") == 0) {
            return fail(error, 1, key,
                        "unknown option; the names are those of microcloud run --help");
        }
        int r = set_from_file(config, option, text_at(file, i), error);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static int read_file(struct node_config *config, GError **error)
{
    const char *name = config->config_file ? config->config_file : DEFAULT_FILE;
    g_autofree char *text = NULL;
    gsize length;

    if (!config->config_file && access(name, F_OK) != 0) {
        return 0;
    }
    if (!g_file_get_contents(name, &text, &length, error)) {
        return 1;
    }
    _cleanup_(text_freep) struct text_value *file = text_parse_yaml(text, length, error);
    int r = file ? read_members(config, file, error) : 1;
    if (r != 0) {
        g_prefix_error(error, "%s: ", name);
    }
    return r;
}

/* ---- defaults ---- */

void node_config_be_witness(struct node_config *config)
{
    config->witness = true;
    config->mqtt_port = config->mqtts_port = config->http_port = config->https_port = 0;
}

static void set_defaults(struct node_config *config)
{
    if (!config->data) {
        config->data = geteuid() == 0 ? g_strdup("/var/lib/microcloud")
                                      : g_build_filename(g_get_user_data_dir(), "microcloud", NULL);
    }
    if (!config->name) {
        config->name = g_strdup(g_get_host_name());
    }
    if (config->witness) {
        node_config_be_witness(config);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(node_options); i++) {
        if (node_options[i].kind == OPTION_PORT &&
            *(int *)member(config, &node_options[i]) == PORT_UNSET) {
            *(int *)member(config, &node_options[i]) = node_options[i].port;
        }
    }
}

static int check(const struct node_config *config, GError **error)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (strspn(config->name, allowed) != strlen(config->name) || strlen(config->name) > 63) {
        return fail(error, 2, "--name", "must be up to 63 letters, digits, '-', '_' and '.'");
    }
    if (config->address && !g_hostname_is_ip_address(config->address)) {
        return fail(error, 2, "--address", "must be an IPv4 or IPv6 address of this machine");
    }
    if (config->join && config->peer_port == 0) {
        return fail(error, 2, "--join", "goes with a --peer-port, by which the others reach us");
    }
    if ((config->tls_certificate != NULL) != (config->tls_key != NULL)) {
        return fail(error, 2, "--tls-cert", "goes with --tls-key");
    }
    if (config->require_client_certificate && !config->tls_ca) {
        return fail(error, 2, "--require-client-certificate", "needs --tls-ca FILE to verify them");
    }
    return 0;
}

int node_config_load(struct node_config *config, int argc, char **argv, GError **error)
{
    *config = (struct node_config){0};
    for (unsigned i = 0; i < G_N_ELEMENTS(node_options); i++) {
        if (node_options[i].kind == OPTION_PORT) {
            *(int *)member(config, &node_options[i]) = PORT_UNSET;
        }
    }
    int r = parse_words(config, argc, argv, error);
    r = r == 0 ? read_file(config, error) : r;
    if (r == 0) {
        set_defaults(config);
        r = check(config, error);
    }
    return r;
}

void node_config_deinit(struct node_config *config)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(node_options); i++) {
        if (node_options[i].kind == OPTION_TEXT) {
            g_clear_pointer((char **)member(config, &node_options[i]), g_free);
        }
    }
}

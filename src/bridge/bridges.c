/* The set of bridges: which there are, and what happens when the setting changes; see bridge.h. */
#include "base/log.h"
#include "bridge/bridge_private.h"
#include "net/tls.h"
#include "packet/reason.h"
#include <errno.h>

struct bridges {
    struct bridges_options options;
    GPtrArray *list;    /* of struct bridge, owned */
    GPtrArray *leaving; /* of struct leaving, owned */
};

/* ---- the session of a bridge that is gone ---- */

/* Ends the session of a bridge that is gone: nobody would ever empty its queue. */
struct leaving {
    struct bridges *bridges;
    struct client *client;
};

static void leaving_free(void *pointer)
{
    struct leaving *leaving = pointer;

    if (leaving->client) {
        client_free(leaving->client, REASON_SUCCESS);
    }
    g_free(leaving);
}

static void on_left(void *owner, const struct packet_connack *connack)
{
    struct leaving *leaving = owner;

    if (connack->reason == 0) {
        g_ptr_array_remove_fast(leaving->bridges->leaving, leaving);
    }
}

static void on_leaving_end(void *owner, uint8_t reason, const char *text)
{
    struct leaving *leaving = owner;

    log_warning("session of a removed bridge not ended", "error=\"%s\"", text);
    g_ptr_array_remove_fast(leaving->bridges->leaving, leaving);
}

static const struct client_events leaving_events = {on_left, NULL,           NULL,
                                                    NULL,    on_leaving_end, NULL};

static void leave(struct bridges *bridges, const char *name)
{
    g_autofree char *id = bridge_local_id(name);
    struct stream *stream = bridges->options.open_local(bridges->options.owner, id);
    struct client_options options = {.connect = {.version = PACKET_MQTT_5,
                                                 .clean_start = true,
                                                 .client_id = bytes_from_string(id)}};

    if (stream) {
        struct leaving *leaving = g_new0(struct leaving, 1);
        leaving->bridges = bridges;
        g_ptr_array_add(bridges->leaving, leaving);
        leaving->client =
            client_new(bridges->options.loop, stream, &options, &leaving_events, leaving);
    }
}

static struct bridge *find(GPtrArray *list, const char *name)
{
    for (unsigned i = 0; i < list->len; i++) {
        struct bridge *bridge = list->pdata[i];
        if (strcmp(bridge->config->name, name) == 0) {
            return bridge;
        }
    }
    return NULL;
}

/* ---- the set ---- */

static void free_one(void *bridge)
{
    bridge_free(bridge);
}

struct bridges *bridges_new(const struct bridges_options *options)
{
    struct bridges *bridges = g_new0(struct bridges, 1);

    bridges->options = *options;
    bridges->list = g_ptr_array_new_with_free_func(free_one);
    bridges->leaving = g_ptr_array_new_with_free_func(leaving_free);
    return bridges;
}

void bridges_free(struct bridges *bridges)
{
    g_ptr_array_unref(bridges->list);
    g_ptr_array_unref(bridges->leaving);
    g_free(bridges);
}

int bridges_check(const char *text, GError **error)
{
    GPtrArray *configs = bridge_config_parse(text, error);
    int r = configs ? 0 : -EINVAL;

    for (unsigned i = 0; r == 0 && i < configs->len; i++) {
        struct tls_context *tls = NULL;
        r = bridge_make_tls(configs->pdata[i], &tls, error);
        if (tls) {
            tls_context_free(tls);
        }
    }
    if (configs) {
        g_ptr_array_unref(configs);
    }
    return r;
}

/* New bridges for what is new or changed; NULL when one cannot be made. */
static GPtrArray *make_new(struct bridges *bridges, GPtrArray *configs, GError **error)
{
    GPtrArray *fresh = g_ptr_array_new_with_free_func(free_one);

    for (unsigned i = 0; i < configs->len; i++) {
        struct bridge_config *config = configs->pdata[i];
        const struct bridge *old = find(bridges->list, config->name);
        if (old && bridge_config_equal(old->config, config)) {
            continue;
        }
        struct bridge *bridge = bridge_new(&bridges->options, config, error);
        if (!bridge) {
            g_ptr_array_unref(fresh);
            return NULL;
        }
        g_ptr_array_add(fresh, bridge);
        configs->pdata[i] = NULL; /* it is the bridge's now */
        if (old) {
            bridge_inherit(bridge, old);
        }
    }
    return fresh;
}

/* Takes what is unchanged out of the old list, so that it goes on without a break. */
static void keep_unchanged(struct bridges *bridges, const GPtrArray *configs, GPtrArray *fresh)
{
    for (unsigned i = 0; i < configs->len; i++) {
        const struct bridge_config *config = configs->pdata[i];
        struct bridge *old = config ? find(bridges->list, config->name) : NULL;
        guint index;
        if (old && g_ptr_array_find(bridges->list, old, &index)) {
            g_ptr_array_add(fresh, g_ptr_array_steal_index_fast(bridges->list, index));
        }
    }
}

int bridges_configure(struct bridges *bridges, const char *text, GError **error)
{
    GPtrArray *configs = bridge_config_parse(text, error);
    GPtrArray *fresh = configs ? make_new(bridges, configs, error) : NULL;

    if (fresh) {
        keep_unchanged(bridges, configs, fresh);
        GPtrArray *old = bridges->list;
        bridges->list = fresh;
        for (unsigned i = 0; i < old->len; i++) {
            const char *name = ((struct bridge *)old->pdata[i])->config->name;
            if (!find(fresh, name)) {
                leave(bridges, name);
            }
        }
        g_ptr_array_unref(old);
    }
    if (configs) {
        g_ptr_array_unref(configs);
    }
    return fresh ? 0 : -EINVAL;
}

void bridges_for_each(struct bridges *bridges,
                      void (*fn)(void *owner, const struct bridge_status *status), void *owner)
{
    for (unsigned i = 0; i < bridges->list->len; i++) {
        const struct bridge *bridge = bridges->list->pdata[i];
        g_autofree char *address =
            g_strdup_printf("%s:%u", bridge->config->host, bridge->config->port);
        struct bridge_status status = {bridge->config->name, address,      bridge->error,
                                       bridge->is_connected, bridge->sent, bridge->received};
        fn(owner, &status);
    }
}

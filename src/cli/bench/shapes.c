/* Connecting many clients, waiting for progress, and the choice of the shape. */
#include "cli/bench/shapes.h"
#include "cli/error.h"

#include "cli/bench/wire.h"
#include <string.h>

#define SESSION_EXPIRY_S (24u * 3600)

static int load_group_open(struct load_engine *engine, const struct load_options *options,
                           const struct load_group *group, unsigned i)
{
    g_autoptr(GByteArray) hello = g_byte_array_new();
    char client_id[64];
    g_snprintf(client_id, sizeof(client_id), "%s-%u", group->prefix, group->first + i);
    struct wire_login login = {.client_id = client_id,
                               .username = options->username,
                               .password = options->password,
                               .version = options->version,
                               .clean = group->clean,
                               .expiry_s = SESSION_EXPIRY_S};
    wire_connect(&login, hello);
    return load_connection_open(&group->list[i], engine, group->first + i, hello);
}

int load_group_connect(struct load_engine *engine, const struct load_options *options,
                       const struct load_group *group, uint64_t *took_ns)
{
    uint64_t begin_ns = load_now_ns();
    uint64_t progress_ns = begin_ns;
    unsigned before = engine->connected;
    unsigned opened = 0;
    const char *host = group->host ? group->host : options->host;
    if (load_engine_aim(engine, host, options->port, &engine->failure) < 0) {
        return -1;
    }
    while (engine->connected - before < group->count) {
        while (opened < group->count &&
               opened - (engine->connected - before) < LOAD_CONNECTING_MAX) {
            if (load_group_open(engine, options, group, opened) < 0) {
                return -1;
            }
            opened++;
        }
        unsigned had = engine->connected;
        if (load_engine_turn(engine, 100000000) < 0) {
            return -1;
        }
        uint64_t now_ns = load_now_ns();
        progress_ns = engine->connected != had ? now_ns : progress_ns;
        if (now_ns - progress_ns > LOAD_PATIENCE_NS) {
            g_set_error(&engine->failure, CLI_ERROR, CLI_ERROR_FAILED,
                        "%u of %u clients are connected and no more come",
                        engine->connected - before, group->count);
            return -1;
        }
    }
    if (took_ns) {
        *took_ns = load_now_ns() - begin_ns;
    }
    return 0;
}

void load_group_close(const struct load_group *group)
{
    static const uint8_t disconnect[2] = {0xe0, 0};
    for (unsigned i = 0; i < group->count; i++) {
        struct load_connection *connection = &group->list[i];
        if (connection->engine && connection->connected) {
            (void)!send(connection->fd, disconnect, sizeof(disconnect),
                        MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        load_connection_close(connection);
    }
}

int load_engine_wait(struct load_engine *engine, const uint64_t *counter, uint64_t wanted)
{
    uint64_t progress_ns = load_now_ns();
    while (*counter < wanted) {
        uint64_t had = *counter;
        if (load_engine_turn(engine, 100000000) < 0) {
            return -1;
        }
        uint64_t now_ns = load_now_ns();
        progress_ns = *counter != had ? now_ns : progress_ns;
        if (now_ns - progress_ns > LOAD_PATIENCE_NS) {
            g_set_error(&engine->failure, CLI_ERROR, CLI_ERROR_FAILED,
                        "the broker answered %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                        " and no more",
                        *counter, wanted);
            return -1;
        }
    }
    return 0;
}

int load_run(const struct load_options *options, struct load_result *result, GError **error)
{
    static int (*const shapes[])(struct load_engine *, const struct load_options *,
                                 struct load_result *) = {
        [LOAD_FLOW] = load_flow_run,
        [LOAD_IDLE] = load_idle_run,
        [LOAD_SUBSCRIPTIONS] = load_subscriptions_run,
        [LOAD_RETAINED] = load_retained_run,
        [LOAD_SESSIONS] = load_sessions_run,
    };
    struct load_engine engine;
    memset(result, 0, sizeof(*result));
    if (load_engine_init(&engine, options->host, options->port, error) < 0) {
        return -1;
    }
    if (options->pid > 0) {
        usage_read(options->pid, &result->before);
    }
    int r = shapes[options->shape](&engine, options, result);
    if (r < 0) {
        g_propagate_error(error, g_steal_pointer(&engine.failure));
    }
    load_engine_deinit(&engine);
    return r;
}

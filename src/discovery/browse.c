/* See browse.h. It asks from a port of its own, so that the answers come to it alone (RFC
 * 6762 5.1). */
#include "discovery/browse.h"
#include "discovery/multicast.h"
#include "loop/loop.h"
#include <string.h>

#define ASKED_AFTER_MS 300 /* again, should the first be lost */

struct browse {
    struct multicast multicast; /* first: on_message is given it */
    struct browse_events events;
    struct timer *again, *end;
    GHashTable *seen; /* node ids */
};

static void ask(struct browse *browse)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    const GArray *interfaces = browse->multicast.interfaces;

    service_write_question(out);
    for (guint i = 0; i < interfaces->len; i++) {
        multicast_send(&browse->multicast,
                       &g_array_index(interfaces, struct multicast_interface, i),
                       (struct bytes){out->data, out->len});
    }
}

static void on_again(void *owner)
{
    ask(owner);
}

static void on_end(void *owner)
{
    struct browse *browse = owner;

    browse->events.on_done(browse->events.owner);
}

static void on_message(struct multicast *multicast, struct bytes message,
                       const struct sockaddr_in *from, const struct multicast_interface *interface)
{
    struct browse *browse = (struct browse *)multicast;
    g_autoptr(GPtrArray) services = service_read(message);

    for (guint i = 0; i < services->len; i++) {
        const struct service *service = services->pdata[i];
        bool is_whole = service->node_id && service->cluster && service->version &&
                        service->address && service->port != 0 && !service->is_gone;
        if (is_whole && g_hash_table_add(browse->seen, g_strdup(service->node_id))) {
            browse->events.on_found(browse->events.owner, service);
        }
    }
}

struct browse *browse_new(struct loop *loop, uint64_t ms, const struct browse_events *events,
                          int *error)
{
    struct browse *browse = g_new0(struct browse, 1);

    browse->events = *events;
    browse->multicast.on_message = on_message;
    *error = multicast_open(&browse->multicast, loop, 0);
    if (*error < 0) {
        g_free(browse);
        return NULL;
    }
    browse->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    browse->again = timer_new(loop, on_again, browse);
    browse->end = timer_new(loop, on_end, browse);
    timer_start(browse->again, MIN(ASKED_AFTER_MS, ms / 2));
    timer_start(browse->end, ms);
    ask(browse);
    return browse;
}

void browse_free(struct browse *browse)
{
    if (browse) {
        timer_free(browse->again);
        timer_free(browse->end);
        multicast_close(&browse->multicast);
        g_hash_table_unref(browse->seen);
        g_free(browse);
    }
}

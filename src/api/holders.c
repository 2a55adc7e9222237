/* See holders.h. Who is offline is told elsewhere, and does not count: it may be back. */
#include "api/holders.h"
#include "api/cluster_view.h"
#include "state/state.h"

#define SAYS_MORE "; `microcloud doctor` says what to do."

struct holders {
    GString *unable;  /* names, owned; empty = none */
    const char *able; /* one that can; NULL = none. Borrowed of the state */
    unsigned able_count;
};

static void look_at(struct holders *holders, const struct api *api, const struct cluster_node *node)
{
    struct api_node_facts facts = api_node_facts(api, node->id);

    if (node->is_drained || node->role == NODE_ROLE_SPARE || node->role == NODE_ROLE_WITNESS ||
        !facts.is_online) {
        return;
    }
    if (facts.is_unable) {
        g_string_append_printf(holders->unable, "%s%s", holders->unable->len > 0 ? ", " : "",
                               node->name);
    } else {
        holders->able = node->name;
        holders->able_count++;
    }
}

static struct holders look(const struct api *api)
{
    const struct state *state = api->options.state;
    struct holders holders = {.unable = g_string_new(NULL)};

    for (uint32_t i = 0; state_vip_count(state) > 0 && i < state_node_count(state); i++) {
        look_at(&holders, api, state_node_at(state, i));
    }
    return holders;
}

char *holders_unable(const struct api *api)
{
    g_autoptr(GString) unable = look(api).unable;

    return unable->len > 0 ? g_strdup(unable->str) : NULL;
}

char *holders_warning(const struct api *api)
{
    struct holders holders = look(api);
    g_autoptr(GString) unable = holders.unable;

    if (unable->len == 0 || holders.able_count >= 2) {
        return NULL;
    }
    return holders.able ? g_strdup_printf("No virtual IP can move: only %s can hold one" SAYS_MORE,
                                          holders.able)
                        : g_strdup("No node can hold a virtual IP" SAYS_MORE);
}

/* See doctor.h: what a node sees of the others. */
#include "api/cluster_view.h"
#include "api/doctor.h"
#include "api/holders.h"
#include "state/settings.h"
#include "state/state.h"
#include <stdlib.h>

#define KEY              "cluster.election_timeout_ms"
#define KEY_WAIT         "cluster.write_wait_ms"
#define ROUND_MS         100
#define CLOCK_OFF_MS_MAX 2000
/* A change must outlast an election, and that takes up to two timeouts and may fail once. */
#define WAIT_ELECTIONS 4

uint32_t doctor_election_ms(int64_t round_trip_us, int64_t round_trip_us_max)
{
    const struct setting *setting = settings_find(KEY);
    uint64_t usual_ms = g_ascii_strtoull(setting->default_value, NULL, 10);
    uint64_t wanted_ms = (uint64_t)MAX(10 * round_trip_us, 5 * round_trip_us_max) / 1000;

    wanted_ms = (wanted_ms + ROUND_MS - 1) / ROUND_MS * ROUND_MS;
    return (uint32_t)MIN(MAX(wanted_ms, usual_ms), setting->most);
}

static void check_wait(struct text_value *list, uint32_t election_ms, uint32_t wait_ms)
{
    uint32_t least_ms = WAIT_ELECTIONS * election_ms;
    g_autofree char *found = g_strdup_printf("changes wait for a majority for %u ms", wait_ms);
    g_autofree char *advice = g_strdup_printf(
        "shorter than an election may take: microcloud setting set " KEY_WAIT " %u", least_ms);

    doctor_add(list, "patience", wait_ms >= least_ms, found, advice);
}

/* Half of what is proposed is still well: the figures change by the minute. */
static void check_round_trips(struct text_value *list, const struct settings *settings,
                              const struct api_node_facts *farthest, const char *name)
{
    uint32_t current_ms = settings->election_timeout_ms;
    uint32_t wanted_ms = doctor_election_ms(farthest->round_trip_us, farthest->round_trip_us_max);
    bool is_well = current_ms >= wanted_ms / 2;
    g_autofree char *found = g_strdup_printf(
        "%u ms; round trips to %s: %.1f ms, at most %.1f ms", current_ms, name,
        (double)farthest->round_trip_us / 1000, (double)farthest->round_trip_us_max / 1000);
    g_autofree char *advice = g_strdup_printf(
        "too short for ways that long: microcloud setting set " KEY " %u", wanted_ms);

    doctor_add(list, "election timeout", is_well, found, advice);
    check_wait(list, is_well ? current_ms : wanted_ms, settings->write_wait_ms);
}

static void add_off(GString *off, const char *name, int64_t off_ms)
{
    if (llabs(off_ms) > CLOCK_OFF_MS_MAX) {
        g_string_append_printf(off, "%s%s is %" G_GINT64_FORMAT " s %s", off->len > 0 ? ", " : "",
                               name, (int64_t)llabs(off_ms) / 1000,
                               off_ms > 0 ? "ahead" : "behind");
    }
}

/* One that is drained was taken away on purpose; it is named, for that may have been forgotten. */
static void check_online(struct text_value *list, const struct api *api)
{
    const struct state *state = api->options.state;
    g_autoptr(GString) offline = g_string_new(NULL);
    g_autoptr(GString) well = g_string_new(NULL);

    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *node = state_node_at(state, i);
        if (node->is_drained) {
            g_string_append_printf(well, "%s%s", well->len > 0 ? ", " : "drained: ", node->name);
        } else if (!api_node_facts(api, node->id).is_online) {
            g_string_append_printf(offline, "%s%s",
                                   offline->len > 0 ? ", " : "offline: ", node->name);
        }
    }
    g_string_append(well, well->len > 0 ? "; the others are online" : "all are online");
    if (state_node_count(state) > 1) {
        doctor_add(list, "nodes", offline->len == 0, offline->len > 0 ? offline->str : well->str,
                   api_is_stale(api) ? "start it, or look at its cable"
                                     : "start it, or look at its cable; one that is gone for good: "
                                       "microcloud node rm NAME");
    }
}

void doctor_check_nodes(struct text_value *list, const struct api *api)
{
    const struct state *state = api->options.state;
    struct api_node_facts farthest = {.round_trip_us = -1};
    const char *name = NULL;
    g_autoptr(GString) off = g_string_new(NULL);

    check_online(list, api);
    for (uint32_t i = 0; i < state_node_count(state); i++) {
        const struct cluster_node *node = state_node_at(state, i);
        struct api_node_facts facts = api_node_facts(api, node->id);
        if (facts.is_online) {
            add_off(off, node->name, facts.clock_off_ms);
        }
        if (facts.is_online && facts.round_trip_us > farthest.round_trip_us) {
            farthest = facts;
            name = node->name;
        }
    }
    if (!name) { /* alone, or nobody is there */
        return;
    }
    check_round_trips(list, state_settings(state), &farthest, name);
    doctor_add(list, "clocks of the nodes", off->len == 0, off->len > 0 ? off->str : "agree",
               "set the clock there (chrony, systemd-timesyncd); until then the others' counts");
}

void doctor_check_holders(struct text_value *list, const struct api *api)
{
    g_autofree char *unable = holders_unable(api);
    g_autofree char *found = unable ? g_strdup_printf("%s cannot hold one", unable) : NULL;

    if (state_vip_count(api->options.state) > 0) {
        doctor_add(list, "virtual IPs", !unable,
                   found ? found : "each node that serves can hold one",
                   "start microcloud there as root or by its systemd unit, without --no-keeper; if "
                   "it was, its log says why");
    }
}

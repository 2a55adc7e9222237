/* What only the daemon can see of itself, and what to do about it: `microcloud doctor`. */
#include "api/doctor.h"
#include "api/cluster.h"
#include "api/cluster_view.h"
#include "api/routes.h"
#include "base/clock.h"
#include "consensus/consensus.h"
#include "mqtt/broker.h"
#include "state/settings.h"
#include "state/state.h"
#include "text/units.h"
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CONNECTIONS_USUAL 1000

void doctor_add(struct text_value *list, const char *check, bool is_well, const char *found,
                const char *advice)
{
    struct text_value *value = text_new_object();

    text_set_string(value, "check", check);
    text_set_boolean(value, "ok", is_well);
    text_set_string(value, "found", found);
    text_set_string(value, "advice", is_well ? NULL : advice);
    text_append(list, value);
}

static void check_disk(struct text_value *list, const struct api *api)
{
    struct statvfs disk;

    if (statvfs(api->options.data, &disk) == 0) {
        uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
        g_autofree char *text = text_format_size_bytes(free_bytes);
        doctor_add(list, "disk space", free_bytes > 256 * 1024 * 1024, text,
                   "free at least 256 MiB on the disk of the data directory");
    }
}

/* The default is no demand: a small machine with fewer descriptors is well. */
static void check_limits(struct text_value *list, const struct api *api)
{
    struct rlimit limit = {0};
    uint32_t wanted = state_settings(api->options.state)->connections_max;
    uint32_t possible = broker_connections_max(api->options.broker);
    const char *usual = settings_find("mqtt.connections_max")->default_value;
    bool is_default = wanted == g_ascii_strtoull(usual, NULL, 10);

    getrlimit(RLIMIT_NOFILE, &limit);
    g_autofree char *text =
        g_strdup_printf("%llu: room for %u MQTT connections, mqtt.connections_max is %u",
                        (unsigned long long)limit.rlim_cur, possible, wanted);
    doctor_add(list, "descriptors",
               possible >= wanted || (is_default && possible >= CONNECTIONS_USUAL), text,
               "raise LimitNOFILE= of the service (ulimit -n), or lower mqtt.connections_max");
}

static void check_clock(struct text_value *list)
{
    uint64_t built_unix_ms = 1735689600000; /* 2025: a clock before that was never set */
    bool is_set = clock_unix_ms() > built_unix_ms;

    doctor_add(list, "clock", is_set, is_set ? "set" : "before 2025",
               "set the clock (chrony, systemd-timesyncd): expiry and certificates need it");
}

/* They are open: the node ends at its start when it cannot have one. */
static void check_ports(struct text_value *list, const struct api *api)
{
    const struct {
        const char *what;
        uint16_t port;
    } ports[] = {{"MQTT", api->options.mqtt_port},
                 {"MQTT over TLS", api->options.mqtts_port},
                 {"HTTP", api->options.http_port},
                 {"HTTPS", api->options.https_port}};

    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++) {
        if (ports[i].port != 0) {
            g_autofree char *name = g_strdup_printf("port %u (%s)", ports[i].port, ports[i].what);
            doctor_add(list, name, true, "serves", NULL);
        }
    }
}

/* What others on this machine must not read or change; somebody may have copied it carelessly. */
static void check_rights(struct text_value *list, const struct api *api)
{
    static const struct {
        const char *name;
        mode_t forbidden;
    } places[] = {{".", 0002},         {"raft", 0077},
                  {"tls", 0022},       {"tls/server.key", 0077},
                  {"node.json", 0077}, {"admin-password", 0077}};
    g_autoptr(GString) open = g_string_new(NULL);
    struct stat status;

    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(api->options.data, places[i].name, NULL);
        if (stat(path, &status) == 0 && (status.st_mode & places[i].forbidden) != 0) {
            g_string_append_printf(open, "%s%s",
                                   open->len > 0 ? ", " : "open to others: ", places[i].name);
        }
    }
    bool may_write = access(api->options.data, W_OK | X_OK) == 0;
    doctor_add(list, "rights", may_write && open->len == 0,
               !may_write      ? "the data directory may not be written"
               : open->len > 0 ? open->str
                               : "the data directory is the node's own",
               may_write ? "chmod -R go-rwx what is named here in the data directory"
                         : "give the data directory to the user that runs the node (chown)");
}

static void check_vips(struct text_value *list, const struct api *api)
{
    const struct api_cluster *cluster = api->options.cluster_calls;
    const struct state *state = api->options.state;

    for (uint32_t i = 0; cluster && cluster->vip_facts && i < state_vip_count(state); i++) {
        const struct virtual_address *vip = state_vip_at(state, i);
        struct api_vip_facts facts = {0};
        cluster->vip_facts(cluster->owner, vip, &facts);
        g_autofree char *name = g_strdup_printf("virtual IP %s", vip->address);
        bool is_well = facts.holder_id != 0 && !facts.problem;
        doctor_add(list, name, is_well,
                   is_well         ? "held"
                   : facts.problem ? facts.problem
                                   : "no node holds it",
                   facts.problem
                       ? "see docs/operations.md, or take another address: microcloud vip rm, "
                         "vip set"
                       : "a moment after an election that is right; else see `microcloud node ls`: "
                         "one that was started as root must lead");
    }
}

static void check_log(struct text_value *list, const struct api *api)
{
    struct consensus_status log;
    bool serves = api_takes_writes(api, &log);
    bool is_cut_off = log.state == CONSENSUS_ELECTING && state_node_count(api->options.state) > 1;

    g_autofree char *advice = g_strdup_printf(
        "bring back those that are offline in `microcloud node ls`, or mend the network; if they "
        "are gone for good: microcloud node promote --force %s",
        api->options.node_name);

    doctor_add(list, "log", serves,
               is_cut_off ? "no majority answers" : consensus_state_to_string(log.state),
               is_cut_off ? advice : "see the node's log; is the disk full?");
    doctor_add(list, "engine", true, log.engine, NULL);
}

static void check_versions(struct text_value *list, const struct api *api)
{
    g_autofree char *upgrade = api_upgrade(api);

    doctor_add(list, "versions", !upgrade, upgrade ? upgrade : "all nodes run the same",
               "upgrade those as well; one that is gone for good: microcloud node rm NAME");
}

void doctor_get(struct api_request *request)
{
    const struct api *api = request->api;
    struct text_value *list = text_new_list();

    check_log(list, api);
    check_disk(list, api);
    check_rights(list, api);
    check_ports(list, api);
    check_limits(list, api);
    check_clock(list);
    check_vips(list, api);
    doctor_check_holders(list, api);
    doctor_check_nodes(list, api);
    check_versions(list, api);
    uint64_t used = state_bytes(api->options.state),
             most = state_settings(api->options.state)->state_bytes_max;
    g_autofree char *text =
        g_strdup_printf("%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes", used, most);
    doctor_add(list, "state", used < most - most / 10, text,
               "remove retained messages and old sessions, or raise state.bytes_max");
    api_answer(request, 200, list);
}

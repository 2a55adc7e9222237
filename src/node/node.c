/* A node's life.
 *
 *   configuration -> data directory (rights, lock) -> node.json (epoch + 1, synced) -> log: look at
 * files, snapshot, replay
 *   -> wire.c: access, broker, what an earlier life left open -> listeners -> "ready"
 *
 * The listeners open only when the state is loaded. SIGTERM and SIGINT: clients are told, the log
 * is finished, all within a second. SIGHUP: certificates are read again. A disk that fails ends the
 * process: its supervisor starts it again. */
#include "node/node.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/message.h"
#include "loop/loop.h"
#include "loop/signals.h"
#include "loop/work.h"
#include "net/tls.h"
#include "node/cluster.h"
#include "node/membership/enter.h"
#include "node/rights.h"
#include "node/wire.h"
#include "state/log.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES  40
#define LOCK_TRY_US 25000
#define WAITING_MS  5000

/* ---- the machine ---- */

/* Every connection is a descriptor; memory that is freed goes back when it is a lot, not with every
 * chunk. */
static void set_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
    signal(SIGPIPE, SIG_IGN);
}

static int set_log_level(const char *text, GError **error)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    for (unsigned i = 0; text && i < G_N_ELEMENTS(names); i++) {
        if (strcmp(names[i], text) == 0) {
            log_set_level((enum log_level)i);
            return 0;
        }
    }
    if (text) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--log-level: must be error, warning, info or debug, got '%s'", text);
        return 2;
    }
    return 0;
}

/* ---- data directory ---- */

static int fail_directory(const char *path, const char *advice, GError **error)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "data directory '%s': %s: %s",
                path, g_strerror(errno), advice);
    return 1;
}

static int make_directory(const char *path, GError **error)
{
    if (g_mkdir_with_parents(path, 0700) < 0) {
        return fail_directory(path, "make it, or give another with --data DIR", error);
    }
    if (access(path, R_OK | W_OK | X_OK) < 0) {
        return fail_directory(
            path, "give this user the right to read and write it, or another with --data DIR",
            error);
    }
    return 0;
}

/* A daemon whose keeper was killed is still ending: it gets a moment. */
static bool take_lock(int fd)
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return true;
        }
        g_usleep(LOCK_TRY_US);
    }
    return false;
}

static int lock_directory(struct node *node, GError **error)
{
    g_autofree char *path = g_build_filename(node->config.data, "lock", NULL);

    node->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node->lock_fd < 0) {
        return fail_directory(path, "give this user the right to write it", error);
    }
    if (!take_lock(node->lock_fd)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
                    "data directory '%s': another microcloud runs on it: stop that first, or give "
                    "another with --data DIR",
                    node->config.data);
        return 1;
    }
    return 0;
}

static int fail_removed(const struct node *node, GError **error)
{
    g_set_error(
        error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
        "this node was removed from the cluster (node rm), or the others went on without it (node "
        "promote --force): to bring it back, empty its data directory '%s' and start it with "
        "--join TOKEN",
        node->config.data);
    return KEEPER_STATUS_FINAL;
}

/* With --join too, which a unit file may hold and which means nothing to a node that has joined. */
static int check_rescue(const struct node *node, GError **error)
{
    g_autofree char *path = g_build_filename(node->config.data, "node.json", NULL);

    if (!node->config.rescue || access(path, F_OK) == 0) {
        return 0;
    }
    g_set_error(
        error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
        "--rescue: data directory '%s' holds no node: there is nothing to rescue; give that "
        "of a node that is left with --data DIR",
        node->config.data);
    return 1;
}

/* The others count on it as on one. All that is left of them may serve again, by a rescue. */
static int stay_witness(struct node *node, GError **error)
{
    if (!node->identity.is_witness || node->config.witness) {
        return 0;
    }
    if (node->config.rescue) {
        node->identity.is_witness = false;
        return node_identity_save(&node->identity, node->config.data, error) < 0 ? 1 : 0;
    }
    log_warning("started without --witness, but joined as a witness: stays one until node rm",
                "node=%s", node->identity.name);
    node_config_be_witness(&node->config);
    return 0;
}

static int prepare_data(struct node *node, GError **error)
{
    g_autofree char *raft = g_build_filename(node->config.data, "raft", NULL);
    g_autofree char *tls = g_build_filename(node->config.data, "tls", NULL);
    int r = make_directory(node->config.data, error);

    r = r == 0 && node_identity_check_directory(node->config.data, error) < 0 ? 1 : r;
    r = r == 0 ? check_rescue(node, error) : r;
    r = r == 0 ? make_directory(raft, error) : r;
    r = r == 0 ? make_directory(tls, error) : r;
    r = r == 0 ? lock_directory(node, error) : r;
    r = r == 0 && node->config.join ? cluster_enter(node, error) : r;
    if (r == 0 &&
        node_identity_load(&node->identity, node->config.data, node->config.name, error) < 0) {
        r = 1;
    }
    r = r == 0 ? stay_witness(node, error) : r;
    r = r == 0 ? cluster_check_restored(node, error) : r;
    return r == 0 && node->identity.is_removed ? fail_removed(node, error) : r;
}

/* ---- stopping ---- */

static void on_log_stopped(void *owner)
{
    struct node *node = owner;

    loop_stop(node->loop);
}

void node_stopped(struct node *node)
{
    consensus_stop(state_log_link_consensus(node->link), on_log_stopped, node);
}

static void on_left(void *owner)
{
    struct node *node = owner;

    if (node->broker) {
        node_unwire(node);
    } else {
        node_stopped(node);
    }
}

static void stop(struct node *node)
{
    if (node->is_stopping) {
        return;
    }
    node->is_stopping = true;
    log_info("stopping", "node=%s", node->identity.name);
    node_notify("STOPPING=1");
    if (!node->link) {
        loop_stop(node->loop); /* still asking to be let in */
    } else if (node->cluster) {
        node_cluster_leave(node->cluster, on_left);
    } else {
        on_left(node);
    }
}

void node_rescue(struct node *node)
{
    node->wants_rescue = true;
    stop(node);
}

void node_fail(struct node *node, const char *message)
{
    fprintf(stderr, "microcloud: run: %s\n", message);
    node->exit_status = 1;
    stop(node);
}

void node_removed(struct node *node)
{
    g_autoptr(GError) error = NULL, not_saved = NULL;
    int status = fail_removed(node, &error);

    node->identity.is_removed = true;
    if (node_identity_save(&node->identity, node->config.data, &not_saved) < 0) {
        log_error("node.json not written", "error=\"%s\"", not_saved->message);
    }
    node_fail(node, error->message);
    node->exit_status = status;
}

static void on_signal(void *owner, int signal)
{
    struct node *node = owner;

    if (signal == SIGHUP) {
        node_reload(node);
    } else {
        stop(node);
    }
}

/* ---- the log ---- */

/* The log of the cluster is here: from now on an empty one would be a loss. */
static void note_joined(struct node *node)
{
    g_autoptr(GError) error = NULL;

    node->identity.is_joining = false;
    if (node_identity_save(&node->identity, node->config.data, &error) < 0) {
        log_error("node.json not written", "error=\"%s\"", error->message);
    }
}

void node_serve(struct node *node)
{
    struct consensus_status status;

    consensus_status(state_log_link_consensus(node->link), &status);
    bool is_up = status.state == CONSENSUS_LEADING || status.state == CONSENSUS_FOLLOWING;
    if (is_up && !node->broker && !node->is_stopping &&
        (!node->cluster || node_cluster_may_serve(node->cluster))) {
        node_wire(node);
    }
}

static void on_state(void *owner, enum consensus_state state)
{
    struct node *node = owner;
    bool is_up = state == CONSENSUS_LEADING || state == CONSENSUS_FOLLOWING;

    node->is_leading = state == CONSENSUS_LEADING;
    if (node->cluster) {
        node_cluster_on_leading(node->cluster, node->is_leading);
    }
    if (is_up && node->identity.is_joining) {
        note_joined(node);
    }
    if (is_up && !node->broker) {
        node_serve(node);
    } else if (is_up && node->is_serving) {
        node_leadership_changed(node);
    } else if (state == CONSENSUS_DISK_FULL) {
        log_error("disk full, changes are refused", "data=%s", node->config.data);
    }
}

static void on_leader(void *owner, uint64_t leader_id, uint64_t term)
{
    struct node *node = owner;

    if (node->cluster) {
        node_cluster_on_leader(node->cluster, leader_id, term);
    }
}

static void on_members(void *owner)
{
    struct node *node = owner;

    if (node->cluster) {
        node_cluster_on_members(node->cluster);
    }
}

/* Nothing that is not on the disk may be acknowledged: the process ends at once, as if it had been
 * killed. */
static void on_fatal(void *owner, const char *message)
{
    fprintf(stderr, "microcloud: run: the log failed: %s\n", message);
    _exit(1);
}

static uint64_t on_group_time(void *owner)
{
    const struct node *node = owner;

    return node->cluster ? cluster_clock_unix_ms(node->cluster) : loop_unix_ms(node->loop);
}

/* Nobody can ask this node yet: without this line it would be silent for as long as it takes. To a
 * supervisor it has started: to be killed and started again would not bring the others back. */
static void on_waiting(void *owner)
{
    const struct node *node = owner;
    struct consensus_status status;

    consensus_status(state_log_link_consensus(node->link), &status);
    if (!node->broker && !node->is_stopping && status.state == CONSENSUS_ELECTING) {
        log_warning("not serving yet, no majority of the nodes that vote answers",
                    "advice=\"start the others; if they are gone for good: microcloud run "
                    "--rescue\"");
        node_notify("READY=1\nSTATUS=not serving yet, no majority of the nodes that vote answers");
    }
}

static int start_log(struct node *node, GError **error)
{
    g_autofree char *raft = g_build_filename(node->config.data, "raft", NULL);
    struct state_log_options options = {
        .state = {.node_id = node->identity.id, .epoch = node->identity.epoch},
        .consensus = {.loop = node->loop,
                      .directory = raft,
                      .node_id = node->identity.id,
                      .address = node->config.address ? node->config.address : node->identity.name,
                      .found = node->identity.epoch == 1 && !node->identity.is_joining,
                      .join = node->identity.is_joining,
                      .is_small = node->config.witness,
                      .rescue = node->config.rescue},
        .events = {on_state, on_leader, on_members, on_fatal, on_group_time, node},
    };

    if (node->config.peer_port != 0) {
        node->cluster = node_cluster_new(node);
        options.consensus.network = &node->cluster->network;
    }
    node->link = state_log_link_new(&options, error);
    if (!node->link) {
        return 1;
    }
    node->state = state_log_link_state(node->link);
    node->waiting = timer_new(node->loop, on_waiting, node);
    timer_start(node->waiting, WAITING_MS);
    if (node->cluster && node_cluster_start(node->cluster, error) < 0) {
        return 1;
    }
    return consensus_start(state_log_link_consensus(node->link), error) < 0 ? 1 : 0;
}

/* ---- life ---- */

static void free_all(struct node *node)
{
    node_wire_free(node);
    node_cluster_free(node->cluster);
    for (unsigned i = 0; i < G_N_ELEMENTS(node->signals); i++) {
        signal_watch_free(node->signals[i]);
    }
    timer_free(node->waiting);
    state_log_link_free(node->link);
    tls_context_free(node->tls);
    loop_free(node->loop);
    node_identity_deinit(&node->identity);
    node_config_deinit(&node->config);
    if (node->lock_fd >= 0) {
        close(node->lock_fd);
    }
}

static int start(struct node *node, int argc, char **argv, GError **error)
{
    int r = node_config_load(&node->config, argc, argv, error);

    r = r == 0 ? set_log_level(node->config.log_level, error) : r;
    r = r == 0 ? node_split_rights(&node->config, &node->keeper, error) : r;
    if (r != 0) {
        return r;
    }
    set_limits();
    node->loop = loop_new();
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        node->signals[i] = signal_watch_new(node->loop, signals[i], on_signal, node);
    }
    r = prepare_data(node, error);
    return r != 0 ? r : start_log(node, error);
}

/* The same process, with the words that it was started with and one more. */
static int run_again(int argc, char **argv)
{
    g_autofree char **words = g_new0(char *, (gsize)argc + 3);

    words[0] = (char *)"microcloud";
    memcpy(words + 1, argv, (gsize)argc * sizeof *argv);
    words[argc + 1] = (char *)"--rescue";
    execv("/proc/self/exe", words);
    fprintf(stderr, "microcloud: run: cannot start again: %s: start it with --rescue\n",
            g_strerror(errno));
    return 1;
}

int node_run(int argc, char **argv)
{
    struct node node = {.lock_fd = -1, .keeper = {-1, -1}};
    g_autoptr(GError) error = NULL;

    node.exit_status = start(&node, argc, argv, &error);
    if (error) {
        fprintf(stderr, "microcloud: run: %s\n", error->message);
    } else {
        loop_run(node.loop);
        work_finish(node.loop); /* passwords that are being checked */
    }
    int status = node.exit_status;
    bool wants_rescue = node.wants_rescue;
    struct keeper_ends keeper = {-1, -1};
    if (wants_rescue) {
        keeper.pair = fcntl(node.keeper.pair, F_DUPFD, 3);
        keeper.renewals = fcntl(node.keeper.renewals, F_DUPFD, 3);
    }
    if (node.loop) {
        free_all(&node);
    } else {
        node_config_deinit(&node.config);
        node_identity_deinit(&node.identity);
    }
    node_keep_split(keeper);
    return wants_rescue ? run_again(argc, argv) : status;
}

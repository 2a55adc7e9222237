/* The time of the cluster: which calendar clock counts (cluster/calendar.h), looked at with each
 * answered ping, so once a second for each link. In between it is counted with a clock that does
 * not jump. Only a majority of the voters can say what it is: cut off, a node goes on counting; at
 * its start it has no word in it until it has heard them.
 *
 *   link: pong --> on_pong --> calendar_choose --> loop_set_unix_ms --> publishes, expiry, ticks,
 *                                                                      time in the groups of the
 * log
 */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/calendar.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/node.h"
#include "state/cluster_tables.h"
#include <stdlib.h>

#define OFF_MS_MAX 2000 /* worth a line in the log */
#define LAST_MS    3000
#define WAIT_MS    10000 /* for the others' clocks, at the start */

G_STATIC_ASSERT(CALENDAR_CLOCKS_MAX >= LINKS_PEERS_MAX);

struct clocks {
    const struct node_cluster *cluster;
    int64_t off_ms[CALENDAR_CLOCKS_MAX];
    size_t count;
    unsigned voters, known;
};

static void add_clock(void *owner, const struct links_status *status)
{
    struct clocks *clocks = owner;

    if (status->is_up && status->has_clock && clocks->count < CALENDAR_CLOCKS_MAX) {
        clocks->off_ms[clocks->count++] = status->clock_offset_ms;
    }
}

static void count_voter(void *owner, const struct consensus_member *member)
{
    struct clocks *clocks = owner;
    const struct node_cluster *cluster = clocks->cluster;
    struct links_status status;

    if (member->role == CONSENSUS_VOTER) {
        clocks->voters++;
        clocks->known +=
            member->node_id == cluster->node->identity.id ||
            (cluster->links && links_status(cluster->links, member->node_id, &status) &&
             status.is_up && status.has_clock);
    }
}

static void tell_off(struct node_cluster *cluster)
{
    int64_t off_ms = cluster_clock_off_ms(cluster);
    bool is_off = llabs(off_ms) > OFF_MS_MAX;

    if (is_off && !cluster->is_clock_off) {
        log_warning("the clock of this machine differs from those of the other nodes, which count",
                    "off_ms=%" G_GINT64_FORMAT, off_ms);
    } else if (!is_off && cluster->is_clock_off) {
        log_info("the clock of this machine agrees with those of the other nodes again",
                 "off_ms=%" G_GINT64_FORMAT, off_ms);
    }
    cluster->is_clock_off = is_off;
}

static void set_known(struct node_cluster *cluster)
{
    cluster->is_clock_known = true;
    if (cluster->on_clock) {
        timer_start(cluster->clock_timer, 0);
    }
}

/* So far; 0 = not at all. Before it has heard the others a node knows only what the log says, which
 * is never ahead. */
static uint64_t counted_unix_ms(const struct node_cluster *cluster)
{
    uint64_t counted_ms = cluster->is_clock_known ? loop_unix_ms(cluster->node->loop) : 0;

    return MAX(counted_ms, state_time_unix_ms(cluster->node->state));
}

/* Clocks of others are known as of their last pong, so that two that jump in turn may look like two
 * that agree: what lasts is believed. */
static bool has_lasted(struct node_cluster *cluster, bool is_jump)
{
    uint64_t now_ms = clock_now_ms();

    if (!is_jump || !cluster->is_clock_known) {
        cluster->jumped_ms = 0;
        return true;
    }
    if (cluster->jumped_ms == 0) {
        cluster->jumped_ms = now_ms;
    }
    return now_ms - cluster->jumped_ms >= LAST_MS;
}

void cluster_clock_look(struct node_cluster *cluster)
{
    struct loop *loop = cluster->node->loop;
    struct clocks clocks = {.cluster = cluster, .count = 1}; /* ours: 0 */

    consensus_for_each_member(cluster_consensus(cluster), count_voter, &clocks);
    if (clocks.voters == 0 || clocks.known < clocks.voters / 2 + 1) {
        return;
    }
    if (cluster->links) {
        links_for_each(cluster->links, add_clock, &clocks);
    }
    uint64_t own_ms = clock_unix_ms();
    uint64_t counted_ms = counted_unix_ms(cluster);
    int64_t before_ms = (int64_t)(counted_ms - own_ms);
    int64_t off_ms =
        calendar_choose(clocks.off_ms, clocks.count, counted_ms != 0 ? &before_ms : NULL);
    if (has_lasted(cluster, llabs(off_ms - before_ms) > OFF_MS_MAX)) {
        loop_set_unix_ms(loop, clocks.count > 1 ? own_ms + (uint64_t)off_ms : 0);
    }
    tell_off(cluster);
    set_known(cluster);
}

int64_t cluster_clock_off_ms(const struct node_cluster *cluster)
{
    return (int64_t)(clock_unix_ms() - loop_unix_ms(cluster->node->loop));
}

uint64_t cluster_clock_unix_ms(struct node_cluster *cluster)
{
    if (!cluster->is_clock_known) {
        cluster_clock_look(cluster);
    }
    return cluster->is_clock_known ? loop_unix_ms(cluster->node->loop) : 0;
}

void cluster_clock_wait(struct node_cluster *cluster, void (*fn)(void *node))
{
    cluster->on_clock = fn;
    cluster_clock_look(cluster);
    if (!cluster->is_clock_known) {
        timer_start(cluster->clock_timer, WAIT_MS);
    }
}

void cluster_clock_on_timer(void *owner)
{
    struct node_cluster *cluster = owner;
    void (*fn)(void *node) = cluster->on_clock;

    cluster->on_clock = NULL;
    if (fn && !cluster->node->is_stopping) {
        fn(cluster->node);
    }
}

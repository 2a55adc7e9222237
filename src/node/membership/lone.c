/* Of two boxes one votes, and when it was away the other may have been forced on without it (`node
 * promote --force`). So a node that decides alone in a cluster of several asks the others first:
 *
 *   leads, others are known, none votes --> dials all
 *     each has answered, or ASK_MS are over --> serves
 *     one says that this one was given up --> ends
 *
 * One that cannot be reached in that time cannot be asked. When they meet later this node ends then
 * (removed.c), and what it took meanwhile is lost: `status` says so. */
#include "base/log.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/node.h"

#define ASK_MS 2000

struct vote_count {
    uint64_t own_id;
    unsigned own, others;
};

static void count(void *owner, const struct consensus_member *member)
{
    struct vote_count *votes = owner;

    if (member->role == CONSENSUS_VOTER) {
        votes->own += member->node_id == votes->own_id;
        votes->others += member->node_id != votes->own_id;
    }
}

bool cluster_decides_alone(const struct node_cluster *cluster)
{
    struct vote_count votes = {.own_id = cluster->node->identity.id};

    consensus_for_each_member(cluster_consensus(cluster), count, &votes);
    return votes.own == 1 && votes.others == 0;
}

bool node_cluster_may_serve(struct node_cluster *cluster)
{
    bool must_ask = !cluster->has_asked && cluster->links && !cluster->node->config.rescue &&
                    g_hash_table_size(cluster->addresses) > 0 && cluster_decides_alone(cluster);

    if (must_ask && !timer_is_active(cluster->ask_timer)) {
        log_info("asks the others before it serves alone", "others=%u",
                 g_hash_table_size(cluster->addresses));
        links_ask_all(cluster->links, true);
        timer_start(cluster->ask_timer, ASK_MS);
    }
    return !must_ask;
}

static void count_up(void *owner, const struct links_status *status)
{
    unsigned *count = owner;

    *count += status->is_up;
}

/* A link comes up only where this node still belongs to the cluster. */
void cluster_lone_on_up(struct node_cluster *cluster)
{
    unsigned up = 0;

    if (timer_is_active(cluster->ask_timer)) {
        links_for_each(cluster->links, count_up, &up);
        if (up >= g_hash_table_size(cluster->addresses)) {
            timer_start(cluster->ask_timer, 0);
        }
    }
}

void cluster_lone_on_timer(void *owner)
{
    struct node_cluster *cluster = owner;

    cluster->has_asked = true;
    links_ask_all(cluster->links, false);
    node_serve(cluster->node);
}

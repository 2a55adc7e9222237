/* What the API asks of the cluster (api/cluster.h): who is there, tokens, and the two changes that
 * are more than a row of a table. */
#include "api/cluster.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "cluster/roles.h"
#include "cluster/token.h"
#include "ingress/candidate.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/cluster_vip.h"
#include "node/node.h"
#include "state/propose_cluster.h"
#include <errno.h>
#include <string.h>

/* An answer that comes later. */
struct answer {
    struct node_cluster *cluster;
    api_cluster_done *done;
    void *owner;
    char *text;
    int error;
    struct timer *timer;
};

static struct answer *answer_new(struct node_cluster *cluster, api_cluster_done *done, void *owner)
{
    struct answer *answer = g_new0(struct answer, 1);

    *answer = (struct answer){.cluster = cluster, .done = done, .owner = owner};
    return answer;
}

static void answer_give(struct answer *answer, int error, const char *text)
{
    answer->done(answer->owner, error, text);
    timer_free(answer->timer);
    g_free(answer->text);
    g_free(answer);
}

static void on_answer_timer(void *owner)
{
    struct answer *answer = owner;
    g_autofree char *text = g_steal_pointer(&answer->text);

    answer_give(answer, answer->error, text);
}

/* Never from inside the call that asked. */
static void answer_soon(struct answer *answer, int error, const char *text)
{
    answer->error = error;
    answer->text = g_strdup(text);
    answer->timer = timer_new(answer->cluster->node->loop, on_answer_timer, answer);
    timer_start(answer->timer, 0);
}

/* ---- looking ---- */

static void node_facts(void *owner, uint64_t node_id, struct api_node_facts *facts)
{
    const struct node_cluster *cluster = owner;
    struct links_status status;

    facts->round_trip_us = facts->round_trip_us_max = -1;
    facts->is_holder = cluster_vip_is_holder(cluster->vip, node_id);
    facts->is_unable = cluster_vip_is_unable(cluster->vip, node_id);
    if (node_id == cluster->node->identity.id) {
        facts->is_online = true;
        facts->seen_unix_ms = clock_unix_ms();
        facts->clock_off_ms = cluster_clock_off_ms(cluster);
        return;
    }
    if (!cluster->links || !links_status(cluster->links, node_id, &status)) {
        return;
    }
    facts->is_online = status.is_up;
    if (status.round_trip_us > 0) {
        facts->round_trip_us = status.round_trip_us;
        facts->round_trip_us_max = status.round_trip_us_max;
        facts->clock_off_ms = status.clock_offset_ms + cluster_clock_off_ms(cluster);
    }
    if (status.heard_ms > 0) {
        facts->seen_unix_ms =
            clock_unix_ms() - (loop_now_ms(cluster->node->loop) - status.heard_ms);
    }
}

static void vip_facts(void *owner, const struct virtual_address *vip, struct api_vip_facts *facts)
{
    const struct node_cluster *cluster = owner;

    cluster_vip_facts(cluster->vip, vip, facts);
}

static const char *safety(void *owner)
{
    const struct node_cluster *cluster = owner;
    g_autoptr(GArray) members = cluster_members(cluster);
    struct roles_view view = cluster_view(cluster, members);

    return roles_safety(&view);
}

static bool can_spare(void *owner, uint64_t node_id)
{
    return cluster_can_spare(owner, node_id);
}

/* ---- tokens ---- */

static void on_token_put(void *owner, uint64_t id, const struct state_result *result)
{
    struct answer *answer = owner;
    g_autofree char *token = g_steal_pointer(&answer->text);
    int error = result->error < 0 ? result->error : result->message ? -EINVAL : 0;

    answer_give(answer, error, error == 0 ? token : result->message);
}

static void fill_addresses(const struct node_cluster *cluster, GPtrArray *addresses)
{
    const struct state *state = cluster->node->state;
    const struct cluster_node *own = state_find_node(state, cluster->node->identity.id);

    if (own) {
        g_ptr_array_add(addresses, own->address);
    }
    for (uint32_t i = 0; i < state_node_count(state) && addresses->len < TOKEN_ADDRESSES_MAX; i++) {
        if (state_node_at(state, i) != own) {
            g_ptr_array_add(addresses, state_node_at(state, i)->address);
        }
    }
    g_ptr_array_add(addresses, NULL);
}

static void make_token(void *owner, enum node_role role, uint64_t ttl_ms, api_cluster_done *done,
                       void *done_owner)
{
    struct node_cluster *cluster = owner;
    struct node *node = cluster->node;
    struct answer *answer = answer_new(cluster, done, done_owner);
    struct state_completion completion = {on_token_put, answer, 0, 0};
    struct join_token row = {.role = role, .expires_unix_ms = loop_unix_ms(node->loop) + ttl_ms};
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();
    struct ca_certificate ca;
    struct token token;

    if (state_ca(node->state)->generation == 0 ||
        ca_look(state_ca(node->state)->certificate, &ca, NULL) < 0) {
        answer_soon(answer, -EAGAIN, "the cluster has no certificate authority yet");
        return;
    }
    fill_addresses(cluster, addresses);
    token_make(&token, node->identity.cluster, ca.fingerprint,
               (const char *const *)addresses->pdata);
    token_hash(token.id, token.secret, row.secret_sha256);
    row.id = token.id;
    answer->text = token_format(&token);
    token_deinit(&token);
    int r = state_propose_token_put(node->state, &row, &completion);
    if (r < 0) {
        g_clear_pointer(&answer->text, g_free);
        answer_soon(answer, r, NULL);
    }
}

/* ---- more than a row ---- */

static void force(void *owner, api_cluster_done *done, void *done_owner)
{
    struct node_cluster *cluster = owner;
    struct consensus_status status;

    consensus_status(cluster_consensus(cluster), &status);
    if (status.state == CONSENSUS_LEADING || status.state == CONSENSUS_FOLLOWING) {
        answer_soon(answer_new(cluster, done, done_owner), -EEXIST,
                    "the cluster has a leader: there is nothing to force");
        return;
    }
    answer_soon(answer_new(cluster, done, done_owner), 0, NULL);
    node_rescue(cluster->node);
}

static void rotate(void *owner, api_cluster_done *done, void *done_owner)
{
    struct node_cluster *cluster = owner;
    g_autoptr(GError) error = NULL;
    int r = cluster_rotate(cluster, &error);

    answer_soon(answer_new(cluster, done, done_owner), r, error ? error->message : NULL);
}

static const char *vip_problem(void *owner)
{
    const struct node_cluster *cluster = owner;

    return cluster_vip_problem(cluster->vip);
}

static char *vip_refusal(void *owner, const char *address, const char *interface)
{
    const struct node_cluster *cluster = owner;

    return candidate_refusal(address, interface, cluster->node->state);
}

static void accepted(void *owner, const struct stream *stream)
{
    const struct node_cluster *cluster = owner;

    cluster_vip_accepted(cluster->vip, stream);
}

void cluster_api_init(struct node_cluster *cluster)
{
    cluster->api = (struct api_cluster){.owner = cluster,
                                        .node_facts = node_facts,
                                        .vip_facts = vip_facts,
                                        .safety = safety,
                                        .can_spare = can_spare,
                                        .token = make_token,
                                        .force = force,
                                        .rotate = rotate,
                                        .vip_problem = vip_problem,
                                        .vip_refusal = vip_refusal,
                                        .accepted = accepted};
}

/* Moments that seldom come by themselves, so they are made inside of a log: what waits behind a
 * slow disk, what comes during a snapshot, who asks while libraft closes. */
#include "consensus/test_switchboard.h"

#include "consensus/engine.h"
#include "consensus/members.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

static void writes_behind_others_that_go_on_are_not_refused(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    struct node *node = &cluster.nodes[1];
    struct consensus *log = node->consensus;
    assert_int_equal(node_write(node, 1, 10), 0);
    cluster_settle(&cluster);
    assert_int_equal(node_write(node, 1, 10), 0);
    log->current->begun_ms -= log->write_wait_ms;
    group_on_patience(log);
    assert_int_equal(node->failed->len, 0);
    log->own_applied_ms -= log->write_wait_ms; /* nothing went on */
    group_on_patience(log);
    assert_int_equal(node->failed->len, 1);
    assert_int_equal(node->failed_error, -ETIMEDOUT);
    cluster_deinit(&cluster);
}

/* Their times are those of their groups. */
static void what_comes_later_while_nobody_leads_is_in_another_group(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 2);
    cluster_settle(&cluster);
    struct node *node = &cluster.nodes[2];
    struct consensus *log = node->consensus;
    cluster_end(&cluster, 1);
    cluster_run_ms(&cluster, 3 * ELECTION_MS);
    assert_int_equal(node_write(node, 1, 100), 0);
    cluster_run_ms(&cluster, 20);
    const struct group *first = log->current;
    assert_non_null(first);
    assert_int_equal(node_write(node, 1, 100), 0);
    assert_ptr_equal(log->current, first);
    log->current->begun_ms -= 1000;
    assert_int_equal(node_write(node, 1, 100), 0);
    assert_true(log->current != first);
    cluster_start(&cluster, 1);
    cluster_settle(&cluster);
    assert_int_equal(node->failed->len, 0);
    cluster_deinit(&cluster);
}

static bool has_short_log(struct cluster *cluster)
{
    struct consensus_status status;
    consensus_status(cluster->nodes[1].consensus, &status);
    return status.snapshot_index > 0 && status.log_bytes < cluster->snapshot_log_bytes;
}

/* Without another write. */
static void what_came_during_a_snapshot_gets_one_too(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.snapshot_log_bytes = 64 * 1024;
    cluster_build(&cluster, 1);
    struct consensus *log = cluster.nodes[1].consensus;
    consensus_snapshot_soon(log);
    cluster_run(&cluster, has_short_log, "the first snapshot");
    log->writing = (struct snapshot_writing){.is_active = true, .index = log->snapshot_index};
    for (int i = 0; i < 10; i++) {
        assert_int_equal(node_write(&cluster.nodes[1], 1, 10000), 0);
    }
    cluster_settle(&cluster);
    assert_false(has_short_log(&cluster));
    log->writing.is_active = false; /* it is there */
    consensus_schedule(log);
    cluster_run(&cluster, has_short_log, "the second snapshot");
    cluster_deinit(&cluster);
}

/* Where each node took its first, by node; 0 while there is none. */
static bool have_snapshots(struct cluster *cluster, uint64_t first[4])
{
    for (uint64_t id = 1; id <= 3; id++) {
        struct consensus_status status;
        consensus_status(cluster->nodes[id].consensus, &status);
        first[id] = first[id] ? first[id] : status.snapshot_index;
    }
    return first[1] && first[2] && first[3];
}

/* While one begins it acknowledges nothing. Each has applied the same before the next is written:
 * where nodes are behind, it is chance. */
static void the_nodes_take_snapshots_one_by_one(void **state)
{
    struct cluster cluster;
    uint64_t first[4] = {0};
    cluster_init(&cluster);
    cluster.snapshot_log_bytes = 512 * 1024;
    cluster.election_ms = CALM_MS;
    cluster_build(&cluster, 3);
    while (!have_snapshots(&cluster, first)) {
        assert_true(cluster_leader(&cluster)->written < 200);
        assert_int_equal(node_write(cluster_leader(&cluster), 1, 10 * 1000), 0);
        cluster_settle(&cluster);
    }
    assert_true(first[1] != first[2]);
    assert_true(first[1] != first[3]);
    assert_true(first[2] != first[3]);
    cluster_deinit(&cluster);
}

static void count_unreachable(struct raft_tracer *tracer, int type, const void *info)
{
    const struct raft_tracer_info *trace = info;
    unsigned *count = tracer->impl;
    *count += type == RAFT_TRACER_DIAGNOSTIC && strstr(trace->diagnostic.message, "unreachable");
}

/* Between two ticks nobody had time to answer: their next entries must not wait for a third. */
static void who_answers_each_round_is_reachable(void **state)
{
    struct cluster cluster;
    unsigned count = 0;
    struct raft_tracer tracer = {.impl = &count, .version = 2, .emit = count_unreachable};
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    cluster_settle(&cluster);
    struct consensus *log = cluster_leader(&cluster)->consensus;
    log->raft.tracer = &tracer;
    cluster_run_ms(&cluster, 2 * ELECTION_MS);
    for (int i = 0; i < 3; i++) {
        leadership_let_tick(log);
    }
    assert_int_equal(count, 0);
    cluster_cut(&cluster, cluster_leader(&cluster)->id);
    cluster_run_ms(&cluster, 2 * ELECTION_MS);
    assert_true(count > 0);
    assert_true(raft_state(&log->raft) != RAFT_LEADER);
    log->raft.tracer = NULL;
    cluster_heal(&cluster);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

/* Asks in each turn until libraft is closing. */
struct asker {
    struct deferred turn;
    struct cluster *cluster;
    struct consensus *log;
    unsigned named;
};

static void on_member(void *owner, const struct consensus_member *member)
{
    struct asker *asker = owner;
    asker->named++;
}

static void on_ask(void *owner)
{
    struct asker *asker = owner;
    asker->named = 0;
    consensus_for_each_member(asker->log, on_member, asker);
    if (asker->log->stop_stage != STOP_CLOSING) {
        assert_int_equal(asker->named, 3);
        deferred_schedule(asker->cluster->loop, &asker->turn);
    }
}

/* What the links of a leader that stops may want to know in the last moment. */
static void no_members_are_named_while_libraft_closes(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    struct node *leader = cluster_leader(&cluster);
    struct asker asker = {.cluster = &cluster, .log = leader->consensus};
    deferred_init(&asker.turn, on_ask, &asker);
    deferred_schedule(cluster.loop, &asker.turn);
    cluster_stop(&cluster, leader->id);
    assert_int_equal(asker.named, 0);
    cluster_deinit(&cluster);
}

/* A follower that was away gets two changes of the membership in one message, behind other entries.
 */
static void changes_that_come_among_other_entries_are_known_when_they_are_committed(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.election_ms = CALM_MS;
    cluster_build(&cluster, 3);
    uint64_t away = cluster_leader(&cluster)->id == 3 ? 2 : 3;
    cluster_cut(&cluster, away);
    assert_int_equal(node_write(cluster_leader(&cluster), 1, 10), 0);
    cluster_run_ms(&cluster, 20);
    cluster_start(&cluster, 4);
    assert_int_equal(cluster_change(&cluster, CHANGE_ADD, 4, CONSENSUS_SPARE), 0);
    assert_int_equal(cluster_change(&cluster, CHANGE_REMOVE, 4, CONSENSUS_SPARE), 0);
    assert_int_equal(node_write(cluster_leader(&cluster), 1, 10), 0);
    cluster_end(&cluster, 4);
    cluster_heal(&cluster);
    cluster_settle(&cluster);
    const struct raft *raft = &cluster.nodes[away].consensus->raft;
    const struct raft *leader = &cluster_leader(&cluster)->consensus->raft;
    assert_int_equal(raft->configuration_uncommitted_index, 0);
    assert_int_equal(raft->configuration_committed_index, leader->configuration_committed_index);
    assert_int_equal(cluster_change(&cluster, CHANGE_TRANSFER, away, CONSENSUS_VOTER), 0);
    cluster_run(&cluster, cluster_has_leader, "it leads");
    assert_int_equal(cluster_leader(&cluster)->id, away);
    cluster_start(&cluster, 5);
    assert_int_equal(cluster_change(&cluster, CHANGE_ADD, 5, CONSENSUS_SPARE), 0);
    cluster_deinit(&cluster);
}

static bool has_second_all(struct cluster *cluster)
{
    struct raft *raft = &cluster->nodes[1].consensus->raft;
    raft_index match = 0;

    return raft_match_index(raft, 2, &match) == 0 && match == raft_last_index(raft);
}

static bool has_first_decided(struct cluster *cluster)
{
    struct raft *raft = &cluster->nodes[1].consensus->raft;

    return raft->last_stored == raft_last_index(raft);
}

/* It is to vote, but the one that decided so dies before it could say it. */
static void who_does_not_know_yet_that_it_votes_gives_its_vote(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    cluster_join(&cluster, 2, CONSENSUS_STANDBY);
    cluster_run(&cluster, has_second_all, "it has the log");
    struct consensus *log = cluster.nodes[1].consensus;
    raft_index last = raft_last_index(&log->raft);
    cluster_cut(&cluster, 2);
    assert_int_equal(consensus_assign(log, 2, CONSENSUS_VOTER, NULL, NULL), 0);
    assert_int_equal(raft_last_index(&log->raft), last + 1);
    cluster_run(&cluster, has_first_decided, "it has decided");
    cluster_end(&cluster, 1);
    cluster_heal(&cluster);
    cluster_start(&cluster, 1);
    cluster_run(&cluster, cluster_has_leader, "one leads");
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

static bool does_third_stand(struct cluster *cluster)
{
    return consensus_leader_ended(cluster->nodes[3].consensus);
}

static bool has_more_than_third(struct cluster *cluster)
{
    return raft_last_index(&cluster->nodes[2].consensus->raft) >
           raft_last_index(&cluster->nodes[3].consensus->raft);
}

static bool has_leapt_ahead(struct cluster *cluster)
{
    return raft_current_term(&cluster->nodes[3].consensus->raft) >
           raft_current_term(&cluster->nodes[2].consensus->raft) + 2;
}

/* One stood for election alone, the other has more of the log; the third is gone for good. */
static void who_wants_a_newer_term_and_who_has_more_elect_together(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    assert_int_equal(cluster_leader(&cluster)->id, 1);
    cluster_settle(&cluster);
    cluster_cut(&cluster, 3);
    cluster_run(&cluster, does_third_stand, "the third wants to lead");
    cluster_run(&cluster, has_leapt_ahead, "the third wants to lead again and again");
    cluster_end(&cluster, 3); /* from now on it asks before it stands */
    cluster_start(&cluster, 3);
    assert_int_equal(node_write(&cluster.nodes[1], 1, 100), 0);
    cluster_run(&cluster, has_more_than_third, "the second has more");
    cluster_end(&cluster, 1);
    cluster_heal(&cluster);
    cluster_run(&cluster, cluster_has_leader, "one leads");
    assert_int_equal(cluster_leader(&cluster)->id, 2);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

/* What it had sent before its own disk had it must not be taken for what it sends now. */
static void who_votes_alone_begins_a_term_with_each_start(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    cluster_join(&cluster, 2, CONSENSUS_STANDBY);
    cluster_settle(&cluster);
    raft_term term = raft_current_term(&cluster.nodes[1].consensus->raft);
    cluster_end(&cluster, 1);
    cluster_start(&cluster, 1);
    cluster_run(&cluster, cluster_has_leader, "it leads again");
    assert_int_equal(raft_current_term(&cluster.nodes[1].consensus->raft), term + 1);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 50);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

static int on_append_nothing(struct raft_io *io, struct raft_io_append *request,
                             const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    return 0;
}

/* The first of two is what is gone back to when the second is overruled. */
static void a_change_behind_another_makes_that_one_final(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    struct consensus *log = cluster.nodes[1].consensus;
    struct raft_entry entry = {.type = RAFT_CHANGE};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(node_write(&cluster.nodes[1], 1, 10), 0);
        cluster_settle(&cluster);
    }
    raft_index last = raft_last_index(&log->raft);
    assert_int_equal(raft_configuration_encode(&log->raft.configuration, &entry.buf), 0);
    log->change = g_bytes_new(entry.buf.base, entry.buf.len);
    log->change_index = last - 1;
    log->append = on_append_nothing;
    assert_int_equal(log->io.append(&log->io, NULL, &entry, 1, NULL), 0);
    assert_int_equal(log->raft.configuration_committed_index, last - 1);
    assert_int_equal(log->raft.configuration_uncommitted_index, last);
    log->raft.configuration_uncommitted_index = 0;
    raft_free(entry.buf.base);
    cluster_deinit(&cluster);
}

/* What libraft meant to send, and what it sent. */
static struct raft_snapshot_metadata meant, sent;
static struct snapshot_send real;

struct getting {
    struct raft_io_snapshot_get request, *asked;
    raft_io_snapshot_get_cb done;
};

static void bring_newer(struct raft_io_snapshot_get *request, struct raft_snapshot *snapshot,
                        int status)
{
    g_autofree struct getting *getting = request->data;

    assert_int_equal(status, 0);
    meant.index = snapshot->index++;
    meant.term = snapshot->term++;
    getting->done(getting->asked, snapshot, status);
}

static int get_newer(struct raft_io *io, struct raft_io_snapshot_get *asked,
                     raft_io_snapshot_get_cb done)
{
    struct getting *getting = g_new(struct getting, 1);

    *getting = (struct getting){{.data = getting}, asked, done};
    return real.get(io, &getting->request, bring_newer);
}

static int send_but_snapshots(struct raft_io *io, struct raft_io_send *request,
                              const struct raft_message *message, raft_io_send_cb done)
{
    if (message->type != RAFT_INSTALL_SNAPSHOT) {
        return real.send(io, request, message, done);
    }
    sent.index = message->install_snapshot.last_index;
    sent.term = message->install_snapshot.last_term;
    done(request, 0);
    return 0;
}

static bool has_snapshot(struct cluster *cluster)
{
    return cluster->nodes[1].consensus->snapshot_index != 0;
}

static bool has_sent_a_snapshot(struct cluster *cluster)
{
    return sent.index != 0;
}

/* Another was written while libraft asked for it, in a newer term. */
static void a_newer_snapshot_is_sent_with_its_own_term(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    struct consensus *log = cluster.nodes[1].consensus;
    assert_int_equal(node_write(&cluster.nodes[1], 10, 10), 0);
    cluster_settle(&cluster);
    consensus_snapshot_soon(log);
    cluster_run(&cluster, has_snapshot, "there is a snapshot");
    real = log->sent;
    log->sent.get = get_newer;
    log->sent.send = send_but_snapshots;
    cluster_join(&cluster, 2, CONSENSUS_STANDBY);
    cluster_run(&cluster, has_sent_a_snapshot, "who is new gets the snapshot");
    assert_int_equal(sent.index, meant.index + 1);
    assert_int_equal(sent.term, meant.term + 1);
    cluster_deinit(&cluster);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_behind_others_that_go_on_are_not_refused),
        cmocka_unit_test(who_answers_each_round_is_reachable),
        cmocka_unit_test(the_nodes_take_snapshots_one_by_one),
        cmocka_unit_test(what_comes_later_while_nobody_leads_is_in_another_group),
        cmocka_unit_test(what_came_during_a_snapshot_gets_one_too),
        cmocka_unit_test(no_members_are_named_while_libraft_closes),
        cmocka_unit_test(changes_that_come_among_other_entries_are_known_when_they_are_committed),
        cmocka_unit_test(who_wants_a_newer_term_and_who_has_more_elect_together),
        cmocka_unit_test(who_votes_alone_begins_a_term_with_each_start),
        cmocka_unit_test(who_does_not_know_yet_that_it_votes_gives_its_vote),
        cmocka_unit_test(a_change_behind_another_makes_that_one_final),
        cmocka_unit_test(a_newer_snapshot_is_sent_with_its_own_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

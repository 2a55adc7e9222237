/* Several nodes and what can befall them under load: silence in one direction, ends, restarts,
 * snapshots of the leader, rescue, and all of it at random. The switchboard compares what each node
 * applies; cluster_test.c has the plain course of things. */
#include "consensus/test_switchboard.h"

#include "base/clock.h"
#include "consensus/engine.h"
#include "consensus/harness.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t old_leader;

static bool has_new_leader(struct cluster *cluster)
{
    const struct node *leader = cluster_leader(cluster);
    return leader && leader->id != old_leader && cluster_has_leader(cluster);
}

static uint64_t acknowledged_sum(const struct cluster *cluster)
{
    uint64_t sum = 0;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        sum += cluster->nodes[id].acknowledged;
    }
    return sum;
}

static void assert_nothing_refused(const struct cluster *cluster, uint64_t but)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (id != but) {
            assert_int_equal(cluster->nodes[id].failed->len, 0);
        }
    }
}

static uint64_t follower_of(struct cluster *cluster, uint64_t but)
{
    uint64_t leader = cluster_leader(cluster)->id;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (cluster->nodes[id].consensus && id != leader && id != but) {
            return id;
        }
    }
    return 0;
}

static void three_nodes_apply_the_same_whoever_wrote_it(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 300);
    cluster_settle(&cluster);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_true(cluster.nodes[id].acknowledged > 30);
        assert_int_equal(cluster.nodes[id].acknowledged, cluster.nodes[id].written);
        assert_true(cluster.nodes[id].member_changes > 0);
    }
    assert_nothing_refused(&cluster, 0);
    cluster_deinit(&cluster);
}

/* With nothing to write nearly all of them go by the links: nobody would stay follower otherwise.
 * Node 4 has no vote, and is left in peace. */
static void heartbeats_by_the_links_keep_the_leader(void **state)
{
    struct cluster cluster;
    struct node *leader;
    uint32_t before[5];

    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    cluster_join(&cluster, 4, CONSENSUS_STANDBY);
    cluster_settle(&cluster);
    leader = cluster_leader(&cluster);
    uint64_t term = leader->leader_term;
    for (uint64_t id = 1; id <= 4; id++) {
        before[id] = cluster.nodes[id].beats;
    }
    cluster_run_ms(&cluster, 10 * ELECTION_MS);
    assert_ptr_equal(cluster_leader(&cluster), leader);
    assert_int_equal(leader->leader_term, term);
    uint32_t asks = leader->beats - before[leader->id], answers = 0;
    for (uint64_t id = 1; id <= 3; id++) {
        uint32_t sent = cluster.nodes[id].beats - before[id];
        assert_true(sent >= 10);
        answers += id == leader->id ? 0 : sent;
    }
    assert_true(asks >= 10 && asks <= 60); /* of 50 rounds: one voter in each */
    assert_true(answers >= asks * 3 / 4);
    uint32_t rare = cluster.nodes[4].beats - before[4];
    assert_true(rare >= 1 && rare <= 5);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 100);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

/* So many asks, and answers of `other`, in ten election timeouts. */
static uint32_t count_asks(struct cluster *cluster, uint64_t other, uint32_t *answers)
{
    uint32_t asks = cluster_leader(cluster)->beats, before = cluster->nodes[other].beats;

    cluster_run_ms(cluster, 10 * ELECTION_MS);
    *answers = cluster->nodes[other].beats - before;
    return cluster_leader(cluster)->beats - asks;
}

/* The other one is asked each time, as long as one does not answer. */
static void who_does_not_answer_is_made_up_for(void **state)
{
    struct cluster cluster;
    uint32_t in_turn, all, answers;

    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    struct node *leader = cluster_leader(&cluster);
    uint64_t term = leader->leader_term;
    uint64_t silent = follower_of(&cluster, 0), other = follower_of(&cluster, silent);
    in_turn = count_asks(&cluster, other, &answers);
    cluster_cut_way(&cluster, silent, leader->id);
    cluster_run_ms(&cluster, ELECTION_MS);
    all = count_asks(&cluster, other, &answers);
    assert_int_equal(leader->leader_term, term);
    assert_true(all >= in_turn * 3 / 2); /* twice as many */
    assert_true(answers >= all * 2 / 5); /* each second one, but for checking */
    cluster_heal(&cluster);
    cluster_write(&cluster);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

/* Their words are checked: libraft would not. */
static void a_beat_that_is_not_sound_changes_nothing(void **state)
{
    struct cluster cluster;

    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    struct node *leader = cluster_leader(&cluster);
    uint64_t other = follower_of(&cluster, 0);
    uint64_t ask[] = {GUINT64_TO_BE(1), GUINT64_TO_BE(leader->leader_term), 0, 0, 0};
    uint64_t answer[] = {GUINT64_TO_BE(2), ask[1], 0, GUINT64_TO_BE(1u << 30), 0};
    uint64_t tell[] = {GUINT64_TO_BE(3), ask[1], 0, 0, 0};
    uint64_t unknown[] = {GUINT64_TO_BE(4), ask[1], 0, 0, 0};
    consensus_beat(leader->consensus, other, (struct bytes){(const uint8_t *)ask, sizeof ask});
    consensus_beat(leader->consensus, other,
                   (struct bytes){(const uint8_t *)answer, sizeof answer});
    consensus_beat(leader->consensus, other, (struct bytes){(const uint8_t *)tell, sizeof tell});
    consensus_beat(leader->consensus, other,
                   (struct bytes){(const uint8_t *)unknown, sizeof unknown});
    consensus_beat(leader->consensus, other, (struct bytes){(const uint8_t *)ask, 7});
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 100);
    cluster_settle(&cluster);
    assert_ptr_equal(cluster_leader(&cluster), leader);
    cluster_deinit(&cluster);
}

static void a_leader_that_ends_loses_nothing_of_the_others(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    for (int round = 0; round < 2; round++) {
        cluster_write(&cluster);
        cluster_run_ms(&cluster, 100);
        old_leader = cluster_leader(&cluster)->id;
        cluster_end(&cluster, old_leader);
        cluster_run(&cluster, has_new_leader, "the others elect");
        cluster_run_ms(&cluster, 50);
        cluster_start(&cluster, old_leader);
        cluster_settle(&cluster);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        assert_true(cluster.nodes[id].epoch == 2 || cluster.nodes[id].failed->len == 0);
    }
    cluster_deinit(&cluster);
}

static void mount_small_disk(struct node *node)
{
    node->directory = harness_make_directory();
    if (mount("none", node->directory, "tmpfs", 0, "size=64m") < 0) {
        print_message("skipped: a small disk cannot be mounted without the right to\n");
        skip();
    }
}

static void fill_disk(const char *path, const char *directory)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    while (directory_has_room(directory)) {
        assert_int_equal(posix_fallocate(fd, lseek(fd, 0, SEEK_END), 1024 * 1024), 0);
    }
    close(fd);
}

static void with_a_full_disk_what_was_overruled_stays_until_there_is_room(void **state)
{
    struct cluster cluster;

    cluster_init(&cluster);
    struct node *old = &cluster.nodes[1];
    mount_small_disk(old);
    cluster_build(&cluster, 3);
    assert_int_equal(cluster_leader(&cluster)->id, 1);
    cluster_cut(&cluster, 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(node_write(old, 1, 100), 0);
        cluster_run_ms(&cluster, 1);
    }
    old_leader = 1;
    cluster_run(&cluster, has_new_leader, "another leads");
    g_autofree char *ballast = g_build_filename(old->directory, "tmp-ballast", NULL);
    fill_disk(ballast, old->directory);
    cluster_heal(&cluster);
    cluster_write(&cluster);
    uint64_t count = old->count;
    cluster_run_ms(&cluster, 1000);
    assert_int_equal(old->count, count);
    assert_true(cluster_leader(&cluster)->count > count + 10);
    g_remove(ballast);
    cluster_settle(&cluster);
    assert_true(old->count > count + 10);
    assert_null(old->fatal);
    g_autofree char *mounted = g_strdup(old->directory);
    cluster_deinit(&cluster);
    umount2(mounted, MNT_DETACH);
    g_rmdir(mounted);
}

static void end_process(void *owner, const char *message)
{
    _exit(strstr(message, "taken back") ? 42 : 1);
}

/* In a process of its own. Tells the directory of who has to take something back. */
static void be_unable_to_take_back(int tell_fd)
{
    struct cluster cluster;

    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    struct node *old = cluster_leader(&cluster);
    assert_true(write(tell_fd, old->directory, strlen(old->directory)) > 0);
    cluster_cut(&cluster, old->id);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(node_write(old, 1, 100), 0);
        cluster_run_ms(&cluster, 1);
    }
    old_leader = old->id;
    cluster_run(&cluster, has_new_leader, "another leads");
    for (int last = 1; last < 200; last++) { /* in the way of the shortened file */
        g_autofree char *path = g_strdup_printf("%s/tmp-%016d-%016d", old->directory, 2, last);
        assert_true(g_file_set_contents(path, "", 0, NULL));
    }
    cluster.events.on_fatal = end_process;
    cluster_heal(&cluster);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 5000);
    _exit(0);
}

static void what_cannot_be_taken_back_ends_the_process_before_more_is_written(void **state)
{
    int tell[2], status;
    char directory[256] = {0};
    struct directory_report report;
    g_autoptr(GError) error = NULL;

    assert_int_equal(pipe(tell), 0);
    pid_t child = fork();
    if (child == 0) {
        be_unable_to_take_back(tell[1]);
    }
    close(tell[1]);
    assert_true(read(tell[0], directory, sizeof directory - 1) > 0);
    close(tell[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    int r = directory_prepare(directory, 0, DIRECTORY_EXISTING, &report, &error);
    assert_string_equal(error ? error->message : "", "");
    assert_int_equal(r, 0);
    assert_int_equal(WEXITSTATUS(status), 42);
    harness_remove_directory(g_strdup(directory));
}

static void a_leader_that_is_cut_off_gives_its_groups_to_the_next(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 100);
    old_leader = cluster_leader(&cluster)->id;
    cluster_cut(&cluster, old_leader);
    cluster_run(&cluster, has_new_leader, "the others elect");
    cluster_run_ms(&cluster, 100);
    assert_int_equal(cluster.nodes[old_leader].state, CONSENSUS_ELECTING);
    assert_true(cluster.nodes[old_leader].acknowledged < cluster.nodes[old_leader].written);
    cluster_heal(&cluster);
    cluster_settle(&cluster);
    assert_nothing_refused(&cluster, 0);
    cluster_deinit(&cluster);
}

static void a_link_that_is_cut_in_one_direction_loses_nothing(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    for (int way = 0; way < 2; way++) {
        cluster_write(&cluster);
        cluster_run_ms(&cluster, 50);
        uint64_t leader = cluster_leader(&cluster)->id;
        uint64_t follower = follower_of(&cluster, 0);
        cluster_cut_way(&cluster, way == 0 ? leader : follower, way == 0 ? follower : leader);
        cluster_run_ms(&cluster, 3 * ELECTION_MS);
        cluster_heal(&cluster);
        cluster_settle(&cluster);
    }
    assert_nothing_refused(&cluster, 0);
    cluster_deinit(&cluster);
}

static bool is_any_electing(struct cluster *cluster)
{
    bool is_any = false;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        is_any |= cluster->nodes[id].state == CONSENSUS_ELECTING;
    }
    return is_any;
}

static bool is_any_refused(struct cluster *cluster)
{
    guint refused = 0;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        refused += cluster->nodes[id].failed->len;
    }
    return refused > 0;
}

static void without_a_majority_writes_wait_and_are_refused_in_time(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.write_wait_ms = 600 * 1000;
    cluster_build(&cluster, 3);
    uint64_t follower = follower_of(&cluster, 0);
    struct node *other = &cluster.nodes[follower_of(&cluster, follower)];

    /* Long enough to lose its leader, not long enough to be refused. */
    cluster_cut(&cluster, other->id);
    assert_int_equal(node_write(other, 3, 10), 0);
    cluster_run(&cluster, is_any_electing, "it has lost its leader");
    cluster_heal(&cluster);
    cluster_settle(&cluster);
    assert_int_equal(other->acknowledged, 3);
    assert_nothing_refused(&cluster, 0);

    /* The limit counts as soon as it is set, also for who has begun to wait by another one. */
    struct node *leader = cluster_leader(&cluster);
    assert_int_equal(node_write(leader, 1, 10), 0);
    cluster_settle(&cluster);
    assert_true(timer_is_active(leader->consensus->patience));
    consensus_set_timeouts(leader->consensus, ELECTION_MS, 1000);
    for (uint64_t id = 1; id <= 3; id++) {
        cluster_cut(&cluster, id);
    }
    uint64_t begun_ms = clock_now_ms();
    assert_int_equal(node_write(leader, 1, 10), 0);
    cluster_run(&cluster, is_any_refused, "refused");
    assert_true(clock_now_ms() - begun_ms >= 990); /* the loop's clock is behind */
    assert_int_equal(leader->failed_error, -ETIMEDOUT);
    assert_int_equal(consensus_pending_bytes(leader->consensus), 0);
    consensus_set_timeouts(leader->consensus, ELECTION_MS, cluster.write_wait_ms);
    cluster_heal(&cluster);
    assert_int_equal(node_write(leader, 1, 10), 0);
    cluster_settle(&cluster);
    assert_true(leader->acknowledged >= 2);
    cluster_deinit(&cluster);
}

static void a_follower_that_is_far_behind_gets_a_snapshot(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.snapshot_log_bytes = 64 * 1024;
    cluster.ballast_bytes = 300 * 1000;
    cluster.filler_bytes = 20 * 1000;
    cluster_build(&cluster, 3);
    struct node *behind = &cluster.nodes[follower_of(&cluster, 0)];
    cluster_cut(&cluster, behind->id);
    cluster_write(&cluster);
    behind->is_writing = false;
    struct node *leader = cluster_leader(&cluster);
    while (leader->written < 3000) {
        cluster_run_ms(&cluster, 50);
        consensus_snapshot_soon(leader->consensus);
    }
    assert_int_equal(node_write(behind, 3, 10), 0);
    cluster_heal(&cluster);
    cluster_run_ms(&cluster, 500); /* while others write */
    cluster_settle(&cluster);
    assert_true(behind->restores >= 1); /* a slow machine gets a newer one, too */
    assert_int_equal(behind->acknowledged, 3);

    /* What came by snapshot is there after a restart. */
    cluster_end(&cluster, behind->id);
    cluster_start(&cluster, behind->id);
    cluster_settle(&cluster);
    assert_nothing_refused(&cluster, behind->id);
    cluster_deinit(&cluster);
}

static unsigned handed_on;

static void count_message(struct raft_io *io, struct raft_message *message)
{
    handed_on++;
    raft_configuration_close(&message->install_snapshot.conf);
    raft_free(message->install_snapshot.data.base);
}

static void offer_snapshot(struct consensus *log)
{
    struct raft_message message = {.type = RAFT_INSTALL_SNAPSHOT};

    raft_configuration_init(&message.install_snapshot.conf);
    message.install_snapshot.data.base = raft_malloc(64);
    message.install_snapshot.data.len = 64;
    leadership_on_receive(&log->io, &message);
}

static void a_snapshot_of_the_leader_waits_for_one_that_is_being_taken(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    struct consensus *log = cluster.nodes[1].consensus;
    raft_io_recv_cb receive = log->receive;
    log->receive = count_message;
    log->writing.is_active = true;
    offer_snapshot(log); /* dropped, and freed */
    assert_int_equal(handed_on, 0);
    log->writing.is_active = false;
    offer_snapshot(log);
    assert_int_equal(handed_on, 1);
    log->receive = receive;
    cluster_deinit(&cluster);
}

/* A sanitizer or the heap notices when it is freed twice. */
static void a_snapshot_that_is_of_no_use_is_freed_once(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    struct consensus *log = cluster.nodes[follower_of(&cluster, 0)].consensus;
    struct raft_message message = {.type = RAFT_INSTALL_SNAPSHOT};
    struct raft_install_snapshot *snapshot = &message.install_snapshot;

    raft_leader(&log->raft, &message.server_id, &message.server_address);
    snapshot->term = raft_current_term(&log->raft);
    snapshot->last_index = 1; /* it has that long since */
    snapshot->last_term = 1;
    snapshot->conf_index = 1;
    raft_configuration_init(&snapshot->conf);
    assert_int_equal(raft_configuration_add(&snapshot->conf, 1, "1", RAFT_VOTER), 0);
    snapshot->data.base = raft_malloc(64);
    snapshot->data.len = 64;
    leadership_on_receive(&log->io, &message);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

static void a_new_node_gets_a_long_log(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 1);
    struct node *founder = &cluster.nodes[1];
    while (cluster.reference->len < 20000) {
        uint64_t at = cluster.reference->len;
        for (int i = 0; i < 8; i++) { /* each record a group of its own: more than half full */
            assert_int_equal(node_write(founder, 1, i % 8 == 0 ? 33000 : 10), 0);
        }
        while (cluster.reference->len == at) {
            cluster_run_ms(&cluster, 0);
            loop_run(cluster.loop);
        }
    }
    uint64_t begun_ms = clock_now_ms();
    cluster_join(&cluster, 2, CONSENSUS_VOTER);
    cluster_settle(&cluster);
    printf("joined after %d ms\n", (int)(clock_now_ms() - begun_ms));
    assert_true(clock_now_ms() - begun_ms < 5000);
    cluster_deinit(&cluster);
}

static void leadership_is_handed_over_under_load(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.election_ms = CALM_MS;
    cluster_build(&cluster, 3);
    cluster_write(&cluster);
    for (int round = 0; round < 4; round++) {
        cluster_run_ms(&cluster, 30);
        uint64_t wanted = round == 3 ? 0 : follower_of(&cluster, old_leader);
        old_leader = cluster_leader(&cluster)->id;
        assert_int_equal(cluster_change(&cluster, CHANGE_TRANSFER, wanted, 0), 0);
        cluster_run(&cluster, has_new_leader, "another leads");
        assert_true(wanted == 0 || cluster_leader(&cluster)->id == wanted);
    }
    cluster_settle(&cluster);
    assert_nothing_refused(&cluster, 0);
    cluster_deinit(&cluster);
}

static uint32_t members;

static void count_member(void *owner, const struct consensus_member *member)
{
    members += member->role == CONSENSUS_VOTER;
}

static uint32_t voters(const struct node *node)
{
    members = 0;
    consensus_for_each_member(node->consensus, count_member, NULL);
    return members;
}

static void nodes_are_removed_down_to_one(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.election_ms = CALM_MS;
    cluster_build(&cluster, 3);
    assert_int_equal(voters(&cluster.nodes[1]), 3);
    assert_int_equal(cluster_change(&cluster, CHANGE_ADD, 3, 0), -EEXIST);
    assert_int_equal(cluster_change(&cluster, CHANGE_REMOVE, 7, 0), -ENOENT);
    assert_int_equal(cluster_change(&cluster, CHANGE_ASSIGN, 3, CONSENSUS_VOTER), -EALREADY);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 50);
    for (int left = 2; left >= 1; left--) {
        uint64_t gone = follower_of(&cluster, 0);
        assert_int_equal(cluster_change(&cluster, CHANGE_REMOVE, gone, 0), 0);
        cluster_end(&cluster, gone);
        cluster_run_ms(&cluster, 50);
        assert_int_equal(voters(cluster_leader(&cluster)), left);
    }
    cluster_settle(&cluster);
    struct node *last = cluster_leader(&cluster);
    assert_false(last->consensus->has_others);
    assert_false(timer_is_active(last->consensus->ticks));
    assert_false(timer_is_active(last->consensus->patience));
    cluster_deinit(&cluster);
}

static void a_leader_can_remove_itself(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 4);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 50);
    old_leader = cluster_leader(&cluster)->id;
    cluster.nodes[old_leader].is_writing = false;
    cluster_run_ms(&cluster, 50);
    assert_int_equal(cluster_change(&cluster, CHANGE_REMOVE, old_leader, 0), 0);
    cluster_end(&cluster, old_leader);
    cluster_run(&cluster, has_new_leader, "another leads");
    cluster_settle(&cluster);
    assert_int_equal(voters(cluster_leader(&cluster)), 3);
    assert_nothing_refused(&cluster, old_leader);
    cluster_deinit(&cluster);
}

static void a_leader_whose_end_is_proven_is_not_waited_for(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster.election_ms = 2000;
    cluster_build(&cluster, 3);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 100);
    old_leader = cluster_leader(&cluster)->id;
    cluster.nodes[old_leader].is_writing = false;
    cluster_end_connections(&cluster, old_leader);
    struct node *next = &cluster.nodes[follower_of(&cluster, 0)];
    struct node *third = &cluster.nodes[follower_of(&cluster, next->id)];
    uint64_t index, term, other_index, other_term;
    consensus_last_entry(next->consensus, &index, &term);
    consensus_last_entry(third->consensus, &other_index, &other_term);
    if (other_term > term || (other_term == term && other_index > index)) {
        next = third;
    }
    uint64_t begun_ms = clock_now_ms();
    while (!consensus_leader_ended(next->consensus)) {
        assert_true(clock_now_ms() - begun_ms < 1500); /* what it has is being written */
        cluster_run_ms(&cluster, 2);
    }
    cluster_run_ms(&cluster, 50);
    if (!has_new_leader(&cluster)) { /* the other one had more after all */
        consensus_leader_ended(third->consensus);
    }
    cluster_run(&cluster, has_new_leader, "elected");
    printf("elected after %d ms\n", (int)(clock_now_ms() - begun_ms));
    assert_true(clock_now_ms() - begun_ms < 1900); /* the first would time out after 2000 */
    cluster_end(&cluster, old_leader);
    cluster_settle(&cluster);
    assert_nothing_refused(&cluster, old_leader);
    cluster_deinit(&cluster);
}

static uint64_t silent_of[NODES_MAX + 1];

static void note_silence(void *owner, const struct consensus_member *member)
{
    silent_of[member->node_id] = member->silent_ms;
}

/* Who is elected knows at once who is there: the leader that it replaces is not. */
static void a_leader_knows_whom_it_heard_last(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    old_leader = cluster_leader(&cluster)->id;
    cluster_cut(&cluster, old_leader);
    cluster_run(&cluster, has_new_leader, "another leads");
    struct node *leader = cluster_leader(&cluster);
    consensus_for_each_member(leader->consensus, note_silence, NULL);
    assert_int_equal(silent_of[leader->id], 0);
    assert_true(silent_of[old_leader] >= ELECTION_MS);
    assert_true(silent_of[follower_of(&cluster, old_leader)] < silent_of[old_leader]);
    cluster_heal(&cluster);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

static void a_node_goes_on_alone_when_the_majority_is_gone_for_good(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 50);
    cluster_settle(&cluster);
    for (uint64_t id = 1; id <= 3; id++) {
        cluster_end(&cluster, id);
    }
    cluster_wipe(&cluster, 1);
    cluster_wipe(&cluster, 3);
    struct node *last = cluster_start_rescue(&cluster, 2);
    cluster_run(&cluster, cluster_has_leader, "leads alone");
    assert_int_equal(last->count, cluster.reference->len);
    assert_int_equal(voters(last), 1);
    cluster_join(&cluster, 4, CONSENSUS_VOTER);
    cluster_join(&cluster, 5, CONSENSUS_VOTER);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 50);
    cluster_settle(&cluster);
    assert_int_equal(voters(&cluster.nodes[5]), 3);
    cluster_deinit(&cluster);
}

static void all_nodes_stop_and_start_again(void **state)
{
    struct cluster cluster;
    cluster_init(&cluster);
    cluster_build(&cluster, 3);
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 50);
    cluster_settle(&cluster);
    for (uint64_t id = 1; id <= 3; id++) {
        cluster_stop(&cluster, id);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        cluster_start(&cluster, id);
    }
    cluster_write(&cluster);
    cluster_run_ms(&cluster, 300);
    cluster_settle(&cluster);
    assert_nothing_refused(&cluster, 0);
    cluster_deinit(&cluster);
}

static void disturb(struct cluster *cluster, uint32_t nodes, GRand *random)
{
    uint64_t x = (uint64_t)g_rand_int_range(random, 1, (gint32)nodes + 1);
    uint64_t y = (uint64_t)g_rand_int_range(random, 1, (gint32)nodes + 1);

    switch (g_rand_int_range(random, 0, 6)) {
    case 0:
        cluster_cut(cluster, x);
        break;
    case 1:
        cluster_cut_way(cluster, x, x == y ? x % nodes + 1 : y);
        break;
    case 2:
        cluster_end(cluster, x);
        cluster_start(cluster, x);
        break;
    case 3:
        if (cluster_leader(cluster)) {
            consensus_transfer(cluster_leader(cluster)->consensus, 0, NULL, NULL);
        }
        break;
    case 4:
        consensus_snapshot_soon(cluster->nodes[x].consensus);
        break;
    default:
        cluster_heal(cluster);
    }
    cluster_write(cluster);
}

static void five_nodes_survive_what_comes(void **state)
{
    struct cluster cluster;
    const char *given = g_getenv("CLUSTER_SEED");
    uint32_t seed = given ? (uint32_t)g_ascii_strtoull(given, NULL, 10) : 20261;
    const char *rounds = g_getenv("CLUSTER_ROUNDS");
    int steps = rounds ? atoi(rounds) : 24;
    g_autoptr(GRand) random = g_rand_new_with_seed(seed);

    printf("seed %u\n", seed);
    cluster_init(&cluster);
    cluster.snapshot_log_bytes = 128 * 1024;
    cluster.filler_bytes = 1000;
    cluster_build(&cluster, 5);
    cluster_write(&cluster);
    for (int i = 0; i < steps; i++) {
        cluster_run_ms(&cluster, (uint64_t)g_rand_int_range(random, 1, 150));
        disturb(&cluster, 5, random);
        if (i % 8 == 7) {
            cluster_heal(&cluster);
            cluster_settle(&cluster);
            cluster_write(&cluster);
        }
    }
    cluster_heal(&cluster);
    cluster_settle(&cluster);
    assert_true(acknowledged_sum(&cluster) > 0);
    cluster_deinit(&cluster);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_nodes_apply_the_same_whoever_wrote_it),
        cmocka_unit_test(heartbeats_by_the_links_keep_the_leader),
        cmocka_unit_test(who_does_not_answer_is_made_up_for),
        cmocka_unit_test(a_beat_that_is_not_sound_changes_nothing),
        cmocka_unit_test(a_leader_that_ends_loses_nothing_of_the_others),
        cmocka_unit_test(with_a_full_disk_what_was_overruled_stays_until_there_is_room),
        cmocka_unit_test(what_cannot_be_taken_back_ends_the_process_before_more_is_written),
        cmocka_unit_test(a_leader_that_is_cut_off_gives_its_groups_to_the_next),
        cmocka_unit_test(a_link_that_is_cut_in_one_direction_loses_nothing),
        cmocka_unit_test(without_a_majority_writes_wait_and_are_refused_in_time),
        cmocka_unit_test(a_follower_that_is_far_behind_gets_a_snapshot),
        cmocka_unit_test(a_snapshot_of_the_leader_waits_for_one_that_is_being_taken),
        cmocka_unit_test(a_snapshot_that_is_of_no_use_is_freed_once),
        cmocka_unit_test(a_new_node_gets_a_long_log),
        cmocka_unit_test(leadership_is_handed_over_under_load),
        cmocka_unit_test(nodes_are_removed_down_to_one),
        cmocka_unit_test(a_leader_can_remove_itself),
        cmocka_unit_test(a_leader_whose_end_is_proven_is_not_waited_for),
        cmocka_unit_test(a_leader_knows_whom_it_heard_last),
        cmocka_unit_test(a_node_goes_on_alone_when_the_majority_is_gone_for_good),
        cmocka_unit_test(all_nodes_stop_and_start_again),
        cmocka_unit_test(five_nodes_survive_what_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

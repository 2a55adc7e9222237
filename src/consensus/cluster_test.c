/* Several logs in one process on one loop, joined by socket pairs through a switch that the tests
 * can cut. Every box writes numbered records; each must be applied on all boxes once, in order of
 * its origin, and what its origin has seen applied must never be missing anywhere. */
#include "consensus/harness.h"
#include "consensus/members.h"

#include "base/clock.h"
#include "loop/loop.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define BOXES       5
#define DEADLINE_MS 20000
#define LOOK_MS     2
#define ELECTION_MS 150
/* No test waits for so long: what takes this much never happens. */
#define NEVER_MS (10 * DEADLINE_MS)

struct lab;

/* What is replicated: how far each origin has come, and a digest of the order. */
struct content {
    uint64_t last[BOXES + 1];
    uint64_t digest, count;
};

struct box {
    struct lab *lab;
    struct consensus *consensus; /* NULL while it is down */
    char *directory;
    uint64_t id;
    struct content content;
    struct content snapshot;
    struct consensus_piece piece;
    struct consensus_network network;
    uint64_t appended;
    uint64_t epoch;
    uint64_t leader_id;
    int refused;
    bool is_founder, is_cut;
    uint32_t restores;
    int done; /* 1 = not yet, else the error */
};

struct post {
    struct post *next;
    uint64_t from, to, token, term;
    uint8_t *bytes; /* NULL: a connection */
    size_t length;
};

struct lab {
    struct loop *loop;
    struct timer *look;
    struct box boxes[BOXES];
    uint32_t count;
    struct post *posts, **posts_end;
    GArray *wires; /* of struct wire: to be cut */
    int (*begin_change)(struct box *leader, uint64_t id);
    struct box *asked; /* for it */
};

struct wire {
    uint64_t from, to;
    int fd;
};

static struct box *box_of(struct lab *lab, uint64_t id)
{
    return &lab->boxes[id - 1];
}

static bool is_joined(struct lab *lab, uint64_t a, uint64_t b)
{
    const struct box *one = box_of(lab, a), *other = box_of(lab, b);
    return one->consensus && other->consensus && !one->is_cut && !other->is_cut;
}

/* ---- the network: all is delivered by the look ---- */

static void post(struct lab *lab, struct post *item)
{
    item->next = NULL;
    *lab->posts_end = item;
    lab->posts_end = &item->next;
}

static void on_connect(void *owner, uint64_t node_id, uint64_t token)
{
    struct box *box = owner;
    struct post *item = g_new0(struct post, 1);
    item->from = box->id;
    item->to = node_id;
    item->token = token;
    post(box->lab, item);
}

static int on_forward(void *owner, uint64_t leader_id, uint64_t term, struct bytes group)
{
    struct box *box = owner;
    if (!is_joined(box->lab, box->id, leader_id)) {
        return -ENOTCONN;
    }
    struct post *item = g_new0(struct post, 1);
    item->from = box->id;
    item->to = leader_id;
    item->term = term;
    item->bytes = g_memdup2(group.at, group.length);
    item->length = group.length;
    post(box->lab, item);
    return 0;
}

static void deliver_connection(struct lab *lab, const struct post *item)
{
    struct box *from = box_of(lab, item->from), *to = box_of(lab, item->to);
    int ends[2] = {-EHOSTUNREACH, -1};
    if (!from->consensus) {
        return;
    }
    if (is_joined(lab, item->from, item->to)) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                         0);
        struct wire wire = {item->from, item->to, dup(ends[0])};
        g_array_append_val(lab->wires, wire);
    }
    consensus_connected(from->consensus, item->token, ends[0]);
    if (ends[1] >= 0) {
        consensus_accept(to->consensus, item->from, ends[1]);
    }
}

static void deliver_posts(struct lab *lab)
{
    struct post *item = lab->posts;
    lab->posts = NULL;
    lab->posts_end = &lab->posts;
    while (item) {
        struct post *next = item->next;
        if (!item->bytes) {
            deliver_connection(lab, item);
        } else if (is_joined(lab, item->from, item->to)) {
            int r = consensus_receive(box_of(lab, item->to)->consensus, item->term,
                                      (struct bytes){item->bytes, item->length});
            assert_true(r == 0 || r == -ENOTCONN);
        }
        g_free(item->bytes);
        g_free(item);
        item = next;
    }
}

static void cut_wires(struct lab *lab, uint64_t id)
{
    for (guint i = lab->wires->len; i-- > 0;) {
        struct wire *wire = &g_array_index(lab->wires, struct wire, i);
        if (wire->from == id || wire->to == id) {
            shutdown(wire->fd, SHUT_RDWR);
            close(wire->fd);
            g_array_remove_index_fast(lab->wires, i);
        }
    }
}

static void set_cut(struct lab *lab, struct box *box, bool is_cut)
{
    box->is_cut = is_cut;
    if (is_cut) {
        cut_wires(lab, box->id);
        return;
    }
    for (uint32_t i = 0; i < lab->count; i++) { /* the links are there again */
        struct box *other = &lab->boxes[i];
        if (other != box && is_joined(lab, box->id, other->id)) {
            consensus_reachable(other->consensus, box->id);
            consensus_reachable(box->consensus, other->id);
        }
    }
}

/* ---- the state machine ---- */

static void on_apply(void *owner, uint64_t index, struct bytes entry)
{
    struct box *box = owner;
    uint64_t origin, first;
    memcpy(&origin, entry.at, 8);
    memcpy(&first, entry.at + 16, 8);
    for (size_t at = CONSENSUS_GROUP_HEADER_BYTES; at < entry.length; at += 16, first++) {
        uint64_t number;
        memcpy(&number, entry.at + at, 8);
        assert_int_equal(number, first);
        if (number <= box->content.last[origin]) {
            continue; /* sent anew, applied before */
        }
        assert_int_equal(number, box->content.last[origin] + 1);
        box->content.last[origin] = number;
        box->content.count++;
        box->content.digest = (box->content.digest ^ (origin << 48 | number)) * 0x100000001b3ull;
    }
}

static void on_group_begin(void *owner, uint8_t header[CONSENSUS_GROUP_HEADER_BYTES])
{
    struct box *box = owner;
    uint64_t words[CONSENSUS_GROUP_HEADER_BYTES / 8] = {box->id, box->epoch, box->appended + 1};
    memcpy(header, words, sizeof words);
}

static void on_group_failed(void *owner, const uint8_t header[CONSENSUS_GROUP_HEADER_BYTES],
                            int error)
{
    struct box *box = owner;
    box->refused = error;
}

static int on_snapshot(void *owner, struct consensus_snapshot *out)
{
    struct box *box = owner;
    box->snapshot = box->content;
    box->piece = (struct consensus_piece){&box->snapshot, sizeof box->snapshot};
    *out = (struct consensus_snapshot){&box->piece, 1, NULL, NULL};
    return 0;
}

static int on_restore(void *owner, struct bytes snapshot, GError **error)
{
    struct box *box = owner;
    assert_int_equal(snapshot.length, sizeof box->content);
    memcpy(&box->content, snapshot.at, sizeof box->content);
    box->restores++;
    return 0;
}

static void on_state(void *owner, enum consensus_state state)
{
}

static void on_leader(void *owner, uint64_t leader_id, uint64_t term)
{
    struct box *box = owner;
    box->leader_id = leader_id;
}

static void on_fatal(void *owner, const char *message)
{
    fail_msg("fatal: %s", message);
}

static const struct consensus_events events = {
    .on_apply = on_apply,
    .on_group_begin = on_group_begin,
    .on_group_failed = on_group_failed,
    .on_snapshot = on_snapshot,
    .on_restore = on_restore,
    .on_state = on_state,
    .on_leader = on_leader,
    .on_fatal = on_fatal,
};

/* ---- boxes ---- */

static void box_start(struct box *box)
{
    g_autoptr(GError) error = NULL;
    box->network =
        (struct consensus_network){.connect = on_connect, .forward = on_forward, .owner = box};
    struct consensus_options options = {
        .loop = box->lab->loop,
        .directory = box->directory,
        .node_id = box->id,
        .address = box->directory,
        .found = box->is_founder && box->epoch == 0,
        .join = !box->is_founder && box->content.count == 0,
        .snapshot_log_bytes = 64 * 1024,
        .events = &events,
        .owner = box,
        .network = &box->network,
        .election_timeout_ms = ELECTION_MS,
        .heartbeat_ms = 20,
        .write_wait_ms = NEVER_MS,
    };
    memset(&box->content, 0, sizeof box->content);
    box->epoch++;
    box->consensus = consensus_new(&options, &error);
    assert_non_null(box->consensus);
    assert_int_equal(consensus_start(box->consensus, &error), 0);
}

static void on_done(void *owner, int error)
{
    struct box *box = owner;
    box->done = error;
}

static void on_stopped(void *owner)
{
    struct box *box = owner;
    box->done = 0;
}

static void on_look(void *owner)
{
    struct lab *lab = owner;
    deliver_posts(lab);
    timer_start(lab->look, LOOK_MS);
    loop_stop(lab->loop);
}

static void run(struct lab *lab, bool (*is_done)(struct lab *lab, uint64_t n), uint64_t n)
{
    uint64_t deadline_ms = clock_now_ms() + DEADLINE_MS;
    timer_start(lab->look, LOOK_MS);
    while (!is_done(lab, n) && clock_now_ms() < deadline_ms) {
        loop_run(lab->loop);
    }
    timer_stop(lab->look);
    assert_true(is_done(lab, n));
}

static bool is_finished(struct lab *lab, uint64_t id)
{
    return box_of(lab, id)->done != 1;
}

static void box_stop(struct box *box)
{
    box->done = 1;
    consensus_stop(box->consensus, on_stopped, box);
    run(box->lab, is_finished, box->id);
    consensus_free(box->consensus);
    box->consensus = NULL;
    cut_wires(box->lab, box->id);
}

static enum consensus_state state_of(const struct box *box)
{
    struct consensus_status status;
    consensus_status(box->consensus, &status);
    return status.state;
}

/* One leads, and all others that can be reached follow it. */
static bool is_settled(struct lab *lab, uint64_t unused)
{
    const struct box *leader = NULL;
    for (uint32_t i = 0; i < lab->count; i++) {
        const struct box *box = &lab->boxes[i];
        if (box->consensus && !box->is_cut && state_of(box) == CONSENSUS_LEADING) {
            leader = leader ? NULL : box;
        }
    }
    for (uint32_t i = 0; leader && i < lab->count; i++) {
        const struct box *box = &lab->boxes[i];
        bool follows = box == leader || !box->consensus || box->is_cut ||
                       (state_of(box) == CONSENSUS_FOLLOWING && box->leader_id == leader->id);
        leader = follows ? leader : NULL;
    }
    return leader != NULL;
}

static struct box *find_leader(struct lab *lab)
{
    for (uint32_t i = 0; i < lab->count; i++) {
        struct box *box = &lab->boxes[i];
        if (box->consensus && !box->is_cut && state_of(box) == CONSENSUS_LEADING) {
            return box;
        }
    }
    return NULL;
}

static struct box *leader_of(struct lab *lab)
{
    run(lab, is_settled, 0);
    return find_leader(lab);
}

/* All that is up has all that everybody wrote, in the same order. */
static bool is_equal(struct lab *lab, uint64_t unused)
{
    const struct box *first = NULL;
    for (uint32_t i = 0; i < lab->count; i++) {
        const struct box *box = &lab->boxes[i];
        if (!box->consensus || box->is_cut) {
            continue;
        }
        first = first ? first : box;
        if (memcmp(&box->content, &first->content, sizeof box->content) != 0) {
            return false;
        }
        for (uint32_t j = 0; j < lab->count; j++) {
            if (box->content.last[j + 1] != lab->boxes[j].appended) {
                return false;
            }
        }
    }
    return true;
}

static bool has_applied_half(struct lab *lab, uint64_t id)
{
    const struct box *box = box_of(lab, id);
    return box->content.last[id] >= box->appended / 2;
}

/* A snapshot of all that it has applied. */
static bool has_snapshot(struct lab *lab, uint64_t id)
{
    struct consensus_status status;
    consensus_status(box_of(lab, id)->consensus, &status);
    return box_of(lab, id)->content.last[id] == box_of(lab, id)->appended &&
           status.snapshot_index + 8 >= status.applied_index;
}

static void append(struct box *box, uint32_t records)
{
    for (uint32_t i = 0; i < records; i++) {
        int error = 0;
        uint8_t *at;
        while (!(at = consensus_append(box->consensus, 16, &error)) && error == -EAGAIN) {
            run(box->lab, has_applied_half, box->id);
        }
        if (!at) {
            fail_msg("not taken: %s", g_strerror(-error));
            return;
        }
        uint64_t words[] = {++box->appended, box->id};
        memcpy(at, words, sizeof words);
    }
}

static void append_everywhere(struct lab *lab, uint32_t records)
{
    for (uint32_t i = 0; i < lab->count; i++) {
        if (lab->boxes[i].consensus && !lab->boxes[i].is_cut) {
            append(&lab->boxes[i], records);
        }
    }
}

/* As the owner does: who was asked may lead no longer, and the change is done or is not. */
static bool is_changed(struct lab *lab, uint64_t id)
{
    int r = lab->asked ? lab->asked->done : -ENOTCONN;

    if (r == -ENOTCONN || r == -EBUSY) {
        lab->asked = find_leader(lab); /* who is to be added follows nobody yet */
        if (lab->asked) {
            lab->asked->done = 1;
            r = lab->begin_change(lab->asked, id);
            lab->asked->done = r < 0 ? r : lab->asked->done;
        }
        return false;
    }
    assert_true(r == 1 || r == 0 || r == -EEXIST || r == -EALREADY || r == -ENOENT);
    return r != 1;
}

static void change(struct lab *lab, int (*begin)(struct box *leader, uint64_t id), uint64_t id)
{
    lab->begin_change = begin;
    lab->asked = NULL;
    run(lab, is_changed, id);
}

static int begin_add(struct box *leader, uint64_t id)
{
    return consensus_add(leader->consensus, id, box_of(leader->lab, id)->directory, on_done,
                         leader);
}

static int begin_promote(struct box *leader, uint64_t id)
{
    return consensus_assign(leader->consensus, id, CONSENSUS_VOTER, on_done, leader);
}

static int begin_stand_by(struct box *leader, uint64_t id)
{
    return consensus_assign(leader->consensus, id, CONSENSUS_STANDBY, on_done, leader);
}

static int begin_remove(struct box *leader, uint64_t id)
{
    return consensus_remove(leader->consensus, id, on_done, leader);
}

static int begin_transfer(struct box *leader, uint64_t id)
{
    return consensus_transfer(leader->consensus, id, on_done, leader);
}

static void add_box(struct lab *lab)
{
    struct box *box = &lab->boxes[lab->count];
    box->lab = lab;
    box->id = ++lab->count;
    box->directory = harness_make_directory();
    box->is_founder = box->id == 1;
    box_start(box);
    if (!box->is_founder) {
        change(lab, begin_add, box->id);
        change(lab, begin_promote, box->id);
    }
    run(lab, is_settled, 0);
}

/* Returns the one of three that votes. */
static struct box *let_one_vote(struct lab *lab)
{
    uint64_t first = leader_of(lab)->id % 3 + 1;
    change(lab, begin_stand_by, first);
    run(lab, is_settled, 0);
    change(lab, begin_stand_by, 1 + 2 + 3 - first - leader_of(lab)->id);
    run(lab, is_settled, 0);
    return leader_of(lab);
}

static int setup(void **test)
{
    struct lab *lab = g_new0(struct lab, 1);
    lab->loop = loop_new();
    lab->look = timer_new(lab->loop, on_look, lab);
    lab->posts_end = &lab->posts;
    lab->wires = g_array_new(FALSE, FALSE, sizeof(struct wire));
    *test = lab;
    for (int i = 0; i < 3; i++) {
        add_box(lab);
    }
    return 0;
}

static int teardown(void **test)
{
    struct lab *lab = *test;
    for (uint32_t i = 0; i < lab->count; i++) {
        if (lab->boxes[i].consensus) {
            box_stop(&lab->boxes[i]);
        }
        harness_remove_directory(lab->boxes[i].directory);
    }
    deliver_posts(lab);
    timer_free(lab->look);
    loop_free(lab->loop);
    g_array_unref(lab->wires);
    g_free(lab);
    return 0;
}

/* ---- the tests ---- */

static void what_any_node_writes_is_applied_on_all_in_the_same_order(void **test)
{
    struct lab *lab = *test;
    for (int round = 0; round < 20; round++) {
        append_everywhere(lab, 500);
        run(lab, is_settled, 0);
    }
    run(lab, is_equal, 0);
    assert_int_equal(lab->boxes[0].content.count, 3 * 20 * 500);
}

static void nothing_is_lost_when_the_leader_is_cut_off_and_comes_back(void **test)
{
    struct lab *lab = *test;
    for (int round = 0; round < 4; round++) {
        struct box *leader = leader_of(lab);
        append_everywhere(lab, 2000);
        set_cut(lab, leader, true);
        append(leader, 100); /* waits, or is lost with the leader's own log: it sends it anew */
        assert_ptr_not_equal(leader_of(lab), leader);
        append_everywhere(lab, 500);
        set_cut(lab, leader, false);
        run(lab, is_equal, 0);
    }
    for (uint32_t i = 0; i < lab->count; i++) {
        assert_int_equal(lab->boxes[i].refused, 0);
    }
}

static void a_node_that_was_away_for_long_gets_a_snapshot(void **test)
{
    struct lab *lab = *test;
    struct box *leader = leader_of(lab);
    struct box *away = &lab->boxes[leader->id % 3];
    box_stop(away);
    for (int i = 0; i < 90; i++) {
        append(leader, 10000);
        run(lab, has_applied_half, leader->id);
    }
    consensus_snapshot_soon(leader->consensus);
    run(lab, has_snapshot, leader->id);
    uint32_t restores = away->restores;
    box_start(away);
    set_cut(lab, away, false);
    run(lab, is_equal, 0);
    assert_true(away->restores > restores);
}

static void a_fourth_and_a_fifth_join_a_long_log(void **test)
{
    struct lab *lab = *test;
    append_everywhere(lab, 20000);
    add_box(lab);
    append_everywhere(lab, 100);
    add_box(lab);
    append_everywhere(lab, 100);
    run(lab, is_equal, 0);
    /* Two of five may go. */
    set_cut(lab, leader_of(lab), true);
    set_cut(lab, leader_of(lab), true);
    append_everywhere(lab, 100);
    run(lab, is_settled, 0);
    for (uint32_t i = 0; i < lab->count; i++) {
        set_cut(lab, &lab->boxes[i], false);
    }
    run(lab, is_equal, 0);
}

static void leadership_is_handed_over_without_a_loss(void **test)
{
    struct lab *lab = *test;
    for (int round = 0; round < 5; round++) {
        struct box *leader = leader_of(lab);
        append_everywhere(lab, 300);
        change(lab, begin_transfer, leader->id % 3 + 1);
        append_everywhere(lab, 300);
        assert_ptr_not_equal(leader_of(lab), leader);
    }
    run(lab, is_equal, 0);
}

static void a_node_is_removed_and_the_others_go_on(void **test)
{
    struct lab *lab = *test;
    struct box *leader = leader_of(lab);
    struct box *gone = &lab->boxes[leader->id % 3];
    append_everywhere(lab, 100);
    run(lab, is_equal, 0);
    change(lab, begin_remove, gone->id);
    box_stop(gone);
    append(leader, 100);
    run(lab, is_equal, 0);
}

static bool has_given_up(struct lab *lab, uint64_t id)
{
    return box_of(lab, id)->refused != 0 && state_of(box_of(lab, id)) != CONSENSUS_LEADING;
}

static void without_a_majority_writes_are_refused_after_a_while(void **test)
{
    struct lab *lab = *test;
    struct box *leader = leader_of(lab);
    consensus_set_timeouts(leader->consensus, ELECTION_MS, 500);
    for (uint32_t i = 0; i < lab->count; i++) {
        if (&lab->boxes[i] != leader) {
            set_cut(lab, &lab->boxes[i], true);
        }
    }
    append(leader, 10);
    uint64_t before = leader->content.last[leader->id];
    run(lab, has_given_up, leader->id);
    assert_int_equal(leader->refused, -ETIMEDOUT);
    assert_int_equal(leader->content.last[leader->id], before);
}

static bool knows_no_leader(struct lab *lab, uint64_t id)
{
    return state_of(box_of(lab, id)) == CONSENSUS_ELECTING && box_of(lab, id)->leader_id == 0;
}

/* Of two boxes one votes; the other must not say for ever that it follows it. */
static void one_that_does_not_vote_notices_that_nobody_leads(void **test)
{
    struct lab *lab = *test;
    struct box *leader = let_one_vote(lab);
    set_cut(lab, leader, true);
    run(lab, knows_no_leader, leader->id % 3 + 1);
    set_cut(lab, leader, false);
    append_everywhere(lab, 10);
    run(lab, is_settled, 0);
    run(lab, is_equal, 0);
}

/* Not before it has on disk all that it has heard. */
static bool stands(struct lab *lab, uint64_t id)
{
    struct consensus_status status;

    consensus_status(box_of(lab, id)->consensus, &status);
    return status.state == CONSENSUS_LEADING || consensus_leader_ended(box_of(lab, id)->consensus);
}

static void set_election_timeout(struct lab *lab, uint32_t ms)
{
    for (uint32_t i = 0; i < lab->count; i++) {
        consensus_set_timeouts(lab->boxes[i].consensus, ms, NEVER_MS);
    }
}

static void an_election_is_begun_at_once_when_the_end_is_proven(void **test)
{
    struct lab *lab = *test;
    append_everywhere(lab, 100);
    run(lab, is_equal, 0);
    struct box *leader = leader_of(lab);
    struct box *next = &lab->boxes[leader->id % 3];
    set_election_timeout(lab, NEVER_MS); /* else nobody would be elected */
    set_cut(lab, leader, true);
    run(lab, stands, next->id);
    assert_ptr_equal(leader_of(lab), next);
    set_election_timeout(lab, ELECTION_MS);
    set_cut(lab, leader, false);
    run(lab, is_equal, 0);
}

static void all_are_stopped_and_come_back_with_everything(void **test)
{
    struct lab *lab = *test;
    append_everywhere(lab, 3000);
    run(lab, is_equal, 0);
    struct content content = lab->boxes[0].content;
    for (uint32_t i = 0; i < lab->count; i++) {
        box_stop(&lab->boxes[i]);
    }
    for (uint32_t i = 0; i < lab->count; i++) {
        box_start(&lab->boxes[i]);
    }
    run(lab, is_settled, 0);
    run(lab, is_equal, 0);
    assert_memory_equal(&lab->boxes[2].content, &content, sizeof content);
}

#define with_three(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_three(what_any_node_writes_is_applied_on_all_in_the_same_order),
        with_three(nothing_is_lost_when_the_leader_is_cut_off_and_comes_back),
        with_three(a_node_that_was_away_for_long_gets_a_snapshot),
        with_three(a_fourth_and_a_fifth_join_a_long_log),
        with_three(leadership_is_handed_over_without_a_loss),
        with_three(a_node_is_removed_and_the_others_go_on),
        with_three(without_a_majority_writes_are_refused_after_a_while),
        with_three(one_that_does_not_vote_notices_that_nobody_leads),
        with_three(an_election_is_begun_at_once_when_the_end_is_proven),
        with_three(all_are_stopped_and_come_back_with_everything),
    };
    signal(SIGPIPE, SIG_IGN); /* as the node does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

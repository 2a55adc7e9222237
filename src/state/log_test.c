/* State and consensus together, on disk. */
#include "state/log.h"
#include "loop/loop.h"
#include "session/retained.h"
#include "state/propose.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>

#include <cmocka.h>

#define DEADLINE_MS 30000

struct node {
    struct loop *loop;
    struct timer *deadline;
    struct state_log_link *link;
    char *directory;
    uint64_t epoch;
    enum consensus_state consensus_state;
    uint32_t completed;
    int last_error;
    char *fatal;
    bool is_stopped, is_late;
};

static void on_late(void *owner)
{
    struct node *node = owner;
    node->is_late = true;
    loop_stop(node->loop);
}

static void on_state(void *owner, enum consensus_state state)
{
    struct node *node = owner;
    node->consensus_state = state;
    loop_stop(node->loop);
}

static void on_fatal(void *owner, const char *message)
{
    struct node *node = owner;
    g_free(node->fatal);
    node->fatal = g_strdup(message);
    loop_stop(node->loop);
}

static void on_stopped(void *owner)
{
    struct node *node = owner;
    node->is_stopped = true;
    loop_stop(node->loop);
}

static void on_result(void *owner, uint64_t token, const struct state_result *result)
{
    struct node *node = owner;
    node->completed++;
    node->last_error = result->error;
    loop_stop(node->loop);
}

static void run_until(struct node *node, bool (*is_done)(const struct node *node))
{
    timer_start(node->deadline, DEADLINE_MS);
    while (!is_done(node) && !node->is_late) {
        loop_run(node->loop);
    }
    timer_stop(node->deadline);
    assert_false(node->is_late);
}

static bool is_leading(const struct node *node)
{
    return node->consensus_state == CONSENSUS_LEADING;
}

static bool is_stopped(const struct node *node)
{
    return node->is_stopped;
}

static bool has_completed(const struct node *node)
{
    return node->completed > 0;
}

static bool has_failed(const struct node *node)
{
    return node->fatal != NULL;
}

static struct state_log_link *new_link(struct node *node, GError **error)
{
    struct state_log_options options = {
        .state = {.node_id = 1, .epoch = ++node->epoch},
        .consensus = {.loop = node->loop,
                      .directory = node->directory,
                      .node_id = 1,
                      .address = "127.0.0.1:7474",
                      .found = true},
        .events = {.on_state = on_state, .on_fatal = on_fatal, .owner = node},
    };
    return state_log_link_new(&options, error);
}

static void open_node(struct node *node)
{
    g_autoptr(GError) error = NULL;
    node->is_stopped = false;
    node->consensus_state = CONSENSUS_STOPPED;
    node->link = new_link(node, &error);
    if (!node->link || consensus_start(state_log_link_consensus(node->link), &error) < 0) {
        fail_msg("%s", error->message);
    }
    run_until(node, is_leading);
}

static void close_node(struct node *node)
{
    if (node->link) {
        consensus_stop(state_log_link_consensus(node->link), on_stopped, node);
        run_until(node, is_stopped);
        state_log_link_free(TAKE(node->link));
    }
}

static void publish(struct node *node, const char *topic)
{
    struct state_completion completion = {on_result, node, 0};
    struct state_publish publish = {.topic = bytes_from_string(topic),
                                    .payload = bytes_from_string("1"),
                                    .qos = 1,
                                    .retain = true};
    node->completed = 0;
    assert_int_equal(state_propose_publish(state_log_link_state(node->link), &publish, &completion),
                     0);
    run_until(node, has_completed);
    assert_int_equal(node->last_error, 0);
}

static int setup(void **out)
{
    struct node *node = g_new0(struct node, 1);
    node->loop = loop_new();
    node->deadline = timer_new(node->loop, on_late, node);
    node->directory = g_dir_make_tmp("microcloud-state-XXXXXX", NULL);
    *out = node;
    return 0;
}

static void remove_directory(const char *path)
{
    GDir *directory = g_dir_open(path, 0, NULL);
    for (const char *name; directory && (name = g_dir_read_name(directory));) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        g_unlink(file);
    }
    if (directory) {
        g_dir_close(directory);
    }
    g_rmdir(path);
}

static int teardown(void **in)
{
    struct node *node = *in;
    close_node(node);
    timer_free(node->deadline);
    loop_free(node->loop);
    remove_directory(node->directory);
    g_free(node->directory);
    g_free(node->fatal);
    g_free(node);
    return 0;
}

static uint32_t retained_of(struct node *node)
{
    return retained_count(state_retained(state_log_link_state(node->link)));
}

static void what_was_acknowledged_is_there_after_a_restart_from_the_log(void **in)
{
    struct node *node = *in;
    open_node(node);
    publish(node, "a");
    publish(node, "b");
    uint64_t before = state_bytes(state_log_link_state(node->link));
    close_node(node);
    open_node(node);
    assert_int_equal(retained_of(node), 2);
    assert_int_equal(state_bytes(state_log_link_state(node->link)), before);
    publish(node, "c");
    assert_int_equal(retained_of(node), 3);
}

static bool has_snapshot(const struct node *node)
{
    struct consensus_status status;
    consensus_status(state_log_link_consensus(node->link), &status);
    return status.snapshot_index > 0;
}

static void what_was_acknowledged_is_there_after_a_restart_from_a_snapshot(void **in)
{
    struct node *node = *in;
    open_node(node);
    publish(node, "a");
    consensus_snapshot_soon(state_log_link_consensus(node->link));
    for (uint32_t i = 0; i < 1000 && !has_snapshot(node); i++) {
        publish(node, "b"); /* each turn of the loop may finish it */
    }
    assert_true(has_snapshot(node));
    close_node(node);
    open_node(node);
    assert_int_equal(retained_of(node), 2);
    publish(node, "c");
    assert_int_equal(retained_of(node), 3);
}

static void proposals_that_wait_when_it_stops_are_ended(void **in)
{
    struct node *node = *in;
    open_node(node);
    struct state_completion completion = {on_result, node, 0};
    node->completed = 0;
    assert_int_equal(state_propose_tick(state_log_link_state(node->link), 1, &completion), 0);
    close_node(node);
    assert_int_equal(node->completed, 1);
    assert_true(node->last_error == 0 || node->last_error == -ECANCELED);
}

static void nothing_is_taken_before_the_start(void **in)
{
    struct node *node = *in;
    g_autoptr(GError) error = NULL;
    node->link = new_link(node, &error);
    assert_non_null(node->link);
    assert_int_equal(state_propose_tick(state_log_link_state(node->link), 1, NULL), -ENOTCONN);
    state_log_link_free(TAKE(node->link));
    state_log_link_free(NULL);
}

static void a_directory_that_is_not_there_is_an_error(void **in)
{
    struct node *node = *in;
    remove_directory(node->directory);
    g_autoptr(GError) error = NULL;
    assert_null(new_link(node, &error));
    assert_non_null(error);
}

static void an_entry_that_cannot_be_read_is_fatal_and_ends_all_applying(void **in)
{
    struct node *node = *in;
    open_node(node);
    struct consensus *consensus = state_log_link_consensus(node->link);
    uint8_t *room = consensus_append(consensus, 8, NULL);
    memset(room, 0xff, 8);
    run_until(node, has_failed);
    assert_non_null(strstr(node->fatal, "log entry"));
    struct state_publish publish = {.topic = bytes_from_string("a"),
                                    .payload = bytes_from_string("1"),
                                    .qos = 1,
                                    .retain = true};
    state_propose_publish(state_log_link_state(node->link), &publish, NULL);
    consensus_snapshot_soon(consensus); /* refused: nobody knows what is in the state now */
    close_node(node);
}

static void a_disk_that_fails_ends_the_proposals_and_the_node(void **in)
{
    struct node *node = *in;
    struct state_completion completion = {on_result, node, 0};
    g_autofree char *large = g_strnfill(100000, 'x');
    struct state_publish publish_large = {.topic = bytes_from_string("a"),
                                          .payload = bytes_from_string(large),
                                          .qos = 1,
                                          .retain = true};
    struct rlimit before, limit;
    open_node(node);
    publish(node, "b");
    struct state *state = state_log_link_state(node->link);
    node->completed = 0;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 8192;
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(state_propose_publish(state, &publish_large, &completion), 0);
    run_until(node, has_failed);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(node->fatal, node->directory));
    assert_int_equal(state_propose_publish(state, &publish_large, &completion), -ENOTCONN);
    close_node(node);
    assert_int_equal(node->completed, 1);
    assert_int_equal(node->last_error, -ECANCELED);
    open_node(node); /* what was acknowledged is there */
    assert_non_null(
        retained_find(state_retained(state_log_link_state(node->link)), bytes_from_string("b")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_acknowledged_is_there_after_a_restart_from_the_log),
        TEST(what_was_acknowledged_is_there_after_a_restart_from_a_snapshot),
        TEST(proposals_that_wait_when_it_stops_are_ended),
        TEST(nothing_is_taken_before_the_start),
        TEST(a_directory_that_is_not_there_is_an_error),
        TEST(an_entry_that_cannot_be_read_is_fatal_and_ends_all_applying),
        TEST(a_disk_that_fails_ends_the_proposals_and_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

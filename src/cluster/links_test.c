/* Who dials whom, and when: the one with the higher id waits to be dialled, but not for ever. */
#include "cluster/links.h"
#include "loop/loop.h"
#include "net/fixture.h"
#include "net/listener.h"
#include "net/stream_pair.h"

#define OURS   9
#define OTHERS 1 /* lower: it is its turn to dial */

struct world {
    struct loop *loop;
    struct links *links;
    struct listener *listener;
    struct timer *disturb;
    unsigned knocks;
};

static void on_stream(void *owner, struct stream *stream)
{
    struct world *world = owner;

    world->knocks++;
    stream_reset(stream);
}

/* What a box meets that was removed while it was away: its own votes reach the other (the nudge),
 * who calls a newer box at this address and lets go at once. */
static void disturb(void *owner)
{
    struct world *world = owner;
    struct stream *ours, *theirs;

    links_nudge(world->links, OTHERS);
    assert_int_equal(stream_pair_new(world->loop, &ours, &theirs), 0);
    links_accept(world->links, OTHERS, ours);
    stream_reset(theirs);
    timer_start(world->disturb, 100);
}

static const struct links_events deaf;

static int set_up(void **state)
{
    struct world *world = g_new0(struct world, 1);

    world->loop = loop_new();
    world->disturb = timer_new(world->loop, disturb, world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    links_free(world->links);
    listener_free(world->listener);
    timer_free(world->disturb);
    loop_free(world->loop);
    g_free(world);
    return 0;
}

static void whoever_is_disturbed_again_and_again_knocks_all_the_same(void **state)
{
    struct world *world = *state;
    struct listener_options at = {.address = "127.0.0.1"};
    struct links_options options = {
        .loop = world->loop, .node_id = OURS, .events = &deaf, .owner = world};

    world->listener = listener_new(world->loop, &at, on_stream, world, NULL);
    assert_non_null(world->listener);
    g_autofree char *address = g_strdup_printf("127.0.0.1:%u", listener_port(world->listener));
    struct links_peer peer = {OTHERS, address};
    world->links = links_new(&options);
    links_set_peers(world->links, &peer, 1);
    disturb(world);
    uint64_t begun_ms = loop_now_ms(world->loop);
    wait_for(world->loop, world->knocks > 0);
    assert_true(loop_now_ms(world->loop) - begun_ms >= 2000); /* the other had its time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whoever_is_disturbed_again_and_again_knocks_all_the_same,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Who dials whom, and when: the one with the higher id waits to be dialled, but not for ever. */
#include "cluster/link.h"
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
    struct timer *disturb_again;
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
static void disturb(struct world *world)
{
    struct stream *ours, *theirs;

    links_nudge(world->links, OTHERS);
    assert_int_equal(stream_pair_new(world->loop, &ours, &theirs), 0);
    links_accept(world->links, OTHERS, ours);
    stream_reset(theirs);
}

static void disturb_again(void *owner)
{
    struct world *world = owner;

    disturb(world);
    timer_start(world->disturb_again, 100);
}

static const struct links_events deaf;

static int set_up(void **state)
{
    struct world *world = g_new0(struct world, 1);
    struct listener_options at = {.address = "127.0.0.1"};

    world->loop = loop_new();
    world->disturb_again = timer_new(world->loop, disturb_again, world);
    world->listener = listener_new(world->loop, &at, on_stream, world, NULL);
    assert_non_null(world->listener);
    struct links_options options = {
        .loop = world->loop, .node_id = OURS, .events = &deaf, .owner = world};
    world->links = links_new(&options);
    g_autofree char *address = g_strdup_printf("127.0.0.1:%u", listener_port(world->listener));
    struct links_peer peer = {OTHERS, address};
    links_set_peers(world->links, &peer, 1);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    links_free(world->links);
    listener_free(world->listener);
    timer_free(world->disturb_again);
    loop_free(world->loop);
    g_free(world);
    return 0;
}

static void whoever_is_disturbed_again_and_again_knocks_all_the_same(void **state)
{
    struct world *world = *state;
    uint64_t begun_ms = loop_now_ms(world->loop);

    disturb_again(world);
    wait_for(world->loop, world->knocks > 0);
    assert_true(loop_now_ms(world->loop) - begun_ms >= 2000); /* the other had its time */
}

/* Over a slow line knocking takes longer than it takes the other to call again. */
static void whoever_is_disturbed_while_it_knocks_goes_on(void **state)
{
    struct world *world = *state;
    uint64_t other = OTHERS;
    const struct link *link = g_hash_table_lookup(world->links->table, &other);

    wait_for(world->loop, link->connector != NULL);
    disturb(world);
    assert_int_equal(link->state, LINK_GREETING);
    wait_for(world->loop, link->state == LINK_DOWN);
    assert_true(link->connector != NULL || world->knocks > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whoever_is_disturbed_again_and_again_knocks_all_the_same,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(whoever_is_disturbed_while_it_knocks_goes_on, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

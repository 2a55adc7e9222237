/* Who is said to be unable to hold the virtual IPs, and when none can move. */
#include "api/holders.h"
#include "api/cluster.h"
#include "api/doctor.h"
#include "state/fixture.h"
#include "state/propose_cluster.h"
#include <string.h>

#define ID_FIRST 10 /* the fixture has been one of those below */

/* A scene: for each node its number and what is so of it: u unable, o offline, d drained, s spare,
 * w witness. */
struct scene {
    struct fixture fixture;
    struct api_cluster cluster;
    struct api api;
    char *words[10]; /* by number; owned */
};

static bool is(const struct scene *scene, uint64_t node_id, char letter)
{
    return strchr(scene->words[node_id - ID_FIRST], letter) != NULL;
}

static void node_facts(void *owner, uint64_t node_id, struct api_node_facts *facts)
{
    facts->is_online = !is(owner, node_id, 'o');
    facts->is_unable = is(owner, node_id, 'u');
}

static void join(struct scene *scene, uint64_t node_id)
{
    struct fixture *fixture = &scene->fixture;
    bool is_first = state_node_count(fixture->state) == 0;
    g_autofree char *name = g_strdup_printf("n%" G_GUINT64_FORMAT, node_id - ID_FIRST);
    struct join_token token = {.id = node_id, .expires_unix_ms = fixture->now_unix_ms + 1000};
    struct state_node_join wanted = {.node_id = node_id,
                                     .name = name,
                                     .address = "10.0.0.1:7474",
                                     .version = "0.2.0",
                                     .certificate = "ab:cd",
                                     .role = is(scene, node_id, 's')   ? NODE_ROLE_SPARE
                                             : is(scene, node_id, 'w') ? NODE_ROLE_WITNESS
                                                                       : NODE_ROLE_AUTO,
                                     .token_id = is_first ? 0 : node_id,
                                     .command_level = STATE_COMMAND_LEVEL};
    struct state_node_update drained = {
        .node_id = node_id, .fields = NODE_FIELD_DRAINED, .is_drained = is(scene, node_id, 'd')};

    run(fixture, state_propose_token_put(fixture->state, &token, &fixture->completion));
    const char *refusal =
        run(fixture, state_propose_node_join(fixture->state, &wanted, &fixture->completion))
            ->message;
    assert_string_equal(refusal ? refusal : "", "");
    run(fixture, state_propose_node_update(fixture->state, &drained, &fixture->completion));
}

static void set_vip(struct scene *scene)
{
    struct fixture *fixture = &scene->fixture;

    run(fixture, state_propose_vip_set(fixture->state, "10.0.0.9/24", "", &fixture->completion));
}

static void scene_init(struct scene *scene, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", 0);

    memset(scene, 0, sizeof *scene);
    fixture_init(&scene->fixture);
    scene->cluster = (struct api_cluster){.owner = scene, .node_facts = node_facts};
    scene->api.options.state = scene->fixture.state;
    scene->api.options.cluster_calls = &scene->cluster;
    for (char **word = words; *word; word++) {
        unsigned number = (unsigned)(**word - '0');
        scene->words[number] = g_strdup(*word + 1);
        join(scene, ID_FIRST + number);
    }
}

static void scene_deinit(struct scene *scene)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(scene->words); i++) {
        g_free(scene->words[i]);
    }
    fixture_deinit(&scene->fixture);
}

static void say(const char *text, const char *unable, const char *warning)
{
    struct scene scene;

    scene_init(&scene, text);
    set_vip(&scene);
    g_autofree char *names = holders_unable(&scene.api), *said = holders_warning(&scene.api);
    assert_string_equal(names ? names : "", unable);
    if (warning) {
        assert_non_null(said);
        assert_non_null(strstr(said, warning));
    } else {
        assert_null(said);
    }
    scene_deinit(&scene);
}

static void those_that_cannot_are_named(void **state)
{
    say("1 2 3", "", NULL);
    say("1 2 3u", "n3", NULL);
    say("1 2u 3u", "n2, n3", "No virtual IP can move: only n1 can hold one");
    say("1u 2u 3u", "n1, n2, n3", "No node can hold a virtual IP");
}

static void who_never_leads_is_not_asked(void **state)
{
    say("1 2 3wu", "", NULL);
    say("1 2 3su", "", NULL);
    say("1 2 3du", "", NULL);
    say("1 2u 3w", "n2", "only n1 can hold one");
    say("1 2u 3s", "n2", "only n1 can hold one");
    say("1 2u 3d", "n2", "only n1 can hold one");
}

/* That it is offline is what is said of it. */
static void who_is_offline_is_not_named(void **state)
{
    say("1 2 3ou", "", NULL);
    say("1 2o 3o", "", NULL);
    say("1 2o 3u", "n3", "only n1 can hold one");
}

static void the_doctor_says_so_once_an_address_is_set(void **state)
{
    struct scene scene;
    struct text_value *list = text_new_list();

    scene_init(&scene, "1 2u 3u");
    doctor_check_holders(list, &scene.api);
    assert_int_equal(text_count(list), 0);
    g_autofree char *unable = holders_unable(&scene.api), *said = holders_warning(&scene.api);
    assert_null(unable);
    assert_null(said);
    set_vip(&scene);
    doctor_check_holders(list, &scene.api);
    assert_int_equal(text_count(list), 1);
    const struct text_value *row = text_at(list, 0);
    assert_false(text_boolean(text_get(row, "ok"), true));
    assert_string_equal(text_string(text_get(row, "found"), ""), "n2, n3 cannot hold one");
    assert_non_null(strstr(text_string(text_get(row, "advice"), ""), "as root or by its systemd"));
    text_free(list);
    scene_deinit(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_cannot_are_named),
        cmocka_unit_test(who_never_leads_is_not_asked),
        cmocka_unit_test(who_is_offline_is_not_named),
        cmocka_unit_test(the_doctor_says_so_once_an_address_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

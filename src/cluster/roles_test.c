/* Roles: histories from a starting point to rest, then random ones with nodes that die, come back,
 * join, leave and are drained. */
#include "cluster/roles.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define AFTER_MS  2000
#define NOW_MS    100000
#define MOST      12
#define SILENT_MS 300

/* A member from a short text: "1V" voter, "2-" stand-by, "3s" spare, "4n" none; then "d" down for
 * long, "f" down since now, "x" removed, "D" drained, "b" behind, "w" witness, "S" wished spare,
 * "W" wished voter, "q" quiet; "@a" zone. The leader has "L". */
struct scene {
    struct roles_member members[MOST];
    char zones[MOST][4];
    struct roles_view view;
};

static void read_mark(struct scene *scene, struct roles_member *member, char mark)
{
    switch (mark) {
    case 'V':
        member->role = ROLES_VOTER;
        break;
    case '-':
        member->role = ROLES_STANDBY;
        break;
    case 's':
        member->role = ROLES_SPARE;
        break;
    case 'd':
        member->down_ms = 1;
        break;
    case 'f':
        member->down_ms = NOW_MS - AFTER_MS + 1;
        break;
    case 'x':
        member->is_in_state = false;
        break;
    case 'D':
        member->is_drained = true;
        break;
    case 'q':
        member->silent_ms = SILENT_MS + 1;
        break;
    case 'b':
        member->is_behind = true;
        break;
    case 'w':
        member->wish = ROLES_WISH_WITNESS;
        break;
    case 'S':
        member->wish = ROLES_WISH_SPARE;
        break;
    case 'W':
        member->wish = ROLES_WISH_VOTER;
        break;
    case 'L':
        scene->view.leader_id = member->node_id;
        break;
    default:
        assert_int_equal(mark, 'n');
    }
}

static void read_scene(struct scene *scene, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);

    *scene = (struct scene){.view = {.members = scene->members,
                                     .replace_after_ms = AFTER_MS,
                                     .heir_silent_ms_max = SILENT_MS}};
    for (size_t i = 0; words[i]; i++) {
        struct roles_member *member = &scene->members[scene->view.count++];
        const char *at = words[i];
        member->node_id = (uint64_t)(*at++ - '0');
        member->is_in_state = true;
        for (; *at && *at != '@'; at++) {
            read_mark(scene, member, *at);
        }
        if (*at == '@') {
            g_strlcpy(scene->zones[i], at + 1, sizeof scene->zones[i]);
            member->zone = scene->zones[i];
        }
    }
}

static struct roles_member *find(struct scene *scene, uint64_t node_id)
{
    for (size_t i = 0; i < scene->view.count; i++) {
        if (scene->members[i].node_id == node_id) {
            return &scene->members[i];
        }
    }
    return NULL;
}

static void carry_out(struct scene *scene, const struct roles_action *action)
{
    struct roles_member *member = find(scene, action->node_id);

    assert_non_null(member);
    assert_non_null(action->why);
    switch (action->verb) {
    case ROLES_ADD:
        assert_int_equal(member->role, ROLES_NONE);
        member->role = ROLES_SPARE;
        break;
    case ROLES_ASSIGN:
        assert_true(member->role != action->role);
        assert_true(member->node_id != scene->view.leader_id);
        member->role = action->role;
        break;
    case ROLES_REMOVE:
        assert_false(member->is_in_state);
        member->role = ROLES_NONE;
        break;
    case ROLES_TRANSFER:
        assert_true(member->node_id != scene->view.leader_id && member->role == ROLES_VOTER &&
                    member->down_ms == 0);
        scene->view.leader_id = member->node_id;
        break;
    case ROLES_NOTHING:
        break;
    }
}

/* What happens in words: "+4 4- 4V 3s >2" and the voters at rest: " = 124 L1". */
static char *story(const char *text)
{
    static const char marks[] = "ns-V";
    struct scene scene;
    GString *out = g_string_new(NULL);

    read_scene(&scene, text);
    for (unsigned steps = 0;; steps++) {
        struct roles_action action = roles_decide(&scene.view, NOW_MS);
        int id = (int)action.node_id;
        if (action.verb == ROLES_NOTHING) {
            break;
        }
        if (steps == 50) {
            fail_msg("'%s' does not come to rest: %s", text, out->str);
        }
        carry_out(&scene, &action);
        if (action.verb == ROLES_ASSIGN) {
            g_string_append_printf(out, "%d%c ", id, marks[action.role]);
        } else {
            const char *mark = action.verb == ROLES_ADD      ? "+"
                               : action.verb == ROLES_REMOVE ? "x"
                                                             : ">";
            g_string_append_printf(out, "%s%d ", mark, id);
        }
    }
    g_string_append(out, "=");
    for (uint64_t id = 1; id <= 9; id++) {
        struct roles_member *member = find(&scene, id);
        if (member && member->role == ROLES_VOTER) {
            g_string_append_printf(out, " %d", (int)id);
        }
    }
    return g_string_free(out, FALSE);
}

static void tell(const char *text, const char *expected)
{
    g_autofree char *told = story(text);

    if (strcmp(told, expected) != 0) {
        fail_msg("'%s': \"%s\", not \"%s\"", text, told, expected);
    }
}

static void nodes_that_join_come_to_vote(void **state)
{
    tell("1VL", "= 1");
    tell("1VL 2n", "+2 2- = 1"); /* two cannot outvote each other */
    tell("1VL 2- 3n", "+3 2V 3- 3V = 1 2 3");
    tell("1VL 2n 3n", "+2 +3 2- 2V 3- 3V = 1 2 3");
    tell("1VL 2V 3V 4n", "+4 4- = 1 2 3");
    tell("1VL 2V 3V 4- 5n", "+5 5- = 1 2 3");
}

static void from_seven_on_five_vote(void **state)
{
    tell("1VL 2V 3V 4- 5s 6s", "5- 6- = 1 2 3");
    tell("1VL 2V 3V 4- 5s 6s 7n", "+7 4V 5- 5V 6- 7- = 1 2 3 4 5");
    tell("1VL 2V 3V 4V 5V 6-", "4- 5- = 1 2 3");
}

static void a_voter_that_is_down_for_long_is_replaced_first_and_demoted_then(void **state)
{
    tell("1VL 2V 3Vf 4-", "= 1 2 3"); /* not yet */
    tell("1VL 2V 3Vd 4-", "4V 3s = 1 2 4");
    tell("1VL 2V 3Vd 4s", "4- 4V 3s = 1 2 4");
    tell("1VL 2V 3Vd 4sd", "= 1 2 3");    /* nobody to take its place */
    tell("1VL 2V 3Vd", "= 1 2 3");        /* it keeps its vote until it is back */
    tell("1VL 2V 3Vd 4-b", "= 1 2 3");    /* has not the log yet */
    tell("1VL 2V 3- 4V", "= 1 2 4");      /* the old one is back: nothing changes */
    tell("1VL 2Vd 3Vd 4- 5-", "= 1 2 3"); /* without a majority nothing can be changed safely */
}

static void who_was_removed_goes(void **state)
{
    tell("1VL 2V 3V 4sx", "x4 = 1 2 3");
    tell("1VL 2V 3Vx 4-", "4V 3s x3 = 1 2 4");
    tell("1VL 2V 3Vdx", "3s x3 2- = 1");
    tell("1VxL 2V 3V 4-", ">2 4V 1s x1 = 2 3 4");
}

static void zones_are_spread_over(void **state)
{
    tell("1VL@a 2-@a 3s@b 4s@c", "3- 3V 4- 4V = 1 3 4");
    tell("1VL@a 2V@a 3V@b 4-@c", "4V 2- = 1 3 4");
    tell("1VL@a 2V@a 3V@a 4-@a", "= 1 2 3");
    tell("1VL@a 2V@b 3V 4-@a", "= 1 2 3");
    tell("1VL@a 2V@b 3Vd@c 4-@a 5s@c", "5- 5V 3s = 1 2 5");
    /* Where those without a label stand is not known: after another zone, before the same. */
    tell("1VL@a 2V 3V@b 4-@c", "4V 2- = 1 3 4");
    tell("1VL@a 2V@a 3- 4-@b", "3V 4V 2- = 1 3 4");
    tell("1VL@a 2- 3- 4-@b", "2V 4V = 1 2 4");
    tell("1VL 2V 3V 4-", "= 1 2 3");
}

static void wishes_are_granted(void **state)
{
    tell("1VL 2V 3V 4-W", "4V 3- = 1 2 4");
    tell("1VL 2V 3VS 4-", "4V 3- = 1 2 4"); /* it never votes, but has the log */
    tell("1VL 2nS 3nS", "+2 +3 2- 3- = 1");
    tell("1VL 2V 3V 4sS", "4- = 1 2 3");
    tell("1VSL", "= 1");
}

static void a_witness_votes_as_third_but_does_not_lead_nor_vote_alone(void **state)
{
    tell("1VL 2- 3nw", "+3 2V 3- 3V = 1 2 3");
    tell("1VL 2nw", "+2 2- = 1");
    tell("1V 2V 3VLw", ">1 = 1 2 3");
    tell("1VL 2V 3V 4-w", "4V 3- = 1 2 4");
}

static void a_second_witness_votes_only_when_there_are_too_few_others(void **state)
{
    tell("1VL 2V 3Vw 4nw", "+4 4- = 1 2 3");
    tell("1VL 2- 3Vw 4Vw", "2V 4- = 1 2 3");
    tell("1VL 2Vd 3Vw 4-w", "4V 2s = 1 3 4");
    tell("1VL 2nw 3nw", "+2 +3 2- 2V 3- 3V = 1 2 3");
}

/* A witness that was elected since the leader fell silent: that one's link is still up. */
static void leadership_goes_to_who_was_heard(void **state)
{
    tell("1Vq 2V 3VLw", ">2 = 1 2 3");
    tell("1V 2Vq 3VLw", ">1 = 1 2 3");
    tell("1Vq 2Vq 3VLw", "= 1 2 3"); /* waits */
    tell("1Vq 2V 3VLD", ">2 = 1 2 3");
}

static void draining_hands_over_and_moves_the_vote_when_another_can_have_it(void **state)
{
    tell("1VLD 2V 3V", ">2 = 1 2 3");
    tell("1VLD 2V 3V 4-", ">2 4V 1- = 2 3 4");
    tell("1VL 2VD 3V 4-", "4V 2- = 1 3 4");
    tell("1VLD", "= 1");
    tell("1VLD 2-", "2V >2 1- = 2");
}

static void of_two_left_one_votes(void **state)
{
    tell("1VL 2V", "2- = 1");
}

static void what_is_safe_is_said(void **state)
{
    struct scene scene;

    read_scene(&scene, "1VL");
    assert_non_null(strstr(roles_safety(&scene.view), "One node"));
    read_scene(&scene, "1VL 2-");
    assert_non_null(strstr(roles_safety(&scene.view), "--witness"));
    read_scene(&scene, "1VL 2V 3V");
    assert_int_equal(roles_tolerance(&scene.view), 1);
    assert_non_null(strstr(roles_safety(&scene.view), "Any one node may fail"));
    read_scene(&scene, "1VL 2V 3Vd");
    assert_int_equal(roles_tolerance(&scene.view), 0);
    assert_non_null(strstr(roles_safety(&scene.view), "No further node may fail"));
    read_scene(&scene, "1VL 2-d");
    assert_non_null(strstr(roles_safety(&scene.view), "decides alone"));
    read_scene(&scene, "1VL 2V 3V 4V 5V 6- 7s");
    assert_int_equal(roles_tolerance(&scene.view), 2);
}

static bool can_spare(const char *text, uint64_t node_id)
{
    struct scene scene;

    read_scene(&scene, text);
    return roles_can_spare(&scene.view, node_id, NOW_MS);
}

static void who_is_needed_for_a_majority_is_not_removed(void **state)
{
    struct scene scene;

    assert_true(can_spare("1VL 2V 3V 4-", 3));
    assert_true(can_spare("1VL 2V 3V 4-", 4));
    assert_true(can_spare("1VL 2-", 2));
    assert_false(can_spare("1VL 2-", 1));
    assert_true(can_spare("1VL 2V 3Vf", 3)); /* the one that is down */
    assert_false(can_spare("1VL 2V 3Vf", 2));
    read_scene(&scene, "1VL 2V 3Vf");
    scene.members[2].down_ms = NOW_MS - 999; /* its link begins anew */
    assert_true(roles_can_spare(&scene.view, 2, NOW_MS));
    assert_true(can_spare("1VL 2V 3V 4V 5Vf", 4));
    assert_false(can_spare("1VL 2V 3Vx 4-", 2)); /* its vote counts until 4 has it */
    assert_false(can_spare("1VL 2V 3Vx 4-", 4)); /* which may have it any moment */
    assert_false(can_spare("1VL 2V 3Vx 4V", 4));
    assert_true(can_spare("1VL 2V 3Vx 4V 5V", 4));
}

static void who_is_cut_off_says_what_waits(void **state)
{
    static const struct {
        const char *scene, *says;
    } cases[] = {
        {"1Vd 2-", "The node that decides cannot be reached"},
        {"1V 2Vd 3Vd", "The majority of the nodes that vote is gone"},
        {"1V 2V 3Vd", "electing"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct scene scene;
        read_scene(&scene, cases[i].scene);
        scene.view.is_cut_off = true;
        const char *safety = roles_safety(&scene.view);
        assert_non_null(strstr(safety, cases[i].says));
        assert_non_null(strstr(safety, "waits"));
        assert_null(strstr(safety, "may fail"));
    }
}

static void wishes_have_names(void **state)
{
    enum roles_wish wish;

    for (int i = ROLES_AUTO; i <= ROLES_WISH_WITNESS; i++) {
        assert_true(roles_wish_from_string(roles_wish_to_string((enum roles_wish)i), &wish));
        assert_int_equal(wish, i);
    }
    assert_false(roles_wish_from_string("leader", &wish));
    assert_string_equal(roles_role_to_string(ROLES_STANDBY), "stand-by");
}

/* ---- random histories ---- */

static unsigned voters(const struct scene *scene, bool only_up)
{
    unsigned count = 0;

    for (size_t i = 0; i < scene->view.count; i++) {
        const struct roles_member *member = &scene->members[i];
        count += member->role == ROLES_VOTER && !(only_up && member->down_ms != 0);
    }
    return count;
}

static bool has_quorum(const struct scene *scene)
{
    return voters(scene, true) > voters(scene, false) / 2;
}

/* Something happens to a node, as long as a majority stays and the leader is up. */
static void disturb(struct scene *scene, GRand *random)
{
    struct scene before = *scene;
    struct roles_member *member =
        &scene->members[g_rand_int_range(random, 0, (gint32)scene->view.count)];

    switch (g_rand_int_range(random, 0, 7)) {
    case 0:
    case 1:
        member->down_ms = 1;
        break;
    case 2:
    case 3:
        member->down_ms = 0;
        break;
    case 4:
        member->is_drained = !member->is_drained;
        break;
    case 5:
        member->wish = (enum roles_wish)g_rand_int_range(random, 0, 4);
        break;
    default:
        member->is_in_state = member->role == ROLES_NONE || g_rand_boolean(random);
    }
    const struct roles_member *leader = find(scene, scene->view.leader_id);
    if (leader->down_ms != 0 || !leader->is_in_state || !has_quorum(scene)) {
        *scene = before;
        scene->view.members = scene->members;
    }
}

static void settle(struct scene *scene, guint32 seed)
{
    for (unsigned steps = 0;; steps++) {
        struct roles_action action = roles_decide(&scene->view, NOW_MS);
        if (action.verb == ROLES_NOTHING) {
            return;
        }
        carry_out(scene, &action);
        if (!has_quorum(scene) || steps == 100) {
            fail_msg("seed %u: step %u (%s) of node %d breaks it", seed, steps, action.why,
                     (int)action.node_id);
        }
    }
}

static void every_history_keeps_a_majority_and_comes_to_rest(void **state)
{
    for (guint32 seed = 1; seed <= 2000; seed++) {
        GRand *random = g_rand_new_with_seed(seed);
        struct scene scene;
        gint32 count = g_rand_int_range(random, 1, 10);

        read_scene(&scene, "1VL 2n 3n 4n 5n 6n 7n 8n 9n");
        scene.view.count = (size_t)count;
        for (unsigned n = 0; n < 40; n++) {
            disturb(&scene, random);
            settle(&scene, seed);
        }
        for (size_t i = 0; i < scene.view.count; i++) { /* all is well again */
            scene.members[i].down_ms = 0;
            scene.members[i].wish = ROLES_AUTO;
            scene.members[i].is_drained = false;
        }
        settle(&scene, seed);
        if (voters(&scene, true) != roles_voters_wanted(&scene.view) ||
            voters(&scene, true) % 2 == 0) {
            fail_msg("seed %u: %u voters at rest, wanted %u", seed, voters(&scene, true),
                     roles_voters_wanted(&scene.view));
        }
        g_rand_free(random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_that_join_come_to_vote),
        cmocka_unit_test(from_seven_on_five_vote),
        cmocka_unit_test(a_voter_that_is_down_for_long_is_replaced_first_and_demoted_then),
        cmocka_unit_test(who_was_removed_goes),
        cmocka_unit_test(zones_are_spread_over),
        cmocka_unit_test(wishes_are_granted),
        cmocka_unit_test(a_witness_votes_as_third_but_does_not_lead_nor_vote_alone),
        cmocka_unit_test(a_second_witness_votes_only_when_there_are_too_few_others),
        cmocka_unit_test(leadership_goes_to_who_was_heard),
        cmocka_unit_test(draining_hands_over_and_moves_the_vote_when_another_can_have_it),
        cmocka_unit_test(of_two_left_one_votes),
        cmocka_unit_test(what_is_safe_is_said),
        cmocka_unit_test(who_is_needed_for_a_majority_is_not_removed),
        cmocka_unit_test(who_is_cut_off_says_what_waits),
        cmocka_unit_test(wishes_have_names),
        cmocka_unit_test(every_history_keeps_a_majority_and_comes_to_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* node.json: made once, counted at each start, refused when damaged. */
#include "node/identity.h"
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

struct place {
    char *directory, *file;
};

static int make_place(void **state)
{
    struct place *place = g_new0(struct place, 1);

    place->directory = g_dir_make_tmp("microcloud-XXXXXX", NULL);
    place->file = g_build_filename(place->directory, "node.json", NULL);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;

    g_unlink(place->file);
    g_rmdir(place->directory);
    g_free(place->directory);
    g_free(place->file);
    g_free(place);
    return 0;
}

static void an_identity_stays_and_its_epoch_grows(void **state)
{
    struct place *place = *state;
    struct node_identity first, second;

    assert_int_equal(node_identity_load(&first, place->directory, "attic", NULL), 0);
    assert_int_equal(first.epoch, 1);
    assert_true(first.id != 0);
    assert_int_equal(node_identity_load(&second, place->directory, "other", NULL), 0);
    assert_int_equal(second.epoch, 2);
    assert_true(first.id == second.id);
    assert_string_equal(first.cluster, second.cluster);
    assert_string_equal(second.name, "attic");
    node_identity_deinit(&first);
    node_identity_deinit(&second);
}

static void a_node_is_founded_only_where_nothing_else_lies(void **state)
{
    struct place *place = *state;
    struct node_identity identity;
    static const struct {
        const char *name, *inside, *said;
    } cases[] = {
        {"tls", "server.crt", NULL},
        {"raft", NULL, NULL},
        {"raft", "open-1", "log"},
        {"photos", NULL, "'photos', which is not microcloud's"},
    };

    assert_int_equal(node_identity_check_directory(place->directory, NULL), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_build_filename(place->directory, cases[i].name, NULL);
        g_autofree char *inside =
            g_build_filename(path, cases[i].inside ? cases[i].inside : "", NULL);
        g_autoptr(GError) error = NULL;

        assert_int_equal(g_mkdir(path, 0700), 0);
        assert_true(!cases[i].inside || g_file_set_contents(inside, "x", 1, NULL));
        int r = node_identity_check_directory(place->directory, &error);
        assert_int_equal(r < 0, cases[i].said != NULL);
        assert_true(!cases[i].said || strstr(error->message, cases[i].said));
        g_unlink(inside);
        g_rmdir(path);
    }
    g_autofree char *photos = g_build_filename(place->directory, "photos", NULL);
    assert_int_equal(node_identity_load(&identity, place->directory, "attic", NULL), 0);
    node_identity_deinit(&identity);
    assert_int_equal(g_mkdir(photos, 0700), 0);
    assert_int_equal(node_identity_check_directory(place->directory, NULL), 0);
    g_rmdir(photos);
}

static void only_its_owner_may_read_it(void **state)
{
    struct place *place = *state;
    struct node_identity identity;
    GStatBuf status;

    assert_int_equal(node_identity_load(&identity, place->directory, "attic", NULL), 0);
    assert_int_equal(g_stat(place->file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    node_identity_deinit(&identity);
}

static void a_damaged_file_is_named_and_left_as_it_is(void **state)
{
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{\"format\":1}",
        "{\"format\":2,\"id\":\"1\",\"name\":\"a\",\"cluster\":\"b\",\"epoch\":1}",
        "{\"format\":1,\"id\":\"0\",\"name\":\"a\",\"cluster\":\"b\",\"epoch\":1}",
        "{\"format\":1,\"id\":\"xyz\",\"name\":\"a\",\"cluster\":\"b\",\"epoch\":1}",
        "{\"format\":1,\"id\":\"1\",\"name\":\"a\",\"cluster\":\"b\",\"epoch\":-1}",
    };
    struct place *place = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(damaged); i++) {
        struct node_identity identity;
        g_autoptr(GError) error = NULL;
        g_autofree char *after = NULL;
        assert_true(g_file_set_contents(place->file, damaged[i], -1, NULL));
        assert_true(node_identity_load(&identity, place->directory, "attic", &error) < 0);
        assert_non_null(strstr(error->message, place->file));
        assert_true(g_file_get_contents(place->file, &after, NULL, NULL));
        assert_string_equal(after, damaged[i]);
        node_identity_deinit(&identity);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_identity_stays_and_its_epoch_grows, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_node_is_founded_only_where_nothing_else_lies, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(only_its_owner_may_read_it, make_place, remove_place),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_named_and_left_as_it_is, make_place,
                                        remove_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

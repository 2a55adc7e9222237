/* YAML into the same tree as JSON, and what is refused. */
#include "base/cleanup.h"
#include "text/value.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void assert_same(const char *yaml, const char *json)
{
    GError *error = NULL;
    _cleanup_(text_freep) struct text_value *value = text_parse_yaml(yaml, strlen(yaml), &error);

    if (error) {
        fail_msg("'%s': %s", yaml, error->message);
    }
    g_autofree char *printed = text_to_json(value, false);
    assert_string_equal(printed, json);
}

static void assert_refused(const char *yaml, const char *why)
{
    g_autoptr(GError) error = NULL;

    assert_null(text_parse_yaml(yaml, strlen(yaml), &error));
    assert_non_null(error);
    if (!strstr(error->message, why)) {
        fail_msg("'%s' does not say '%s'", error->message, why);
    }
}

static void blocks_and_flows_become_the_tree_of_json(void **state)
{
    assert_same("mqtt-port: 1883\nbind: 127.0.0.1\nlist:\n  - a\n  - {b: [1, 2]}\n",
                "{\"mqtt-port\":1883,\"bind\":\"127.0.0.1\",\"list\":[\"a\",{\"b\":[1,2]}]}");
    assert_same("", "null");
    assert_same("# nothing\n", "null");
    assert_same("text: |\n  two\n  lines\n", "{\"text\":\"two\\nlines\\n\"}");
    assert_same("{\"json\": [true, null]}", "{\"json\":[true,null]}");
}

static void plain_scalars_have_the_kinds_of_the_core_schema(void **state)
{
    assert_same("[~, null, '', true, No, 'yes', on]", "[null,null,\"\",true,false,\"yes\",true]");
    assert_same("[12, -3, +4, 0x1F, 0o17, 010]", "[12,-3,4,31,15,10]");
    assert_same(
        "[1.5, -.5, 1e3, 1.2.3, 1_000, ., -, 0x, 0xg, .inf, -inf, nan, 1e999, 1h30m]",
        "[1.5,-0.5,1000.0,\"1.2.3\",\"1_000\",\".\",\"-\",\"0x\",\"0xg\",\".inf\",\"-inf\",\"nan\","
        "\"1e999\",\"1h30m\"]");
    assert_same("1: one\n", "{\"1\":\"one\"}");
}

static void aliases_repeat_their_anchor(void **state)
{
    assert_same("a: &x {b: 1}\nc: *x\nd: [*x, &y 2, *y]\n",
                "{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1},2,2]}");
    assert_refused("a: *nowhere\n", "line 1, column 4");
    assert_refused("&x [*x]\n", "holds itself");
}

static void a_small_text_cannot_blow_up(void **state)
{
    GString *laughs = g_string_new("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");

    for (unsigned i = 1; i < 9; i++) {
        unsigned j = i - 1;
        g_string_append_printf(laughs, "a%u: &a%u [*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u]\n", i,
                               i, j, j, j, j, j, j, j, j);
    }
    assert_refused(laughs->str, "too many values");
    g_string_free(laughs, true);
}

static void depth_has_a_limit_that_aliases_do_not_evade(void **state)
{
    g_autofree char *bomb = g_strnfill(10000, '[');
    GString *chain = g_string_new("a0: &a0 [1]\n");

    assert_refused(bomb, "column 65: nested deeper than 64");
    for (unsigned i = 1; i < 100; i++) {
        g_string_append_printf(chain, "a%u: &a%u [[*a%u]]\n", i, i, i - 1);
    }
    assert_refused(chain->str, "line 33, column 13: nested deeper than 64");
    g_string_free(chain, true);
}

static void what_is_outside_of_the_subset_is_refused_with_its_place(void **state)
{
    assert_refused("a: 1\na: 2\n", "line 2, column 4: key 'a' is there twice");
    assert_refused("a: !!str 1\n", "line 1, column 4: tags are not supported");
    assert_refused("a: !x {b: 1}\n", "tags are not supported");
    assert_refused("? [a]\n: b\n", "a key must be a string");
    assert_refused("{[a]: b}\n", "a key must be a string");
    assert_refused("a: 1\n---\nb: 2\n", "more than one document");
    assert_refused("a: [1\n", "line 2");
    assert_refused("\ta: 1\n", "line 1");
    assert_refused("a: \xff\n", "line 1");
    assert_refused("a: \"x\\0y\"\n", "line 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_and_flows_become_the_tree_of_json),
        cmocka_unit_test(plain_scalars_have_the_kinds_of_the_core_schema),
        cmocka_unit_test(aliases_repeat_their_anchor),
        cmocka_unit_test(a_small_text_cannot_blow_up),
        cmocka_unit_test(depth_has_a_limit_that_aliases_do_not_evade),
        cmocka_unit_test(what_is_outside_of_the_subset_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

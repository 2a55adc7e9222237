/* The options of run: command line before file before defaults, and messages that name the option.
 */
#include "node/config.h"
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* A configuration file of its own; removed by the caller. */
static char *write_file(const char *text)
{
    char *name = NULL;
    int fd = g_file_open_tmp("microcloud-XXXXXX.yml", &name, NULL);

    assert_true(fd >= 0);
    g_close(fd, NULL);
    assert_true(g_file_set_contents(name, text, -1, NULL));
    return name;
}

static int load(struct node_config *config, const char *const *words, GError **error)
{
    char *argv[16] = {(char *)"run"};
    int argc = 1;

    for (; words[argc - 1]; argc++) {
        argv[argc] = (char *)words[argc - 1];
    }
    return node_config_load(config, argc, argv, error);
}

static void without_anything_the_ports_are_the_known_ones(void **unused)
{
    const char *const words[] = {"--config", "/dev/null", NULL};
    struct node_config config;
    g_autoptr(GError) error = NULL;

    assert_int_equal(load(&config, words, &error), 0);
    assert_int_equal(config.mqtt_port, 1883);
    assert_int_equal(config.https_port, 8443);
    assert_non_null(config.data);
    assert_non_null(config.name);
    assert_false(config.proxy_protocol);
    node_config_deinit(&config);
}

static void the_command_line_goes_before_the_file(void **unused)
{
    g_autofree char *file =
        write_file("data: /srv/mc\nmqtt-port: 2000\nhttp-port: 0\nproxy-protocol: true\n");
    const char *const words[] = {"--mqtt-port=3000", "--config", file, "--name", "attic", NULL};
    struct node_config config;
    g_autoptr(GError) error = NULL;

    assert_int_equal(load(&config, words, &error), 0);
    assert_int_equal(config.mqtt_port, 3000);
    assert_int_equal(config.http_port, 0);
    assert_string_equal(config.data, "/srv/mc");
    assert_string_equal(config.name, "attic");
    assert_true(config.proxy_protocol);
    node_config_deinit(&config);
    g_unlink(file);
}

static void wrong_words_are_usage_errors_that_name_the_option(void **unused)
{
    static const struct {
        const char *words[4];
        const char *named;
    } cases[] = {
        {{"--mqtt-port", "65536"}, "--mqtt-port"},
        {{"--mqtt-port", "x"}, "--mqtt-port"},
        {{"--http-port"}, "--http-port"},
        {{"--colour", "red"}, "--colour"},
        {{"stray"}, "stray"},
        {{"--data", ""}, "--data"},
        {{"--name", "a b"}, "--name"},
        {{"--address", "box.example"}, "--address"},
        {{"--proxy-protocol=false"}, "takes no value"},
        {{"--tls-cert", "x"}, "--tls-key"},
        {{"--require-client-certificate"}, "--tls-ca"},
        {{"--join", "token", "--peer-port=0"}, "--join"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct node_config config;
        g_autoptr(GError) error = NULL;
        assert_int_equal(load(&config, cases[i].words, &error), 2);
        assert_non_null(strstr(error->message, cases[i].named));
        node_config_deinit(&config);
    }
}

static void a_wrong_file_is_named_with_its_key(void **unused)
{
    static const struct {
        const char *text, *named;
    } cases[] = {
        {"mqtt-port: many\n", "mqtt-port"},
        {"mqtt-port: [1, 2]\n", "must be a port, 0 (off) to 65535"},
        {"mqtt-port: 70000\n", "mqtt-port"},
        {"colour: red\n", "colour"},
        {"- a\n- b\n", "option: value"},
        {"proxy-protocol: 3\n", "proxy-protocol"},
        {"data: [a]\n", "data"},
        {"config: other.yml\n", "config"},
        {"data: {\n", "line"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *file = write_file(cases[i].text);
        const char *const words[] = {"--config", file, NULL};
        struct node_config config;
        g_autoptr(GError) error = NULL;
        assert_int_equal(load(&config, words, &error), 1);
        assert_non_null(strstr(error->message, file));
        if (!strstr(error->message, cases[i].named)) {
            fail_msg("case %u: %s", i, error->message);
        }
        node_config_deinit(&config);
        g_unlink(file);
    }
}

static void a_file_that_was_asked_for_must_be_there(void **unused)
{
    const char *const words[] = {"--config", "/nowhere/microcloud.yml", NULL};
    struct node_config config;
    g_autoptr(GError) error = NULL;

    assert_int_equal(load(&config, words, &error), 1);
    assert_non_null(strstr(error->message, "/nowhere/microcloud.yml"));
    node_config_deinit(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_anything_the_ports_are_the_known_ones),
        cmocka_unit_test(the_command_line_goes_before_the_file),
        cmocka_unit_test(wrong_words_are_usage_errors_that_name_the_option),
        cmocka_unit_test(a_wrong_file_is_named_with_its_key),
        cmocka_unit_test(a_file_that_was_asked_for_must_be_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

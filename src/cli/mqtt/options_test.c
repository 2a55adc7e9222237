/* What mosquitto's flags come to. */
#include "cli/mqtt/options.h"

#include "cli/mqtt/properties.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int init(struct mqtt_target *target, struct mqtt_values *values, GError **error)
{
    return mqtt_target_init(target, values, "test", error);
}

static void a_url_holds_login_host_port_and_topic(void **state)
{
    struct mqtt_values values = {.url = "mqtt://ann:p%40ss@host.example:1234/a/b",
                                 .keep_alive_s = 60};
    struct mqtt_target target;
    assert_int_equal(init(&target, &values, NULL), 0);
    assert_string_equal(target.host, "host.example");
    assert_int_equal(target.port, 1234);
    assert_string_equal(target.username, "ann");
    assert_string_equal(target.password, "p@ss");
    assert_string_equal(target.url_topic, "a/b");
    mqtt_target_deinit(&target);
}

static void a_url_may_hold_an_ipv6_address(void **state)
{
    struct mqtt_values values = {.url = "mqtt://[::1]/t"};
    struct mqtt_target target;
    assert_int_equal(init(&target, &values, NULL), 0);
    assert_string_equal(target.host, "::1");
    assert_int_equal(target.port, 1883);
    mqtt_target_deinit(&target);
}

static void wrong_options_are_named(void **state)
{
    const struct {
        struct mqtt_values values;
        const char *why;
    } rows[] = {
        {{.url = "http://x"}, "-L: must begin with mqtt://"},
        {{.url = "mqtt://h:99999/t"}, "-L: the port must be 1..65535"},
        {{.version_text = "4"}, "-V: must be mqttv5"},
        {{.expiry_text = "10"}, "-x: needs -V 5"},
        {{.version_text = "5", .expiry_text = "x"}, "-x: must be 0..4294967295"},
        {{.persistent = true}, "-c: needs a client id"},
        {{.id = "a", .id_prefix = "b"}, "-I: does not go with -i"},
        {{.password = "p"}, "-P: needs -u"},
        {{.will_payload = "x"}, "--will-topic: is missing"},
        {{.will_retain = true}, "--will-topic: is missing"},
        {{.psk = "00"}, "--psk: is not supported"},
        {{.srv = true}, "-S: is not supported"},
        {{.proxy = "x"}, "--proxy: is not supported"},
        {{.tls_engine = "x"}, "--tls-engine: is not supported"},
        {{.bind_address = "localhost"}, "-A: must be an address of this machine"},
        {{.insecure = true, .ciphers = "nonsense"}, "ciphers 'nonsense'"},
        {{.insecure = true, .tls_version = "tlsv1.0"}, "--tls-version: must be"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct mqtt_values values = rows[i].values;
        struct mqtt_target target;
        g_autoptr(GError) error = NULL;
        assert_int_equal(init(&target, &values, &error), -1);
        assert_non_null(strstr(error->message, rows[i].why));
        mqtt_target_deinit(&target);
    }
}

static int with_property(struct mqtt_target *target, const char *joined, GError **error)
{
    struct mqtt_values values = {.version_text = "5", .properties = g_ptr_array_new()};
    g_ptr_array_add(values.properties, (gpointer)joined);
    int r = init(target, &values, error);
    g_ptr_array_unref(values.properties);
    return r;
}

static void properties_go_to_the_packet_they_are_for(void **state)
{
    struct mqtt_target target;
    assert_int_equal(with_property(&target,
                                   "publish\x1f"
                                   "content-type\x1ftext/plain",
                                   NULL),
                     0);
    assert_int_equal(target.publish.bytes->len, 3 + strlen("text/plain"));
    assert_int_equal(target.publish.bytes->data[0], PROPERTY_CONTENT_TYPE);
    mqtt_target_deinit(&target);
    assert_int_equal(with_property(&target,
                                   "WILL\x1fuser-property\x1f"
                                   "a\x1f"
                                   "b",
                                   NULL),
                     0);
    assert_int_equal(target.will.bytes->data[0], PROPERTY_USER);
    mqtt_target_deinit(&target);
    assert_int_equal(with_property(&target,
                                   "publish\x1fmessage-expiry-interval\x1f"
                                   "60",
                                   NULL),
                     0);
    assert_true(target.has_message_expiry);
    assert_int_equal(target.message_expiry_s, 60);
    mqtt_target_deinit(&target);
}

static void properties_of_other_packets_are_refused(void **state)
{
    static const char *const joined[] = {"publish\x1freceive-maximum\x1f"
                                         "5",
                                         "nosuch\x1fuser-property\x1f"
                                         "a\x1f"
                                         "b",
                                         "connect\x1freceive-maximum\x1f"
                                         "65536",
                                         "publish\x1fnosuch\x1f"
                                         "1"};
    for (unsigned i = 0; i < G_N_ELEMENTS(joined); i++) {
        struct mqtt_target target;
        g_autoptr(GError) error = NULL;
        assert_int_equal(with_property(&target, joined[i], &error), -1);
        assert_true(g_str_has_prefix(error->message, "-D"));
        mqtt_target_deinit(&target);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_holds_login_host_port_and_topic),
        cmocka_unit_test(a_url_may_hold_an_ipv6_address),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(properties_go_to_the_packet_they_are_for),
        cmocka_unit_test(properties_of_other_packets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

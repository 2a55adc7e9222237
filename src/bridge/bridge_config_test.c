/* Tests of the setting mqtt.bridges: what is read, what is refused, what is a change. */
#include "bridge/bridge_config.h"
#include "packet/packet.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static GPtrArray *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *configs = bridge_config_parse(text, &error);

    if (!configs) {
        fail_msg("%s", error->message);
    }
    return configs;
}

/* `part` must stand in the message. */
static void refused(const char *text, const char *part)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *configs = bridge_config_parse(text, &error);

    assert_null(configs);
    if (!strstr(error->message, part)) {
        fail_msg("'%s' is not in '%s'", part, error->message);
    }
}

static void no_text_and_an_empty_list_are_no_bridges(void **state)
{
    static const char *const texts[] = {"", "[]", " [ ] ", NULL};

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        GPtrArray *configs = parse(texts[i]);
        assert_int_equal(configs->len, 0);
        g_ptr_array_unref(configs);
    }
}

static void what_is_not_said_has_a_default(void **state)
{
    GPtrArray *configs = parse("[{\"name\":\"a\",\"host\":\"h\",\"topics\":[{\"pattern\":\"#\"}]},"
                               "{\"name\":\"b\",\"host\":\"h\",\"tls\":true,\"topics\":"
                               "[{\"pattern\":\"x\",\"direction\":\"in\",\"qos\":1}]}]");
    const struct bridge_config *one = configs->pdata[0], *two = configs->pdata[1];
    const struct bridge_topic *topic = one->topics->pdata[0];

    assert_int_equal(one->port, 1883);
    assert_int_equal(two->port, 8883);
    assert_int_equal(one->version, PACKET_MQTT_5);
    assert_int_equal(one->keep_alive_s, 60);
    assert_true(one->notifications && !one->clean_start && !one->insecure);
    assert_true(g_str_has_suffix(one->client_id, ".a"));
    assert_int_equal(topic->direction, BRIDGE_OUT);
    assert_int_equal(topic->qos, 0);
    topic = two->topics->pdata[0];
    assert_int_equal(topic->direction, BRIDGE_IN);
    assert_int_equal(topic->qos, 1);
    g_ptr_array_unref(configs);
}

static void everything_that_can_be_said_is_taken(void **state)
{
    GPtrArray *configs = parse(
        "[{\"name\":\"a\",\"host\":\"h\",\"port\":1,\"client_id\":\"c\",\"username\":\"u\","
        "\"password\":\"p\",\"ca_file\":\"ca\",\"certificate_file\":\"cert\",\"key_file\":"
        "\"key\",\"keep_alive_s\":0,\"clean_start\":true,\"tls\":true,\"insecure\":true,"
        "\"notifications\":false,\"protocol\":\"3.1.1\",\"topics\":[{\"pattern\":\"p/+\","
        "\"direction\":\"out\",\"qos\":2,\"local_prefix\":\"l/\",\"remote_prefix\":\"r/\"}]}]");
    const struct bridge_config *config = configs->pdata[0];
    const struct bridge_topic *topic = config->topics->pdata[0];

    assert_string_equal(config->client_id, "c");
    assert_string_equal(config->username, "u");
    assert_string_equal(config->password, "p");
    assert_string_equal(config->ca_file, "ca");
    assert_string_equal(config->certificate_file, "cert");
    assert_string_equal(config->key_file, "key");
    assert_int_equal(config->keep_alive_s, 0);
    assert_int_equal(config->version, PACKET_MQTT_3_1_1);
    assert_true(config->clean_start && config->has_tls && config->insecure);
    assert_false(config->notifications);
    assert_string_equal(topic->local_filter, "l/p/+");
    assert_string_equal(topic->remote_filter, "r/p/+");
    g_ptr_array_unref(configs);
}

#define BRIDGE(more) "[{\"name\":\"a\",\"host\":\"h\"," more "}]"
#define TOPIC(more)  BRIDGE("\"topics\":[{\"pattern\":\"ok\"},{" more "}]")

static void what_is_wrong_is_named_with_its_place(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{", "line 1"},
        {"{}", "must be a list"},
        {"[3]", "must be an object"},
        {"[{\"host\":\"h\"}]", "bridge '?': name"},
        {"[{\"name\":\"a b\"}]", "bridge 'a b': name"},
        {"[{\"name\":3}]", "name: must be a string"},
        {BRIDGE("\"colour\":1"), "bridge 'a': colour: unknown"},
        {BRIDGE("\"port\":0"), "bridge 'a': port"},
        {BRIDGE("\"port\":65536"), "port: must be a number up to 65535"},
        {BRIDGE("\"port\":\"x\""), "port"},
        {BRIDGE("\"tls\":1"), "tls: must be true or false"},
        {BRIDGE("\"protocol\":\"4\""), "protocol: must be"},
        {BRIDGE("\"topics\":[]"), "topics: must be a list of 1 to 64"},
        {BRIDGE("\"keep_alive_s\":1"), "topics"},
        {TOPIC("\"qos\":1"), "topics[1].pattern"},
        {TOPIC("\"pattern\":\"a#\""), "topics[1].pattern"},
        {TOPIC("\"pattern\":\"a\",\"local_prefix\":\"#/\""), "topics[1].pattern"},
        {TOPIC("\"pattern\":\"a\",\"qos\":3"), "topics[1].qos: must be 0, 1 or 2"},
        {TOPIC("\"pattern\":\"a\",\"qos\":\"1\""), "topics[1].qos"},
        {TOPIC("\"pattern\":\"a\",\"direction\":\"up\""), "must be in, out or both, got 'up'"},
        {TOPIC("\"pattern\":\"a\",\"direktion\":\"in\""), "topics[1].direktion: unknown"},
        {BRIDGE("\"protocol\":\"3.1.1\",\"topics\":[{\"pattern\":\"a\",\"direction\":\"both\"}]"),
         "both needs protocol 5"},
        {"[{\"name\":\"a\",\"host\":\"h\",\"topics\":[{\"pattern\":\"a\"}]},"
         "{\"name\":\"a\",\"host\":\"h\",\"topics\":[{\"pattern\":\"a\"}]}]",
         "another bridge has it"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        refused(cases[i].text, cases[i].part);
    }
}

static void the_number_of_bridges_and_topics_is_bounded(void **state)
{
    g_autoptr(GString) bridges = g_string_new("["),
                       topics = g_string_new("[{\"name\":\"a\",\"host\":"
                                             "\"h\",\"topics\":[");

    for (unsigned i = 0; i <= BRIDGES_MAX; i++) {
        g_string_append_printf(
            bridges, "%s{\"name\":\"b%u\",\"host\":\"h\",\"topics\":[{\"pattern\":\"a\"}]}",
            i ? "," : "", i);
    }
    for (unsigned i = 0; i <= BRIDGE_TOPICS_MAX; i++) {
        g_string_append_printf(topics, "%s{\"pattern\":\"a\"}", i ? "," : "");
    }
    refused(g_string_append(bridges, "]")->str, "at most 16");
    refused(g_string_append(topics, "]}]")->str, "1 to 64");
}

static void any_change_is_a_change(void **state)
{
    static const char *const variants[] = {
        BRIDGE("\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"port\":2,\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"password\":\"x\",\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"tls\":true,\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"protocol\":\"3.1.1\",\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"keep_alive_s\":5,\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"notifications\":false,\"topics\":[{\"pattern\":\"a\"}]"),
        BRIDGE("\"topics\":[{\"pattern\":\"b\"}]"),
        BRIDGE("\"topics\":[{\"pattern\":\"a\",\"qos\":1}]"),
        BRIDGE("\"topics\":[{\"pattern\":\"a\",\"direction\":\"in\"}]"),
        BRIDGE("\"topics\":[{\"pattern\":\"a\",\"remote_prefix\":\"x/\"}]"),
        BRIDGE("\"topics\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]"),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(variants); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(variants); j++) {
            GPtrArray *a = parse(variants[i]), *b = parse(variants[j]);
            assert_int_equal(bridge_config_equal(a->pdata[0], b->pdata[0]), i == j);
            g_ptr_array_unref(a);
            g_ptr_array_unref(b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_text_and_an_empty_list_are_no_bridges),
        cmocka_unit_test(what_is_not_said_has_a_default),
        cmocka_unit_test(everything_that_can_be_said_is_taken),
        cmocka_unit_test(what_is_wrong_is_named_with_its_place),
        cmocka_unit_test(the_number_of_bridges_and_topics_is_bounded),
        cmocka_unit_test(any_change_is_a_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

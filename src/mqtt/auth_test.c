/* SCRAM in AUTH packets, with the client's side of it. */
#include "access/access.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "state/propose.h"

#define METHOD "15 000d'SCRAM-SHA-256'"

static void hmac(const uint8_t *key, size_t length, const void *data, size_t size, uint8_t out[32])
{
    GHmac *digest = g_hmac_new(G_CHECKSUM_SHA256, key, length);
    gsize digest_length = 32;

    g_hmac_update(digest, data, (gssize)size);
    g_hmac_get_digest(digest, out, &digest_length);
    g_hmac_unref(digest);
}

/* PBKDF2 of one block (RFC 8018). */
static void salt(const char *password, const uint8_t *salt_bytes, size_t length, unsigned rounds,
                 uint8_t out[32])
{
    g_autofree uint8_t *first = g_malloc(length + 4);
    uint8_t block[32];

    memcpy(first, salt_bytes, length);
    memcpy(first + length, "\0\0\0\1", 4);
    hmac((const uint8_t *)password, strlen(password), first, length + 4, block);
    memcpy(out, block, 32);
    while (--rounds > 0) {
        hmac((const uint8_t *)password, strlen(password), block, 32, block);
        for (unsigned i = 0; i < 32; i++) {
            out[i] ^= block[i];
        }
    }
}

static char *field(const char *message, char name)
{
    g_auto(GStrv) parts = g_strsplit(message, ",", 0);

    for (unsigned i = 0; parts[i]; i++) {
        if (parts[i][0] == name && parts[i][1] == '=') {
            return g_strdup(parts[i] + 2);
        }
    }
    fail_msg("no %c in %s", name, message);
    return NULL;
}

/* client-final for a server-first (RFC 5802, 3). */
static char *final_of(const char *username, const char *password, const char *server_first)
{
    g_autofree char *salt_text = field(server_first, 's'), *rounds = field(server_first, 'i');
    g_autofree char *nonce = field(server_first, 'r');
    g_autofree char *bare = g_strdup_printf("c=biws,r=%s", nonce);
    g_autofree char *signed_text =
        g_strdup_printf("n=%s,r=nonce,%s,%s", username, server_first, bare);
    gsize length;
    g_autofree uint8_t *salt_bytes = g_base64_decode(salt_text, &length);
    uint8_t salted[32], key[32], stored[32], signature[32];
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize digest_length = 32;

    salt(password, salt_bytes, length, (unsigned)atoi(rounds), salted);
    hmac(salted, 32, "Client Key", 10, key);
    g_checksum_update(sum, key, 32);
    g_checksum_get_digest(sum, stored, &digest_length);
    hmac(stored, 32, signed_text, strlen(signed_text), signature);
    for (unsigned i = 0; i < 32; i++) {
        key[i] ^= signature[i];
    }
    g_autofree char *proof = g_base64_encode(key, 32);
    return g_strdup_printf("%s,p=%s", bare, proof);
}

static char *property(const char *id, const char *value)
{
    return g_strdup_printf("%s %04zx '%s'", id, strlen(value), value);
}

/* CONNECT with client-first; returns server-first. */
static char *begin(struct peer *peer, const char *client_id, const char *username)
{
    g_autofree char *first = g_strdup_printf("n,,n=%s,r=nonce", username);
    g_autofree char *data = property("16", first);
    g_autofree char *properties = g_strdup_printf(METHOD " %s", data);

    say_connect(peer, &(struct entering){.client_id = client_id, .properties = properties});
    g_autofree char *answer = heard(peer);
    assert_true(g_str_has_prefix(answer, "auth 0x18 r=nonce"));
    return g_strdup(answer + strlen("auth 0x18 "));
}

static void say_auth(struct peer *peer, uint8_t reason, const char *data)
{
    g_autofree char *value = property("16", data);
    g_autoptr(GByteArray) properties = sample_bytes(METHOD);
    g_autoptr(GByteArray) rest = sample_bytes(value);
    g_autofree char *body = g_strdup_printf("%02x %02x%s" METHOD " %s", reason,
                                            properties->len + rest->len > 127
                                                ? ((properties->len + rest->len) & 127) | 128
                                                : properties->len + rest->len,
                                            properties->len + rest->len > 127 ? "01" : "", value);
    say(peer, 0xf0, body);
}

static void enter_by_scram(struct peer *peer, const char *username, const char *password)
{
    g_autofree char *first = begin(peer, "scram-client", username);
    g_autofree char *final = final_of(username, password, first);
    say_auth(peer, 0x18, final);
}

static void a_user_proves_itself(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture);

    add_user(fixture, "u", "device", "pencil");
    enter_by_scram(peer, "u", "pencil");
    assert_heard(peer, "connack s0 0x00");
    assert_string_equal(connection_of(fixture, "scram-client")->identity.username, "u");
}

static void a_wrong_proof_makes_the_next_one_wait(void **state)
{
    struct fixture *fixture = *state;
    struct peer *wrong = peer_new(fixture), *next = peer_new(fixture), *gone = peer_new(fixture);
    struct entering entering = {.client_id = "c",
                                .properties = METHOD " 16 000f 'n,,n=u,r=nonce1'"};

    add_user(fixture, "u", "device", "pencil");
    enter_by_scram(wrong, "u", "pen");
    assert_heard(wrong, "connack s0 0x87; end");
    say_connect(next, &entering);
    assert_heard(next, "");
    say_connect(gone, &entering);
    cut(gone); /* it does not wait for the answer */
    pass(fixture, 60);
    assert_heard(next, "");
    pass(fixture, 60);
    g_autofree char *answer = heard(next);
    assert_true(g_str_has_prefix(answer, "auth 0x18 r=nonce1"));
    pass(fixture, 10000);
}

static void a_wrong_proof_and_an_unknown_user_look_the_same(void **state)
{
    struct fixture *fixture = *state;
    struct peer *wrong = peer_new(fixture), *unknown = peer_new(fixture);
    struct broker_counters counters;

    set(fixture, "mqtt.login_delay_ms_max", "0");
    add_user(fixture, "u", "device", "pencil");
    enter_by_scram(wrong, "u", "pen");
    assert_heard(wrong, "connack s0 0x87; end");
    enter_by_scram(unknown, "x", "pencil");
    assert_heard(unknown, "connack s0 0x87; end");
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.logins_failed, 2);
    assert_int_equal(counters.connections, 0);
}

static void a_user_removed_in_the_middle_is_not_let_in(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture);

    add_user(fixture, "u", "device", "pencil");
    g_autofree char *first = begin(peer, "a", "u");
    g_autofree char *final = final_of("u", "pencil", first);
    assert_int_equal(state_propose_user_remove(fixture->node.state, "u", NULL), 0);
    run(fixture);
    say_auth(peer, 0x18, final);
    assert_heard(peer, "connack s0 0x87; end");
}

/* AUTH 0x19 with client-first, then the final message; what is heard at the end. */
static char *prove_again(struct peer *peer, const char *username, const char *password)
{
    g_autofree char *client_first = g_strdup_printf("n,,n=%s,r=nonce", username);

    say_auth(peer, 0x19, client_first);
    g_autofree char *answer = heard(peer);
    assert_true(g_str_has_prefix(answer, "auth 0x18 r=nonce"));
    g_autofree char *final = final_of(username, password, answer + strlen("auth 0x18 "));
    say_auth(peer, 0x18, final);
    return heard(peer);
}

static void the_same_user_may_prove_itself_again(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture);

    add_user(fixture, "u", "device", "pencil");
    add_user(fixture, "v", "device", "pencil");
    enter_by_scram(peer, "u", "pencil");
    assert_heard(peer, "connack s0 0x00");
    g_autofree char *same = prove_again(peer, "u", "pencil");
    assert_true(g_str_has_prefix(same, "auth 0x00 v="));
    say(peer, 0xc0, "");
    assert_heard(peer, "pingresp");
    g_autofree char *other = prove_again(peer, "v", "pencil");
    assert_string_equal(other, "disconnect 0x87; end");
}

static void a_wrong_proof_later_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture);

    add_user(fixture, "u", "device", "pencil");
    enter_by_scram(peer, "u", "pencil");
    assert_heard(peer, "connack s0 0x00");
    g_autofree char *answer = prove_again(peer, "u", "pen");
    assert_string_equal(answer, "disconnect 0x87; end");
}

static void another_method_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture), *later = peer_new(fixture);

    say_connect(peer, &(struct entering){.client_id = "a", .properties = "15 0005'PLAIN'"});
    assert_heard(peer, "connack s0 0x8c; end");
    add_user(fixture, "u", "device", "pencil");
    enter_by_scram(later, "u", "pencil");
    assert_heard(later, "connack s0 0x00");
    say(later, 0xf0, "19 08 15 0005'PLAIN'");
    assert_heard(later, "disconnect 0x82; end");
}

static void auth_packets_out_of_turn_end_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer;

    add_user(fixture, "u", "device", "pencil");
    peer = enter(fixture, "no method");
    say(peer, 0xf0, "19 10 " METHOD);
    assert_heard(peer, "disconnect 0x82; end");
    peer = enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});
    say(peer, 0xf0, "");
    assert_heard(peer, "end");
    peer = peer_new(fixture);
    g_free(begin(peer, "method missing", "u"));
    say(peer, 0xf0, "18 00");
    assert_heard(peer, "connack s0 0x82; end");
    peer = peer_new(fixture);
    g_free(begin(peer, "malformed", "u"));
    say(peer, 0xf0, "18 05");
    assert_heard(peer, "connack s0 0x81; end");
    peer = peer_new(fixture);
    g_free(begin(peer, "too early", "u"));
    say(peer, 0xf0, "19 10 " METHOD);
    assert_heard(peer, "connack s0 0x82; end");
    peer = peer_new(fixture);
    g_free(begin(peer, "nonsense", "u"));
    say(peer, 0xf0, "18 17 " METHOD " 16 0004'nons'");
    assert_heard(peer, "connack s0 0x82; end");
    peer = peer_new(fixture);
    enter_by_scram(peer, "u", "pencil");
    assert_heard(peer, "connack s0 0x00");
    say(peer, 0xf0, "18 10 " METHOD); /* the exchange is over */
    assert_heard(peer, "disconnect 0x82; end");
}

static void who_stops_in_the_middle_goes_after_the_connect_timeout(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture);

    add_user(fixture, "u", "device", "pencil");
    g_free(begin(peer, "a", "u"));
    pass(fixture, 8000);
    assert_heard(peer, "");
    pass(fixture, 4000);
    assert_heard(peer, "end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_user_proves_itself),
        FIXTURE_TEST(a_wrong_proof_makes_the_next_one_wait),
        FIXTURE_TEST(a_wrong_proof_and_an_unknown_user_look_the_same),
        FIXTURE_TEST(a_user_removed_in_the_middle_is_not_let_in),
        FIXTURE_TEST(the_same_user_may_prove_itself_again),
        FIXTURE_TEST(a_wrong_proof_later_ends_the_connection),
        FIXTURE_TEST(another_method_is_refused),
        FIXTURE_TEST(auth_packets_out_of_turn_end_the_connection),
        FIXTURE_TEST(who_stops_in_the_middle_goes_after_the_connect_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

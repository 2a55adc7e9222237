/* For the tests of this folder: a broker with its state on a virtual loop, and clients that are
 * written down in packets and heard in words. Everything happens inside of run(). */
#pragma once

#include "base/cleanup.h"
#include "mqtt/broker_private.h"
#include "mqtt/test_cluster.h"
#include "mqtt/test_node.h"
#include "mqtt/test_virtual_loop.h"
#include "packet/sample.h"

struct fixture {
    struct loop *loop;
    GRand *random;
    struct node node;        /* of one alone */
    struct cluster *cluster; /* owned; NULL = one node alone */
    unsigned at;             /* the node that peers come to */
    GPtrArray *peers;        /* owned */
    uint64_t moved;
};

/* One client. */
struct peer {
    struct fixture *fixture;
    struct stream *stream;
    GByteArray *input;
    uint8_t version;
    bool is_deaf; /* what the broker writes stays where it is */
};

struct entering {
    const char *client_id;
    uint8_t version; /* 0 = 5 */
    bool keeps;      /* not a clean start; in MQTT 5 the session is kept an hour */
    uint16_t keep_alive_s;
    const char *properties; /* notation of packet/sample.h */
    const char *username, *password;
    const char *will_topic, *will_payload, *will_properties;
    uint8_t will_qos;
    bool will_retain;
};

void fixture_init(struct fixture *fixture);
/* Several nodes, see test_cluster.h. */
void fixture_init_cluster(struct fixture *fixture, unsigned count);
void fixture_deinit(struct fixture *fixture);
struct broker *broker_of(const struct fixture *fixture);
struct connection *connection_of(const struct fixture *fixture, const char *client_id);
/* Until nothing moves any more. */
void run(struct fixture *fixture);
void pass(struct fixture *fixture, uint64_t ms);
void set(struct fixture *fixture, const char *key, const char *value);
/* As in docs/: "*", "user:x"; "read", "write", "readwrite", "subscribe". */
void add_rule(struct fixture *fixture, const char *subject, const char *action, const char *filter,
              bool allow);
void add_user(struct fixture *fixture, const char *name, const char *role, const char *password);
/* The node dies and comes back; whoever was connected is not any more. */
void crash(struct fixture *fixture);

/* A stream that the broker has accepted. */
struct peer *peer_new(struct fixture *fixture);
/* The same from that address, which is not of this machine when it is not NULL; trusted when it has
 * a name. */
struct peer *peer_from(struct fixture *fixture, const char *address, const char *trusted_name);
/* `first` is the packet's first byte, `body` what stands behind its length, as in
 * packet/sample.h. */
void say(struct peer *peer, uint8_t first, const char *body);
void say_connect(struct peer *peer, const struct entering *entering);
void say_bytes(struct peer *peer, const void *bytes, size_t length);
/* Without run(): it comes to the broker with the next one. */
void say_publish(struct peer *peer, uint8_t qos, uint16_t packet_id, const char *topic,
                 const char *payload);
void cut(struct peer *peer);
/* CONNECT, and the CONNACK is heard. */
struct peer *enter_as(struct fixture *fixture, const struct entering *entering);
struct peer *enter(struct fixture *fixture, const char *client_id);
/* A session of MQTT 5 that is kept for an hour. */
struct peer *enter_kept(struct fixture *fixture, const char *client_id);
/* SUBSCRIBE, and the SUBACK is heard. */
void subscribe(struct peer *peer, const char *filter, uint8_t qos);
void publish(struct peer *peer, uint8_t qos, uint16_t packet_id, const char *topic,
             const char *payload);
void publish_retained(struct peer *peer, uint8_t qos, uint16_t packet_id, const char *topic,
                      const char *payload);
void ack(struct peer *peer, uint8_t type, uint16_t packet_id);

/* What came since it was asked last: "publish q1 m1 a/b=payload; puback m1 0x10; disconnect 0x8e;
 * end". Caller frees. */
char *heard(struct peer *peer);
#define assert_heard(peer, expected)                                                               \
    do {                                                                                           \
        g_autofree char *heard_ = heard(peer);                                                     \
        assert_string_equal(heard_, expected);                                                     \
    } while (0)

/* One test with a fixture around it. */
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define CLUSTER_TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, fixture_teardown)
int fixture_setup(void **state);
int cluster_setup(void **state); /* three nodes */
int fixture_teardown(void **state);

/* For the tests of this folder: a state over a log in memory, with a clock that stands still, that
 * writes down what its watches see. */
#pragma once

#include "state/apply.h"
#include "state/snapshot.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NODE_ID       3
#define EPOCH         7
#define START_UNIX_MS 1700000000000u

struct fixture {
    struct state *state;
    GByteArray *pending; /* the group that is being filled */
    GPtrArray *entries;  /* GBytes: every group applied, for replaying */
    uint64_t index;      /* of the last entry */
    uint64_t now_unix_ms;
    int append_error; /* not 0: the log refuses */
    GString *events;  /* "publish a/b by x;" "delivery x;" "end x;" "settings;" "access;"
                         "nodes;" "vips;" "ca;" */
    struct state_watch watch;
    struct state_result result; /* the last one */
    char *message;              /* of it */
    uint32_t result_count;
    struct state_completion completion; /* to be handed to proposals */
};

void fixture_init(struct fixture *fixture);
void fixture_deinit(struct fixture *fixture);
/* Applies what has been proposed. */
void fixture_flush(struct fixture *fixture);
/* For `run(fixture, state_propose_...)`: it was taken; applies it; its result, whose message is
 * valid until the next. */
const struct state_result *run(struct fixture *fixture, int proposed);
void fixture_clear_events(struct fixture *fixture);

/* Short forms. */
struct bytes text(const char *string);
uint64_t connection(uint32_t counter);
const struct state_result *open_session(struct fixture *fixture, const char *client_id,
                                        uint32_t counter);
const struct state_result *open_with(struct fixture *fixture, const char *client_id,
                                     uint32_t counter, bool clean_start, uint32_t expiry_s,
                                     const struct state_will *will);
const struct state_result *close_session(struct fixture *fixture, const char *client_id,
                                         uint32_t counter, bool publish_will);
const struct state_result *subscribe(struct fixture *fixture, const char *client_id,
                                     const char *filter, uint8_t qos);
const struct state_result *publish(struct fixture *fixture, const char *topic, const char *payload,
                                   uint8_t qos, bool retain);
const struct state_result *tick(struct fixture *fixture, uint64_t after_ms);
const struct state_result *set(struct fixture *fixture, const char *key, const char *value);
struct session *session_of(struct fixture *fixture, const char *client_id);
/* Messages that wait for it; 0 when it is not there. */
uint32_t waiting_of(struct fixture *fixture, const char *client_id);
/* The whole snapshot in one piece. */
GBytes *snapshot_of(const struct state *state);
/* Applies the entries from `from` on to another state, index by index. */
void replay(struct state *state, const struct fixture *fixture, uint32_t from, uint32_t to);
struct state *empty_state(void);

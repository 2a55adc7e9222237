/* Who may enter, and who may do what: users and rules of the state, mosquitto's patterns (%u, %c),
 * roles. Decisions are made from the state's tables; nothing is stored here but caches and the
 * counters of failed logins. */
#pragma once

#include "base/bytes.h"
#include "session/message.h"
#include <stdbool.h>
#include <stdint.h>

struct access;
struct loop;
struct state;

struct access *access_new(struct loop *loop, struct state *state);
/* Nothing may be on its way on the worker pool (work_finish); who waits for his turn is refused. */
void access_free(struct access *access);

enum role { ROLE_NONE, ROLE_DEVICE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };

struct identity {
    char *username; /* owned; NULL for anonymous */
    enum role role;
};

/* How a client comes in; views live until the call returns. */
struct access_attempt {
    struct bytes username, password;
    bool has_username, has_password;
    bool is_loopback;
    bool is_trusted;     /* in-process (bridge, API) or the API's Unix socket: let in as admin */
    const char *address; /* for the slow-down of failed logins */
    const char *certificate_cn; /* NULL for none; counts as user name when
                                   mqtt.certificate_as_username is on */
};

enum access_outcome { ACCESS_GRANTED, ACCESS_DENIED, ACCESS_BAD_PASSWORD };

/* `fn` runs once, later: PBKDF2 goes to the worker pool, and after failures from that address the
 * answer is delayed (doubling from 100 ms to mqtt.login_delay_ms_max). On ACCESS_GRANTED `identity`
 * is filled; the callee takes its strings. Returns a ticket to cancel with: the callback does not
 * come after access_cancel. What needs no hashing (anonymous, trusted, certificate) still answers
 * by callback. Known good password checks are cached for a while (keyed hash of user, password, and
 * access generation), so that a house's devices reconnecting at once cost one hash each at most. */
struct access_ticket;
struct access_ticket *
access_check_login(struct access *access, const struct access_attempt *attempt,
                   void (*fn)(void *owner, enum access_outcome outcome, struct identity *identity),
                   void *owner);
void access_cancel(struct access_ticket *ticket);
/* The same slow-down for logins by other means (SCRAM). Returns NULL when this address need not
 * wait; else `fn` runs when it is its turn, with ACCESS_GRANTED and an empty identity. */
struct access_ticket *access_wait(struct access *access, const char *address,
                                  void (*fn)(void *owner, enum access_outcome outcome,
                                             struct identity *identity),
                                  void *owner);
/* How such a login ended. */
void access_note_login(struct access *access, const char *address, bool was_right);
void identity_clear(struct identity *identity);

/* Without anybody waiting: anonymous and trusted ones, when the answer is known at once. Returns 1
 * granted, 0 denied, -EAGAIN: needs access_check_login. */
int access_check_quick(struct access *access, const struct access_attempt *attempt,
                       struct identity *identity);

/* Rules for topics. Without any rule: admin, operator and device may do everything but write to
 * $-topics, viewer may only read; anonymous (where let in) as device. With rules: admin everything;
 * rules are looked at as mosquitto does (any matching allow grants; deny wins; nothing matching =
 * no), for user, role, pattern (%u %c). Cheap enough for the hot path: `access_needs_checks` tells
 * whether anything but the role matters for this identity. */
bool access_needs_checks(const struct access *access, const struct identity *identity);
bool access_may_publish(const struct access *access, const struct identity *identity,
                        struct bytes client_id, struct bytes topic);
bool access_may_subscribe(const struct access *access, const struct identity *identity,
                          struct bytes client_id, struct bytes filter);
/* Reading one message that a subscription (perhaps wider than the rules) matched. */
bool access_may_receive(const struct access *access, const struct identity *identity,
                        struct bytes client_id, struct bytes topic);

/* Is there a user of this name (NULL: no)? */
bool access_is_user(const struct access *access, const char *username);

const char *role_to_string(enum role role);
/* ROLE_NONE when unknown. */
enum role role_from_string(const char *text);

/* ---- passwords ---- */
/* The record to be stored: "$7$ITERATIONS$SALT$HASH" (PBKDF2-SHA512 as mosquitto_passwd -c writes
 * it) followed by " scram:ITERATIONS:SALT:STORED:SERVER" (RFC 5802, SHA-256). Slow: runs for tens
 * of milliseconds; call from the worker pool in the daemon. Caller frees. */
char *password_record_new(const char *password);
/* Also verifies mosquitto's $6$ (SHA512) and $7$ records that were imported. Slow for $7$. */
bool password_verify(const char *record, struct bytes password);
/* Imports: `user:$7$...` lines; each line's error names its number. fn per user / rule. In files
 * import.h. */

/* ---- SCRAM-SHA-256 as server (RFC 5802, 7677), for MQTT 5's enhanced authentication ---- */
struct scram;
/* Feeds the client's message: returns 1 when the exchange is complete (`reply` holds server-final,
 * user name readable), 0 when `reply` must be sent and more comes, -EACCES when it failed, -EPROTO
 * when it is malformed. Unknown users take the same path with a made-up salt. */
struct scram *scram_new(struct access *access);
void scram_free(struct scram *scram);
int scram_step(struct scram *scram, struct bytes message,
               struct bytes *reply /* valid until the next call */);
const char *scram_username(const struct scram *scram);
/* The identity of a user that proved itself by other means (SCRAM, certificate). False when there
 * is no such user. */
bool access_identity_of(struct access *access, const char *username, struct identity *identity);

/* Users and access rules as tables of the state. What they mean (passwords, patterns, roles) is
 * access/'s. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct state;

struct user {
    char *name;
    char *role;     /* "admin" "operator" "viewer" "device" */
    char *password; /* record: "$7$iterations$salt$hash" (PBKDF2-SHA512, mosquitto's form), with
                       SCRAM-SHA-256 keys appended; never logged, never sent */
};

struct access_rule {
    uint64_t id;   /* given when it is added, ascending: the order of evaluation */
    char *subject; /* "user:NAME", "role:ROLE", "anonymous" or "*" */
    char *action;  /* "read" "write" "readwrite" "subscribe" */
    char *filter;  /* topic filter with %u and %c */
    bool allow;
};

/* NULL when there is none. Valid until the next change of a user, as all of these. */
const struct user *state_find_user(const struct state *state, const char *name);
/* In order of names; `fn` must not change the state. */
void state_for_each_user(const struct state *state,
                         void (*fn)(void *owner, const struct user *user), void *owner);
/* In order of ids. */
uint32_t state_rule_count(const struct state *state);
const struct access_rule *state_rule_at(const struct state *state, uint32_t at);
/* Changes whenever a user or rule does: decisions may be cached under it. */
uint64_t state_access_generation(const struct state *state);

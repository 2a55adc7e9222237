/* Changing the tables of users and access rules, for this folder only. */
#pragma once

#include "state/access_rules.h"

struct tables;

#define USERS_MAX                 20000
#define ACCESS_RULES_MAX          20000
#define USER_NAME_BYTES_MAX       1024
#define PASSWORD_RECORD_BYTES_MAX 4096
#define ACCESS_FILTER_BYTES_MAX   65535

void access_user_free(void *memory);
void access_rule_free(void *memory);

/* NULL when it may be stored, else what is wrong, for people. Caller frees. */
char *access_user_problem(const char *name, const char *role, const char *password);
char *access_rule_problem(const char *subject, const char *action, const char *filter);

/* Replaces the one of this name. Copies. */
void access_put_user(struct tables *tables, const char *name, const char *role,
                     const char *password);
/* False when there is none. */
bool access_remove_user(struct tables *tables, const char *name);
/* `id` is higher than all before. */
void access_add_rule(struct tables *tables, uint64_t id, const char *subject, const char *action,
                     const char *filter, bool allow);
bool access_remove_rule(struct tables *tables, uint64_t id);

/* The inside of struct state, for this folder only: everything that is replicated (struct tables,
 * what a snapshot holds), and what belongs to this node. */
#pragma once

#include "session/retained.h"
#include "session/route.h"
#include "session/store.h"
#include "session/wills.h"
#include "state/access_rules.h"
#include "state/arena.h"
#include "state/completions.h"
#include "state/roster/tables.h"
#include "state/routes.h"
#include "state/state.h"

/* The last command applied of each node: what is not newer was applied before. */
struct origin {
    uint64_t node_id, epoch, sequence;
};

/* Fixed, so that nodes with other compilers and versions agree; near what was measured. */
#define SESSION_BYTES      384
#define SUBSCRIPTION_BYTES 128
#define DELIVERY_BYTES     32
#define WILL_BYTES         64
#define ACCESS_ENTRY_BYTES 64

struct tables {
    uint64_t applied_index;
    struct session_store *sessions;
    uint64_t session_bytes; /* of sessions and subscriptions, without their queues: see
                               tables_session_bytes */
    struct retained *retained;
    struct wills *wills;
    uint64_t wills_bytes;
    GTree *setting_values; /* key -> value, as it was set; keys that this version does not know
                              included */
    GPtrArray *users;      /* struct user, in order of names */
    GPtrArray *rules;      /* struct access_rule, in order of ids */
    uint64_t next_rule_id;
    uint64_t access_bytes;
    GArray *origins;       /* struct origin, in order of node ids */
    uint64_t time_unix_ms; /* the newest of all groups: time never goes back */
    struct roster roster;
    uint32_t level; /* the highest that a command needed: who is below cannot read these tables */
};

struct state {
    struct state_options options;
    struct state_log log;
    struct tables tables;
    struct settings settings; /* typed, follows tables.setting_values */
    uint64_t access_generation;
    uint64_t due_unix_ms; /* as last told to the watches */
    struct state_watch *watches;

    /* Of this life of this node. */
    uint64_t next_sequence;
    struct completions completions;
    bool is_proposing;

    /* While applying. */
    struct arena arena;
    struct state_routes routes;
    GString *message; /* of the result */
};

void tables_init(struct tables *tables);
void tables_deinit(struct tables *tables);
/* What the tables take, against state.bytes_max. */
uint64_t tables_bytes(const struct tables *tables);
/* True when it was not applied before; then it counts as applied. */
bool tables_advance_origin(struct tables *tables, const struct origin *command);
/* Has this node ever proposed anything? */
bool tables_has_origin(const struct tables *tables, uint64_t node_id);
/* Of the last command of this node; 0 = none. */
uint64_t tables_last_epoch(const struct tables *tables, uint64_t node_id);

/* What one session and one subscription count for. Like all that is held against state.bytes_max it
 * follows from the content alone, never from the history of some memory: every node must refuse the
 * same. */
uint64_t tables_session_bytes(const struct session *session);
uint64_t tables_subscription_bytes(size_t filter_bytes);
uint64_t tables_will_bytes(struct bytes client_id, const struct will *will);
/* Wills with their bytes counted. `will` NULL removes. */
void tables_set_will(struct tables *tables, struct bytes client_id, const struct will *will);

/* Makes state.settings follow tables.setting_values, and the limits of the tables follow
 * state.settings. */
void state_load_settings(struct state *state);
void state_apply_limits(struct state *state);

/* Watches. */
void state_notify_publish(struct state *state, struct message *message, struct bytes publisher,
                          const struct state_share_target *targets, uint32_t target_count);
void state_notify_delivery(struct state *state, struct session *session);
void state_notify_session_end(struct state *state, struct session *session);
void state_notify_settings(struct state *state);
void state_notify_access(struct state *state);
void state_notify_due(struct state *state);
void state_notify_connection(struct state *state, struct bytes client_id,
                             uint64_t connection_number);
void state_notify_nodes(struct state *state);
void state_notify_vips(struct state *state);
void state_notify_ca(struct state *state);
void state_notify_applied(struct state *state);
void state_notify_restored(struct state *state);

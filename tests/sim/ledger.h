/* The account that the simulation keeps of MQTT: who published what and was told so, who had
 * subscribed from when to when, what came. Time is counted in moments (events of the clients); a
 * thing is certain from the answer on, and possible from the question on. What must be, and what
 * must not be, is judged from that alone, never from the inside of the broker. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define CLIENTS_MAX 24
#define NEVER       UINT64_MAX

/* A message, named by its number in the ledger, which is its payload. */
struct sent {
    uint64_t asked, told; /* moments; told = NEVER until acknowledged */
    uint64_t expires_ms;  /* if the broker had it at once; 0 = never */
    uint32_t repeats;     /* sent again by the publisher */
    uint32_t connection;  /* of its publisher; those of different ones may change places */
    uint8_t publisher, topic, qos, reason;
    bool retain, is_will, has_content, is_given_up;
    bool is_divided; /* before it was acknowledged, nodes did not know of each other's clients */
};

/* A subscription of a session, for as long as its options stay. */
struct held {
    uint64_t asked, told, end_asked, end_told;
    uint8_t filter, qos;
    bool no_local;
    bool
        is_end_early; /* its end was asked while a node had not applied all that was acknowledged */
};

/* One life of a session. */
struct life {
    GArray *held;     /* of struct held */
    GHashTable *came; /* number of the message -> times, those with DUP in the high half */
    uint32_t last[CLIENTS_MAX]; /* by publisher: the highest number that came */
    uint8_t client;
    bool is_persistent; /* it has been all the time */
};

enum will_fate { WILL_UNKNOWN, WILL_MUST, WILL_MUST_NOT };

struct ledger {
    uint64_t moment;
    GArray *sent;       /* of struct sent; the first is no message */
    guint checked;      /* those before it are settled */
    GArray *will_fates; /* of struct { guint message; enum will_fate fate; } */
    uint64_t came, duplicates;
    char *doing;         /* for the line of a failure */
    bool may_drop;       /* queues are short and drop their oldest: nothing must come */
    bool may_drop_wills; /* queues are short */
    /* With several nodes: another one delivers when it comes to it, also to who came meanwhile, and
     * may be cut off from what is committed. */
    unsigned nodes;
    uint64_t clock_ms_off; /* nodes may think so much of the time, while links are slow */
    bool is_behind;        /* a node has not applied what another has */
    guint unordered;       /* those up to it may change places: links were cut */
    guint unpromised; /* those up to it need not come to sessions that end with their connection */
};

struct will_account {
    guint message;
    enum will_fate fate;
};

extern const char *const ledger_topics[];
extern const char *const ledger_filters[];
extern const unsigned ledger_topic_count, ledger_filter_count;
#define TOPIC_PLAIN     0 /* 6 of them */
#define TOPIC_SHARED    6 /* 2 */
#define TOPIC_WILL      8
#define TOPIC_RETAINED  9 /* one for each client and more, see ledger_topic() */
#define FILTER_ALL      0
#define FILTER_RETAINED 7
#define LEDGER_EXPIRY_S 20 /* of the messages that have one */

void ledger_init(struct ledger *ledger);
void ledger_deinit(struct ledger *ledger);
bool ledger_is_shared(uint8_t filter);
/* Free it. */
char *ledger_topic(uint8_t topic);
struct sent *ledger_sent(struct ledger *ledger, guint message);
guint ledger_publish(struct ledger *ledger, const struct sent *sent);
/* Nodes may not know of each other's clients now. */
void ledger_note_trouble(struct ledger *ledger);

struct life *life_new(uint8_t client, bool is_persistent);
void life_free(struct life *life);
/* Return the moment of asking, which is handed back with the answer: several may be under way for
 * one filter. */
uint64_t life_ask_subscribe(struct ledger *ledger, struct life *life, uint8_t filter, uint8_t qos,
                            bool no_local);
void life_tell_subscribed(struct ledger *ledger, struct life *life, uint8_t filter, uint64_t asked);
uint64_t life_ask_unsubscribe(struct ledger *ledger, struct life *life, uint8_t filter);
void life_tell_unsubscribed(struct ledger *ledger, struct life *life, uint8_t filter,
                            uint64_t asked);

struct arrival {
    guint message;
    uint8_t qos;
    bool retain, dup;
    uint64_t now_ms;
    uint32_t expiry_s; /* what is left of it */
    bool has_expiry;
    uint32_t ids[16];
    unsigned id_count;
};
/* Judges what came. */
void ledger_arrive(struct ledger *ledger, struct life *life, const char *topic,
                   const struct arrival *arrival);
/* When all is quiet: what must have come to this life has come. */
void ledger_settle_life(struct ledger *ledger, const struct life *life, bool is_connected);
/* What came to the share groups, over all lives. */
void ledger_settle_shares(struct ledger *ledger, struct life *const *lives, unsigned count);
/* `monitor` has had everything. */
void ledger_settle_wills(struct ledger *ledger, const struct life *monitor);
/* `message` (0 = none) is what is retained under this topic. */
void ledger_settle_retained(struct ledger *ledger, uint8_t topic, guint message);
void ledger_close_period(struct ledger *ledger, struct life *const *lives, unsigned count);

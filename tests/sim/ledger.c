/* See ledger.h. A broken rule ends the program with a line that names it; the seed that was printed
 * leads there again. */
#include "ledger.h"
#include "packet/reason.h"
#include "topic/name.h"
#include <stdio.h>
#include <stdlib.h>

const char *const ledger_topics[] = {"t/a", "t/b", "t/a/x", "t/b/x", "t/c",
                                     "u/a", "s/1", "s/2",   "w/x"};
const char *const ledger_filters[] = {"#",     "t/a", "t/b", "t/+",   "t/#",
                                      "t/+/x", "+/a", "r/#", "r/+/0", "$share/g/s/#"};
const unsigned ledger_topic_count = G_N_ELEMENTS(ledger_topics),
               ledger_filter_count = G_N_ELEMENTS(ledger_filters);

#define DUP_ONE (1u << 16)

static void fail(const struct ledger *ledger, guint message, const char *what)
{
    const struct sent *sent = &g_array_index(ledger->sent, struct sent, message);

    fprintf(stderr,
            "BROKEN: %s\n  moment %" G_GUINT64_FORMAT
            ", message %u: publisher %u topic %u qos %u retain %d will %d asked %" G_GUINT64_FORMAT
            " told %" G_GUINT64_FORMAT " reason 0x%02x repeats %u\n  %s\n",
            what, ledger->moment, message, sent->publisher, sent->topic, sent->qos, sent->retain,
            sent->is_will, sent->asked, sent->told, sent->reason, sent->repeats,
            ledger->doing ? ledger->doing : "");
    abort();
}

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){.moment = 1, .nodes = 1};
    ledger->sent = g_array_new(FALSE, TRUE, sizeof(struct sent));
    g_array_set_size(ledger->sent, 1);
    ledger->checked = 1;
    ledger->will_fates = g_array_new(FALSE, TRUE, sizeof(struct will_account));
}

void ledger_deinit(struct ledger *ledger)
{
    g_array_unref(ledger->sent);
    g_array_unref(ledger->will_fates);
    g_free(ledger->doing);
}

char *ledger_topic(uint8_t topic)
{
    return topic < TOPIC_RETAINED ? g_strdup(ledger_topics[topic])
                                  : g_strdup_printf("r/%u/%u", (topic - TOPIC_RETAINED) / 2u,
                                                    (topic - TOPIC_RETAINED) % 2u);
}

struct sent *ledger_sent(struct ledger *ledger, guint message)
{
    return &g_array_index(ledger->sent, struct sent, message);
}

guint ledger_publish(struct ledger *ledger, const struct sent *sent)
{
    g_array_append_vals(ledger->sent, sent, 1);
    ledger_sent(ledger, ledger->sent->len - 1)->asked = ++ledger->moment;
    ledger_sent(ledger, ledger->sent->len - 1)->told = NEVER;
    return ledger->sent->len - 1;
}

void ledger_note_trouble(struct ledger *ledger)
{
    ledger->unordered = ledger->sent->len;
    for (guint i = ledger->checked; i < ledger->sent->len; i++) {
        struct sent *sent = ledger_sent(ledger, i);
        sent->is_divided |= sent->qos > 0 && sent->told == NEVER;
    }
}

bool ledger_is_shared(uint8_t filter)
{
    return g_str_has_prefix(ledger_filters[filter], "$share/");
}

static bool matches(uint8_t filter, uint8_t topic)
{
    g_autofree char *name = ledger_topic(topic);
    struct bytes text = bytes_from_string(ledger_filters[filter]), share;

    topic_filter_split_shared(text, &share, &text);
    return topic_filter_matches(text, bytes_from_string(name));
}

/* ---- subscriptions ---- */

struct life *life_new(uint8_t client, bool is_persistent)
{
    struct life *life = g_new0(struct life, 1);

    life->client = client;
    life->is_persistent = is_persistent;
    life->held = g_array_new(FALSE, TRUE, sizeof(struct held));
    life->came = g_hash_table_new(NULL, NULL);
    return life;
}

void life_free(struct life *life)
{
    if (life) {
        g_array_unref(life->held);
        g_hash_table_unref(life->came);
        g_free(life);
    }
}

#define held_at(life, i) (&g_array_index((life)->held, struct held, i))

/* All of this filter that were asked before that moment end now: by question, or by answer. */
static void end_all(const struct ledger *ledger, struct life *life, uint8_t filter, uint64_t before,
                    bool is_told)
{
    uint64_t moment = ledger->moment;

    for (guint i = 0; i < life->held->len; i++) {
        struct held *held = held_at(life, i);
        if (held->filter == filter && held->asked < before) {
            held->is_end_early |= held->end_asked == NEVER && ledger->is_behind;
            held->end_asked = MIN(held->end_asked, moment);
            held->end_told = is_told ? MIN(held->end_told, moment) : held->end_told;
        }
    }
}

uint64_t life_ask_subscribe(struct ledger *ledger, struct life *life, uint8_t filter, uint8_t qos,
                            bool no_local)
{
    uint64_t moment = ++ledger->moment;
    struct held held = {.asked = moment,
                        .told = NEVER,
                        .end_asked = NEVER,
                        .end_told = NEVER,
                        .filter = filter,
                        .qos = qos,
                        .no_local = no_local};

    end_all(ledger, life, filter, moment, false);
    g_array_append_val(life->held, held);
    return moment;
}

void life_tell_subscribed(struct ledger *ledger, struct life *life, uint8_t filter, uint64_t asked)
{
    uint64_t moment = ++ledger->moment;

    end_all(ledger, life, filter, asked, true);
    for (guint i = 0; i < life->held->len; i++) {
        if (held_at(life, i)->asked == asked) {
            held_at(life, i)->told = moment;
        }
    }
}

uint64_t life_ask_unsubscribe(struct ledger *ledger, struct life *life, uint8_t filter)
{
    uint64_t moment = ++ledger->moment;

    end_all(ledger, life, filter, moment, false);
    return moment;
}

void life_tell_unsubscribed(struct ledger *ledger, struct life *life, uint8_t filter,
                            uint64_t asked)
{
    ++ledger->moment;
    end_all(ledger, life, filter, asked, true);
}

/* ---- what came ---- */

/* `is_retained`: it comes because of the subscribing, one's own too. */
static bool concerns(const struct life *life, const struct held *held, const struct sent *sent,
                     bool is_retained)
{
    bool is_own = held->no_local && !is_retained && sent->publisher == life->client;
    return !is_own && matches(held->filter, sent->topic);
}

static bool may_hold(const struct ledger *ledger, const struct held *held, const struct sent *sent)
{
    bool was_in_time =
        sent->topic >= TOPIC_RETAINED || ledger->nodes > 1 || held->asked <= sent->told;
    return was_in_time && held->end_told >= sent->asked;
}

static bool has_id(const struct arrival *arrival, uint8_t filter)
{
    for (unsigned i = 0; i < arrival->id_count; i++) {
        if (arrival->ids[i] == filter + 1u) {
            return true;
        }
    }
    return false;
}

static void describe(struct ledger *ledger, const struct life *life, const struct arrival *arrival)
{
    g_autoptr(GString) line = g_string_new(NULL);

    g_string_append_printf(line, "it came to client %u: qos %u retain %d dup %d ids", life->client,
                           arrival->qos, arrival->retain, arrival->dup);
    for (unsigned i = 0; i < arrival->id_count; i++) {
        g_string_append_printf(line, " %u", arrival->ids[i]);
    }
    for (guint i = 0; i < life->held->len; i++) {
        const struct held *held = held_at(life, i);
        g_string_append_printf(
            line,
            "\n  held '%s' (id %u) qos %u no-local %d asked %" G_GUINT64_FORMAT
            " told %" G_GINT64_FORMAT " end asked %" G_GINT64_FORMAT " end told %" G_GINT64_FORMAT,
            ledger_filters[held->filter], held->filter + 1u, held->qos, held->no_local, held->asked,
            (gint64)held->told, (gint64)held->end_asked, (gint64)held->end_told);
    }
    g_free(ledger->doing);
    ledger->doing = g_string_free(g_steal_pointer(&line), FALSE);
}

static void fail_arrival(struct ledger *ledger, const struct life *life,
                         const struct arrival *arrival, const char *what)
{
    describe(ledger, life, arrival);
    fail(ledger, arrival->message, what);
}

/* What the subscriptions of a life say about one message. */
struct verdict {
    int qos_most, qos_least;    /* -1 = none may, none must have brought it */
    unsigned explained;         /* identifiers */
    const struct held *unnamed; /* certain, but its identifier is missing */
};

static bool is_certain(const struct held *held, const struct sent *sent,
                       const struct arrival *arrival)
{
    return held->told <= sent->asked && held->end_asked == NEVER && !arrival->retain &&
           !ledger_is_shared(held->filter);
}

static void weigh(struct verdict *verdict, const struct held *held, bool must, bool is_named,
                  bool is_first)
{
    verdict->qos_most = MAX(verdict->qos_most, held->qos);
    verdict->explained += is_named && is_first;
    if (must) {
        verdict->qos_least = MAX(verdict->qos_least, held->qos);
        verdict->unnamed = is_named ? verdict->unnamed : held;
    }
}

/* The filters that may have brought it, and those that must have: QoS (MQTT 5, 3.3.4-2) and
 * identifiers (3.3.4-3). */
static void judge_subscriptions(struct ledger *ledger, struct life *life, const struct sent *sent,
                                const struct arrival *arrival)
{
    struct verdict verdict = {.qos_most = -1, .qos_least = -1};
    bool seen[G_N_ELEMENTS(ledger_filters)] = {false};

    for (guint i = 0; i < life->held->len; i++) {
        const struct held *held = held_at(life, i);
        if (concerns(life, held, sent, arrival->retain) && may_hold(ledger, held, sent)) {
            bool is_named = has_id(arrival, held->filter);
            weigh(&verdict, held, is_certain(held, sent, arrival), is_named, !seen[held->filter]);
            seen[held->filter] |= is_named;
        }
    }
    if (verdict.qos_most < 0) {
        fail_arrival(ledger, life, arrival, "it came to a session that had not subscribed");
    }
    if (verdict.unnamed) {
        fail_arrival(ledger, life, arrival, "a subscription identifier is missing [MQTT-3.3.4-3]");
    }
    if (verdict.explained != arrival->id_count) {
        fail_arrival(ledger, life, arrival,
                     "it came with an identifier of no matching subscription");
    }
    if (arrival->qos > MIN(sent->qos, verdict.qos_most) ||
        (verdict.qos_least >= 0 && arrival->qos < MIN(sent->qos, verdict.qos_least))) {
        fail_arrival(ledger, life, arrival,
                     "it came with another QoS than subscribed [MQTT-3.3.4-2]");
    }
}

/* With QoS 0 a client that has changed the node may get from the new one, late, what the old one
 * gave it: neither knows of the other's. */
static bool may_come_again(const struct ledger *ledger, const struct arrival *arrival)
{
    return ledger->nodes > 1 && arrival->qos == 0 && arrival->message <= ledger->unordered &&
           !arrival->dup;
}

static void judge_repetition(struct ledger *ledger, struct life *life, const struct sent *sent,
                             const struct arrival *arrival, guint came)
{
    guint plain = came & (DUP_ONE - 1);

    ledger->duplicates++;
    if (arrival->qos == 2) {
        fail_arrival(ledger, life, arrival, "QoS 2 came twice [MQTT-4.3.3-10]");
    }
    if ((!arrival->dup || arrival->qos == 0) && plain > (sent->qos == 1 ? sent->repeats : 0)) {
        fail_arrival(ledger, life, arrival, "it came twice without DUP [MQTT-3.3.1-1]");
    }
}

static void judge_order(struct ledger *ledger, struct life *life, const struct sent *sent,
                        const struct arrival *arrival)
{
    guint last = life->last[sent->publisher];

    if (arrival->message <= last && arrival->message > ledger->unordered &&
        ledger_sent(ledger, last)->connection == sent->connection) {
        fail_arrival(ledger, life, arrival,
                     "it came after a later one of its publisher [MQTT-4.6.0-6]");
    }
    life->last[sent->publisher] = MAX(last, arrival->message);
}

static void judge_times(struct ledger *ledger, struct life *life, const struct sent *sent,
                        const struct arrival *arrival)
{
    gpointer key = GUINT_TO_POINTER(arrival->message);
    guint came = GPOINTER_TO_UINT(g_hash_table_lookup(life->came, key));

    if (came > 0 && !may_come_again(ledger, arrival)) {
        judge_repetition(ledger, life, sent, arrival, came);
    }
    g_hash_table_insert(life->came, key, GUINT_TO_POINTER(came + (arrival->dup ? DUP_ONE : 1)));
    if (came == 0 && !sent->is_will &&
        sent->repeats == 0) { /* a repeated one has two places in the order */
        judge_order(ledger, life, sent, arrival);
    }
}

static void judge_expiry(struct ledger *ledger, const struct life *life, const struct sent *sent,
                         const struct arrival *arrival)
{
    uint64_t left_ms = arrival->expiry_s * 1000ull;

    if (arrival->has_expiry != (sent->expires_ms != 0)) {
        fail_arrival(ledger, life, arrival, "its expiry is lost, or made up [MQTT-3.3.2-6]");
    }
    if (arrival->has_expiry && arrival->expiry_s == 0 && !arrival->dup) {
        fail_arrival(ledger, life, arrival, "it had expired before it was sent [MQTT-3.3.2-5]");
    }
    if (left_ms > LEDGER_EXPIRY_S * 1000ull ||
        arrival->now_ms + left_ms + 500 + ledger->clock_ms_off < sent->expires_ms) {
        fail_arrival(ledger, life, arrival, "its expiry is wrong [MQTT-3.3.2-6]");
    }
}

void ledger_arrive(struct ledger *ledger, struct life *life, const char *topic,
                   const struct arrival *arrival)
{
    ++ledger->moment;
    ledger->came++;
    if (arrival->message == 0 || arrival->message >= ledger->sent->len) {
        fail(ledger, 0, "a message came that nobody sent");
    }
    const struct sent *sent = ledger_sent(ledger, arrival->message);
    g_autofree char *expected = ledger_topic(sent->topic);
    if (strcmp(topic, expected) != 0) {
        fail_arrival(ledger, life, arrival, "it came under another topic");
    }
    judge_subscriptions(ledger, life, sent, arrival);
    judge_expiry(ledger, life, sent, arrival);
    if (sent->topic < TOPIC_RETAINED) {
        judge_times(ledger, life, sent, arrival);
    } else {
        g_hash_table_insert(life->came, GUINT_TO_POINTER(arrival->message), GUINT_TO_POINTER(1));
    }
}

/* ---- when all is quiet ---- */

static bool is_promised(const struct sent *sent)
{
    return sent->told != NEVER && sent->reason < 0x80 && sent->expires_ms == 0 && !sent->is_will &&
           sent->has_content && (sent->topic < TOPIC_SHARED || sent->topic >= TOPIC_RETAINED);
}

/* Must it have come to this life? */
static bool must_have_come(struct ledger *ledger, const struct life *life, guint message,
                           bool is_connected)
{
    const struct sent *sent = ledger_sent(ledger, message);
    bool is_certain = false;

    for (guint i = 0; is_promised(sent) && i < life->held->len; i++) {
        const struct held *held = held_at(life, i);
        bool holds = !ledger_is_shared(held->filter) && held->told <= sent->asked &&
                     held->end_asked >= sent->told && concerns(life, held, sent, false);
        /* A node that is cut off hears of it later, by what is subscribed then; so does one that
         * was not needed for the commit. */
        bool may_have_ended = ledger->nodes > 1 && held->end_asked != NEVER &&
                              (message <= ledger->unordered || held->is_end_early);
        is_certain |= holds && held->qos > 0 && !may_have_ended;
        if (holds && is_connected && sent->reason == 0x10) {
            fail(ledger, message, "its publisher was told that nobody subscribes");
        }
    }
    return is_certain && !ledger->may_drop;
}

void ledger_settle_life(struct ledger *ledger, const struct life *life, bool is_connected)
{
    guint first =
        life->is_persistent ? ledger->checked : MAX(ledger->checked, ledger->unpromised + 1);

    for (guint i = first; i < ledger->sent->len; i++) {
        if (must_have_come(ledger, life, i, is_connected) &&
            !g_hash_table_contains(life->came, GUINT_TO_POINTER(i))) {
            describe(ledger, life, &(struct arrival){.message = i});
            fail(ledger, i, "it was acknowledged and never came [MQTT-4.5.0-1]");
        }
    }
}

/* It was a member, as far as it had been told, before the message was sent. */
static bool was_member(const struct life *life, const struct sent *sent)
{
    for (guint i = 0; i < life->held->len; i++) {
        const struct held *held = held_at(life, i);
        if (ledger_is_shared(held->filter) && held->told <= sent->asked) {
            return true;
        }
    }
    return false;
}

/* What goes through the log to a group that its publisher's node did not know of is given by the
 * first node that has members (mqtt/deliver.c): while links are cut, each side has a first, and so
 * has each node while it has not heard of members that came when others did. */
static unsigned shares_most(const struct ledger *ledger, const struct sent *sent, bool has_newcomer)
{
    bool is_divided = sent->is_divided || (has_newcomer && sent->qos > 0);

    return (is_divided ? ledger->nodes : 1) + sent->repeats;
}

void ledger_settle_shares(struct ledger *ledger, struct life *const *lives, unsigned count)
{
    for (guint i = ledger->checked; i < ledger->sent->len; i++) {
        const struct sent *sent = ledger_sent(ledger, i);
        guint times = 0;
        bool has_newcomer = false;
        if (sent->topic < TOPIC_SHARED || sent->topic >= TOPIC_WILL) {
            continue;
        }
        for (unsigned j = 1; j < count;
             j++) { /* 0 is the monitor, which has its own subscription */
            guint came =
                lives[j]
                    ? GPOINTER_TO_UINT(g_hash_table_lookup(lives[j]->came, GUINT_TO_POINTER(i)))
                    : 0;
            times += came > 0;
            has_newcomer |= came > 0 && !was_member(lives[j], sent);
        }
        if (times > shares_most(ledger, sent, has_newcomer)) {
            fail(ledger, i, "it came to two members of a share group [MQTT-4.8.2-4]");
        }
    }
}

void ledger_settle_wills(struct ledger *ledger, const struct life *monitor)
{
    for (guint i = 0; i < ledger->will_fates->len; i++) {
        const struct will_account *account =
            &g_array_index(ledger->will_fates, struct will_account, i);
        bool came = g_hash_table_contains(monitor->came, GUINT_TO_POINTER(account->message));
        if (came && account->fate == WILL_MUST_NOT) {
            fail(ledger, account->message,
                 "a will came that was cancelled [MQTT-3.1.2-10] [MQTT-3.1.3-9]");
        }
        if (!came && account->fate == WILL_MUST && !ledger->may_drop_wills) {
            fail(ledger, account->message, "a will never came [MQTT-3.1.2-8]");
        }
    }
    g_array_set_size(ledger->will_fates, 0);
}

/* What may be retained under a topic, as its messages go by. */
struct retained_candidates {
    bool is_explained; /* what was found is one of them */
    bool may_be_none;
    bool may_be_none_again; /* by a removal that was repeated */
};

static void pass(struct retained_candidates *candidates, const struct sent *sent, bool is_found,
                 bool found_may_be_last)
{
    bool is_told = sent->told != NEVER && sent->qos > 0 && sent->reason < 0x80;

    candidates->may_be_none_again |= sent->qos == 1 && sent->repeats > 0 && !sent->has_content;
    if (is_told) { /* nothing before it may be left */
        candidates->may_be_none = !sent->has_content;
        candidates->is_explained = is_found || (candidates->is_explained && found_may_be_last);
    } else {
        candidates->may_be_none |= !sent->has_content;
        candidates->is_explained |= is_found;
    }
}

/* One that was never acknowledged, as below. */
static bool has_late_removal(struct ledger *ledger, uint8_t topic)
{
    for (guint i = 1; i <= ledger->unordered; i++) {
        const struct sent *sent = ledger_sent(ledger, i);
        if (sent->topic == topic && !sent->has_content && sent->told == NEVER) {
            return true;
        }
    }
    return false;
}

/* "No quorum" (MQTT 5, QoS 1) says that nobody knows: it may still come into the log. */
static bool is_refused(const struct ledger *ledger, const struct sent *sent)
{
    bool is_unknown = ledger->nodes > 1 && sent->reason == REASON_QUOTA_EXCEEDED;

    return sent->told != NEVER && sent->reason >= 0x80 && sent->repeats == 0 && !is_unknown;
}

/* A repeated QoS 1 message may come to the broker once more behind a QoS 2 one that it has already:
 * then it is the last. So may one that was never acknowledged, by an earlier connection to a node
 * that was cut off from the others. */
void ledger_settle_retained(struct ledger *ledger, uint8_t topic, guint message)
{
    struct retained_candidates candidates = {.may_be_none = true};
    const struct sent *found = ledger_sent(ledger, message);
    bool may_be_late = message <= ledger->unordered && found->told == NEVER;

    for (guint i = 1; i < ledger->sent->len; i++) {
        const struct sent *sent = ledger_sent(ledger, i);
        if (sent->topic == topic && !is_refused(ledger, sent)) {
            bool may_be_last =
                found->repeats > 0 || (may_be_late && found->connection != sent->connection);
            pass(&candidates, sent, message == i, may_be_last);
        }
    }
    if (message == 0 && !candidates.may_be_none && !candidates.may_be_none_again &&
        !has_late_removal(ledger, topic)) {
        fail(ledger, message, "a retained message is gone");
    }
    if (message != 0 && !candidates.is_explained) {
        fail(ledger, message, "a retained message is not the last one");
    }
}

void ledger_close_period(struct ledger *ledger, struct life *const *lives, unsigned count)
{
    ledger->checked = ledger->sent->len;
    for (unsigned i = 0; i < count; i++) {
        if (!lives[i]) {
            continue;
        }
        g_hash_table_remove_all(lives[i]->came);
        for (guint j = lives[i]->held->len; j-- > 0;) {
            if (held_at(lives[i], j)->end_told != NEVER) {
                g_array_remove_index(lives[i]->held, j);
            }
        }
    }
}

/* See cluster_vip.h. The leader holds the addresses while its lease lasts (cluster/lease.h):
 *
 *   leads --ping--> voters --echo--> lease --HOLD until--> keeper --HELD--> tickles, STATE to all
 *   leads no more, lease over, cut off, keeper silent --> RELEASE
 *   hands over: RELEASE --RELEASED--> RELEASED (term) to all --> leadership is transferred
 *
 * A new leader waits until no other lease can be left, unless it knows that the one before it holds
 * nothing: its end was proven, or it said RELEASED. That counts for the newest leader that we have
 * heard of: had there been another since, it could have held something only after an entry of its
 * term was on a majority, and then whoever is elected has that entry, and has heard of it.
 *
 * Frames on INGRESS: kind (1), then
 *   STATE     ingress/peer_states.h
 *   RELEASED  term (8)
 *   others    ingress/client_exchange.h */
#include "node/cluster_vip.h"
#include "base/clock.h"
#include "base/log.h"
#include "cluster/lease.h"
#include "ingress/client_exchange.h"
#include "ingress/ingress.h"
#include "ingress/peer_states.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/node.h"
#include <errno.h>
#include <string.h>

/* Of an election timeout, as heartbeats of the log (consensus/leadership.c), with which they
 * travel. */
#define PING_TENTHS    3
#define ALONE_LEASE_MS 10000 /* nobody else could take it: renewed now and then */
#define ALONE_RENEW_MS 4000
#define UNABLE_WAIT_MS 2000
#define BARRED_MS      2000u /* a transfer that failed may come late, but not so late */

enum { VIP_STATE = 1, VIP_RELEASED };

struct handing {
    uint64_t node_id;
    consensus_done done;
    void *owner;
    bool is_active;
};

/* Of a leader's lease, to be echoed. */
struct pending_ping {
    uint64_t node_id; /* 0 = none */
    uint64_t sent_ms, came_ms;
};

struct cluster_vip {
    struct node_cluster *cluster;
    struct ingress *ingress;
    struct client_exchange *clients;
    struct lease lease;
    struct timer *renew_timer;
    struct peer_states *peers;
    struct handing handing;
    struct pending_ping ping;
    uint64_t known_id, known_term; /* the newest leader that was heard of */
    uint64_t ended_term;           /* its leader holds nothing any more */
    uint64_t barred_term, barred_ms;
    uint64_t until_ms;  /* as last told to the keeper */
    uint64_t unable_ms; /* leading without being able to hold, since */
    uint32_t voters;
    bool is_old_ended, is_leading, is_free;
};

static uint64_t own_id(const struct cluster_vip *vip)
{
    return vip->cluster->node->identity.id;
}

static const struct state *state_of(const struct cluster_vip *vip)
{
    return vip->cluster->node->state;
}

/* ---- telling the others ---- */

static void tell_all(const struct cluster_vip *vip, struct bytes frame)
{
    if (vip->cluster->links) {
        links_send_all(vip->cluster->links, LINKS_INGRESS, frame);
    }
}

static GByteArray *describe(const struct cluster_vip *vip)
{
    uint8_t kind = VIP_STATE;
    GByteArray *bytes = g_byte_array_new();

    g_byte_array_append(bytes, &kind, 1);
    peer_states_describe(bytes, vip->ingress);
    return bytes;
}

static void tell_state(const struct cluster_vip *vip)
{
    g_autoptr(GByteArray) bytes = describe(vip);

    tell_all(vip, (struct bytes){bytes->data, bytes->len});
}

static void tell_released(const struct cluster_vip *vip)
{
    uint8_t frame[9] = {VIP_RELEASED};
    uint64_t term = GUINT64_TO_BE(vip->lease.term);

    memcpy(frame + 1, &term, sizeof term);
    tell_all(vip, (struct bytes){frame, sizeof frame});
}

/* ---- the lease ---- */

static void keep(struct cluster_vip *vip);

static bool is_barred(const struct cluster_vip *vip, uint64_t now_ms)
{
    uint32_t barred_ms = MAX(BARRED_MS, 2 * cluster_election_ms(vip->cluster));

    return vip->cluster->node->is_stopping ||
           (vip->barred_term == vip->lease.term && now_ms < vip->barred_ms + barred_ms);
}

static uint64_t lease_now(const struct cluster_vip *vip, uint64_t now_ms)
{
    uint64_t until_ms = lease_until_ms(&vip->lease, now_ms);

    if (until_ms == 0 || is_barred(vip, now_ms)) {
        return 0;
    }
    return vip->voters == 1 ? now_ms + ALONE_LEASE_MS : until_ms;
}

/* The keeper has let go, or will: on a busy machine, or when nobody answers. */
static void look_whether_late(const struct cluster_vip *vip, uint64_t until_ms, uint64_t now_ms)
{
    bool was_to_last = vip->until_ms != 0 && vip->lease.term != 0 && !is_barred(vip, now_ms) &&
                       ingress_is_able(vip->ingress);

    if (was_to_last && now_ms >= vip->until_ms) {
        log_warning("the virtual IP is let go: no majority has answered in time",
                    "late_ms=%" G_GUINT64_FORMAT " again=%s", now_ms - vip->until_ms,
                    until_ms != 0 ? "now" : "no");
    }
}

static void renew(struct cluster_vip *vip)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t until_ms = lease_now(vip, now_ms);

    look_whether_late(vip, until_ms, now_ms);
    if (until_ms != 0 || vip->until_ms != 0) {
        vip->until_ms = until_ms;
        ingress_lease(vip->ingress, until_ms);
    }
}

static void ping(void *owner, const struct consensus_member *member)
{
    struct cluster_vip *vip = owner;

    if (member->role == CONSENSUS_VOTER && member->node_id != own_id(vip) && vip->cluster->links) {
        links_ping(vip->cluster->links, member->node_id);
    }
}

/* Whose answer wakes us up anyway. */
static void ping_asked(void *owner, const struct consensus_member *member)
{
    const struct cluster_vip *vip = owner;

    if (consensus_is_asked(cluster_consensus(vip->cluster), member->node_id)) {
        ping(owner, member);
    }
}

static uint64_t ping_ms(const struct cluster_vip *vip)
{
    return vip->voters == 1 ? ALONE_RENEW_MS
                            : MAX(vip->lease.election_timeout_ms * PING_TENTHS / 10, 1);
}

/* Less is not told to the keeper: the second echo of a round adds a millisecond. */
static uint64_t worth_ms(const struct cluster_vip *vip)
{
    return MAX(ping_ms(vip) / 2, 1);
}

struct choice {
    const struct cluster_vip *vip;
    uint64_t node_id;
};

static void choose(void *owner, const struct consensus_member *member)
{
    struct choice *choice = owner;
    const struct cluster_vip *vip = choice->vip;
    const struct cluster_node *row = state_find_node(state_of(vip), member->node_id);

    if (member->role == CONSENSUS_VOTER && row && !row->is_drained &&
        member->silent_ms <= vip->lease.election_timeout_ms &&
        peer_states_is_able(vip->peers, member->node_id) && vip->cluster->links &&
        links_is_up(vip->cluster->links, member->node_id)) {
        choice->node_id = member->node_id;
    }
}

/* A voter that could hold the addresses; 0 = none. */
static uint64_t find_able(const struct cluster_vip *vip)
{
    struct choice choice = {vip, 0};

    consensus_for_each_member(cluster_consensus(vip->cluster), choose, &choice);
    return choice.node_id;
}

static void on_let_go(void *owner, int error)
{
}

/* A leader that cannot hold them lets somebody lead who can. */
static void look_whether_able(struct cluster_vip *vip, uint64_t now_ms)
{
    if (ingress_is_able(vip->ingress)) {
        vip->unable_ms = 0;
    } else if (vip->unable_ms == 0) {
        vip->unable_ms = now_ms;
    }
    bool has_lasted = vip->unable_ms != 0 && (now_ms >= vip->unable_ms + UNABLE_WAIT_MS ||
                                              ingress_holds_any(vip->ingress));
    uint64_t other = has_lasted && vip->is_leading ? find_able(vip) : 0;
    if (other != 0 && cluster_vip_hand_over(vip, other, on_let_go, NULL) == 0) {
        log_info("leadership goes to a node that can hold the virtual IP",
                 "node=%016" G_GINT64_MODIFIER "x", other);
        vip->unable_ms = now_ms;
    }
}

/* Leadership that waited for it can go on to its heir. */
static void look_whether_free(struct cluster_vip *vip, uint64_t now_ms)
{
    bool was_free = vip->is_free;

    vip->is_free = lease_is_free(&vip->lease, now_ms);
    if (vip->is_free && !was_free) {
        cluster_roles_look(vip->cluster);
    }
}

static bool has_to_keep(const struct cluster_vip *vip)
{
    return vip->lease.term != 0 && state_vip_count(state_of(vip)) > 0 &&
           !vip->cluster->node->is_stopping;
}

/* `is_due`: whatever the keeper knows already, and by all voters. */
static void go_on(struct cluster_vip *vip, bool is_due)
{
    uint64_t now_ms = clock_now_ms();

    consensus_for_each_member(cluster_consensus(vip->cluster),
                              is_due || vip->until_ms == 0 ? ping : ping_asked, vip);
    if (is_due || vip->until_ms == 0 || lease_now(vip, now_ms) == 0) {
        renew(vip);
    }
    look_whether_free(vip, now_ms);
    look_whether_able(vip, now_ms);
    uint64_t next_ms = now_ms + ping_ms(vip);
    uint64_t lease_ms = lease_next_ms(&vip->lease, now_ms);
    if (vip->until_ms == 0 && lease_ms > now_ms) {
        next_ms = MIN(next_ms, lease_ms);
    }
    timer_start(vip->renew_timer, next_ms - now_ms);
}

/* While this node leads and there are addresses. Without any there is no lease that could be over
 * when one comes. */
static void keep(struct cluster_vip *vip)
{
    if (has_to_keep(vip)) {
        go_on(vip, true);
        return;
    }
    timer_stop(vip->renew_timer);
    if (vip->until_ms != 0 && state_vip_count(state_of(vip)) == 0) {
        vip->until_ms = 0;
        ingress_lease(vip->ingress, 0);
    }
}

/* The pings go out with them, before the timer. The echoes will tell until when the lease is; who
 * votes alone gets none, and renews by the timer. */
void cluster_vip_on_beats(struct cluster_vip *vip)
{
    if (has_to_keep(vip) && vip->voters > 1) {
        go_on(vip, false);
    }
}

static void on_renew_timer(void *owner)
{
    keep(owner);
}

/* What the voter promised counts from when it heard us, but not from before we led: it did hear us
 * lead, in this term. */
void cluster_vip_on_echo(struct cluster_vip *vip, uint64_t node_id, const struct links_echo *echo)
{
    uint64_t now_ms = clock_now_ms(), led_ms = vip->lease.led_ms;

    if (echo->term != vip->lease.term || echo->sent_ms < led_ms || echo->sent_ms > now_ms) {
        return;
    }
    uint64_t heard_ms = echo->age_ms < echo->sent_ms ? echo->sent_ms - echo->age_ms : 0;
    lease_echo(&vip->lease, node_id, MAX(heard_ms, led_ms));
    lease_other(&vip->lease, node_id, now_ms - MIN(echo->other_ms, now_ms));
    if (has_to_keep(vip) && lease_now(vip, now_ms) >= vip->until_ms + worth_ms(vip)) {
        renew(vip);
    }
    look_whether_free(vip, now_ms);
}

/* ---- the promise of a voter ---- */

static void echo_pending(struct cluster_vip *vip)
{
    struct pending_ping *ping = &vip->ping;
    const struct consensus *consensus = cluster_consensus(vip->cluster);
    uint64_t heard_ms = consensus_heard_ms(consensus);

    if (ping->node_id == 0 || ping->node_id != vip->known_id || heard_ms == 0) {
        return;
    }
    uint64_t age_ms = ping->came_ms > heard_ms ? ping->came_ms - heard_ms : 0;
    uint64_t other_ms = clock_now_ms() - consensus_heard_other_ms(consensus, ping->node_id);
    struct links_echo echo = {ping->sent_ms, vip->known_term, (uint32_t)MIN(age_ms, UINT32_MAX),
                              (uint32_t)MIN(other_ms, UINT32_MAX)};
    links_echo(vip->cluster->links, ping->node_id, &echo);
    ping->node_id = 0;
}

/* From a leader that is not known yet: it is echoed when he is. */
void cluster_vip_on_ping(struct cluster_vip *vip, uint64_t node_id, uint64_t sent_ms)
{
    vip->ping = (struct pending_ping){node_id, sent_ms, clock_now_ms()};
    if (vip->cluster->leader_id == node_id) {
        echo_pending(vip);
    }
}

/* ---- who leads ---- */

void cluster_vip_on_leader(struct cluster_vip *vip, uint64_t leader_id, uint64_t term)
{
    bool was_told = vip->known_term != 0 && vip->ended_term == vip->known_term;
    vip->unable_ms = 0;
    if (leader_id != 0 && leader_id != vip->known_id && vip->known_id != 0 && !was_told &&
        vip->cluster->node->broker) {
        broker_peer_silent(vip->cluster->node->broker, vip->known_id);
    }
    if (leader_id == own_id(vip)) {
        vip->is_old_ended = vip->voters == 1 || vip->known_id == leader_id || was_told;
        lease_lead(&vip->lease, term, clock_now_ms());
        lease_other(&vip->lease, leader_id,
                    consensus_heard_other_ms(cluster_consensus(vip->cluster), leader_id));
        if (vip->is_leading) { /* all the time: libraft names nobody while it hands over */
            lease_applied(&vip->lease, clock_now_ms(), vip->is_old_ended);
        }
        keep(vip);
    } else {
        lease_lose(&vip->lease);
        renew(vip);
        timer_stop(vip->renew_timer);
    }
    if (leader_id != 0) {
        vip->known_id = leader_id;
        vip->known_term = term;
        echo_pending(vip);
    }
}

void cluster_vip_on_leading(struct cluster_vip *vip, bool is_leading)
{
    vip->is_leading = is_leading;
    if (is_leading) {
        lease_applied(&vip->lease, clock_now_ms(), vip->is_old_ended);
        keep(vip);
    }
}

void cluster_vip_ended(struct cluster_vip *vip, uint64_t term)
{
    vip->ended_term = MAX(vip->ended_term, term);
}

static void add_voter(void *owner, const struct consensus_member *member)
{
    GArray *voters = owner;

    if (member->role == CONSENSUS_VOTER && voters->len < LEASE_VOTERS_MAX) {
        g_array_append_val(voters, member->node_id);
    }
}

void cluster_vip_on_members(struct cluster_vip *vip)
{
    g_autoptr(GArray) voters = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    consensus_for_each_member(cluster_consensus(vip->cluster), add_voter, voters);
    lease_set_voters(&vip->lease, (const uint64_t *)voters->data, voters->len);
    vip->voters = voters->len;
    keep(vip);
}

void cluster_vip_on_settings(struct cluster_vip *vip)
{
    lease_set_election_timeout(&vip->lease, state_settings(state_of(vip))->election_timeout_ms);
}

void cluster_vip_on_table(struct cluster_vip *vip)
{
    ingress_set(vip->ingress, state_of(vip), vip->is_leading);
    keep(vip);
}

void cluster_vip_serve(struct cluster_vip *vip)
{
    ingress_ready(vip->ingress);
    cluster_vip_on_settings(vip);
    cluster_vip_on_members(vip);
    ingress_set(vip->ingress, state_of(vip), false);
    keep(vip);
}

/* ---- handing over ---- */

static void on_handed_over(void *owner, int error)
{
    struct cluster_vip *vip = owner;
    struct handing handing = vip->handing;

    vip->handing.is_active = false;
    handing.done(handing.owner, error);
}

/* A leader that was elected a moment ago may hold nothing itself, while the one before it still
 * does. */
static bool does_nobody_hold(const struct cluster_vip *vip)
{
    return vip->lease.term != 0 &&
           (state_vip_count(state_of(vip)) == 0 || lease_is_free(&vip->lease, clock_now_ms()));
}

bool cluster_vip_may_hand_over(const struct cluster_vip *vip)
{
    return does_nobody_hold(vip) ||
           clock_now_ms() >= vip->lease.led_ms + vip->lease.election_timeout_ms;
}

/* What is not certain is not told: the next one waits, and looks whether somebody has it. */
static void on_given_up(void *owner, bool is_certain)
{
    struct cluster_vip *vip = owner;
    uint64_t to = vip->handing.node_id ? vip->handing.node_id : find_able(vip);

    if (is_certain && does_nobody_hold(vip)) {
        tell_released(vip);
    }
    int r = consensus_transfer(cluster_consensus(vip->cluster), to, on_handed_over, vip);
    if (r < 0) {
        vip->barred_ms = 0; /* it was not even begun */
        on_handed_over(vip, r);
    }
}

int cluster_vip_hand_over(struct cluster_vip *vip, uint64_t node_id, consensus_done done,
                          void *owner)
{
    if (vip->handing.is_active) {
        return -EBUSY;
    }
    vip->handing = (struct handing){node_id, done, owner, true};
    vip->barred_term = vip->lease.term;
    vip->barred_ms = clock_now_ms();
    vip->until_ms = 0;
    ingress_give_up(vip->ingress, on_given_up, vip);
    return 0;
}

static void send_clients(void *owner, uint64_t node_id, struct bytes frame)
{
    const struct cluster_vip *vip = owner;

    if (node_id == 0) {
        tell_all(vip, frame);
    } else if (vip->cluster->links) {
        links_send(vip->cluster->links, node_id, LINKS_INGRESS, frame);
    }
}

/* ---- what the keeper tells ---- */

static void on_held(void *owner, const struct virtual_address *row)
{
    const struct cluster_vip *vip = owner;

    client_exchange_held(vip->clients);
}

static void on_changed(void *owner)
{
    struct cluster_vip *vip = owner;

    tell_state(vip);
}

static const struct ingress_events ingress_calls = {on_held, on_changed};

void cluster_vip_accepted(struct cluster_vip *vip, const struct stream *stream)
{
    client_exchange_accepted(vip->clients, stream_descriptor(stream));
}

/* ---- what the others tell ---- */

void cluster_vip_on_frame(struct cluster_vip *vip, uint64_t node_id, struct bytes payload)
{
    uint64_t term;

    if (payload.length == 0) {
        return;
    }
    struct bytes body = {payload.at + 1, payload.length - 1};
    switch (payload.at[0]) {
    case VIP_STATE:
        peer_states_told(vip->peers, node_id, body);
        break;
    case VIP_RELEASED:
        if (body.length == sizeof term) {
            memcpy(&term, body.at, sizeof term);
            cluster_vip_ended(vip, GUINT64_FROM_BE(term));
        }
        break;
    default:
        client_exchange_on_frame(vip->clients, node_id, payload.at[0], body);
    }
}

void cluster_vip_on_up(struct cluster_vip *vip, uint64_t node_id)
{
    g_autoptr(GByteArray) bytes = describe(vip);

    links_send(vip->cluster->links, node_id, LINKS_INGRESS,
               (struct bytes){bytes->data, bytes->len});
    client_exchange_tell(vip->clients, node_id);
    keep(vip);
}

void cluster_vip_on_down(struct cluster_vip *vip, uint64_t node_id)
{
    peer_states_forget(vip->peers, node_id); /* its clients stay: they are to be tickled */
    keep(vip);                               /* its echo may be the one that was asked for */
}

void cluster_vip_on_socket(struct cluster_vip *vip, uint32_t number, int fd)
{
    ingress_guard(vip->ingress, number, fd);
}

void cluster_vip_on_socket_done(struct cluster_vip *vip, uint32_t number)
{
    ingress_unguard(vip->ingress, number);
}

/* ---- for the API ---- */

bool cluster_vip_is_holder(const struct cluster_vip *vip, uint64_t node_id)
{
    return node_id == own_id(vip) ? ingress_holds_any(vip->ingress)
                                  : peer_states_is_holder(vip->peers, node_id);
}

bool cluster_vip_is_unable(const struct cluster_vip *vip, uint64_t node_id)
{
    return node_id == own_id(vip) ? !ingress_is_able(vip->ingress)
                                  : peer_states_is_unable(vip->peers, node_id);
}

void cluster_vip_facts(struct cluster_vip *vip, const struct virtual_address *row,
                       struct api_vip_facts *facts)
{
    facts->holder_id =
        ingress_holds(vip->ingress, row) ? own_id(vip) : peer_states_holder(vip->peers, row);
    facts->problem = ingress_problem(vip->ingress, row);
    if (!facts->problem) {
        facts->problem = peer_states_problem(vip->peers, row);
    }
    if (facts->holder_id == 0 && !facts->problem) {
        facts->problem = cluster_vip_problem(vip);
    }
}

const char *cluster_vip_problem(const struct cluster_vip *vip)
{
    return ingress_is_able(vip->ingress) || peer_states_is_any_able(vip->peers)
               ? NULL
               : "no node may hold a virtual IP: start microcloud as root or by its systemd unit, "
                 "without --no-keeper";
}

/* ---- life ---- */

struct cluster_vip *cluster_vip_new(struct node_cluster *cluster, struct keeper_ends keeper)
{
    struct cluster_vip *vip = g_new0(struct cluster_vip, 1);

    vip->cluster = cluster;
    vip->peers = peer_states_new();
    vip->renew_timer = timer_new(cluster->node->loop, on_renew_timer, vip);
    vip->ingress = ingress_new(cluster->node->loop, keeper, &ingress_calls, vip);
    vip->clients =
        client_exchange_new(&(struct client_exchange_options){.loop = cluster->node->loop,
                                                              .ingress = vip->ingress,
                                                              .own_id = cluster->node->identity.id,
                                                              .send = send_clients,
                                                              .owner = vip});
    lease_init(&vip->lease, cluster->node->identity.id, 300);
    return vip;
}

void cluster_vip_free(struct cluster_vip *vip)
{
    if (vip) {
        timer_free(vip->renew_timer);
        client_exchange_free(vip->clients);
        ingress_free(vip->ingress);
        peer_states_free(vip->peers);
        g_free(vip);
    }
}

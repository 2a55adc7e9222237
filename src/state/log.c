/* The happy path is four short translations; the rest is what fails: an append that is refused
 * keeps its reason for the proposer, a group that is refused ends its proposals, an entry that
 * cannot be read ends the node. */
#include "state/log.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "state/record.h"
#include "state/snapshot.h"
#include <errno.h>

G_STATIC_ASSERT(STATE_GROUP_HEADER_BYTES == CONSENSUS_GROUP_HEADER_BYTES);
G_STATIC_ASSERT(STATE_RECORD_BYTES_MAX == CONSENSUS_RECORD_BYTES_MAX);

struct state_log_link {
    struct state *state;
    struct consensus *consensus;
    struct state_log_events events;
    int append_error;
    bool has_failed; /* nothing is applied any more */
};

static uint8_t *on_append(void *owner, size_t length)
{
    struct state_log_link *link = owner;
    return consensus_append(link->consensus, length, &link->append_error);
}

static int on_append_error(void *owner)
{
    const struct state_log_link *link = owner;
    return link->append_error;
}

static void on_apply(void *owner, uint64_t index, struct bytes entry)
{
    struct state_log_link *link = owner;
    g_autoptr(GError) error = NULL;
    if (!link->has_failed && state_apply(link->state, index, entry, &error) < 0) {
        link->has_failed = true;
        link->events.on_fatal(link->events.owner, error->message);
    }
}

static void on_group_begin(void *owner, uint8_t header[CONSENSUS_GROUP_HEADER_BYTES])
{
    struct state_log_link *link = owner;
    const struct state_log_events *events = &link->events;
    state_group_begin(link->state,
                      events->unix_ms ? events->unix_ms(events->owner) : clock_unix_ms(), header);
}

static void on_group_failed(void *owner, const uint8_t header[CONSENSUS_GROUP_HEADER_BYTES],
                            int error)
{
    struct state_log_link *link = owner;
    struct record_header decoded;
    struct bytes bytes = {header, CONSENSUS_GROUP_HEADER_BYTES};
    int r = record_header_decode(&decoded, bytes, NULL);
    g_assert(r == 0); /* it was written by on_group_begin */
    state_group_failed(link->state, decoded.first_sequence, error);
}

static void on_release(void *owner)
{
    state_snapshot_free(owner);
}

static int on_snapshot(void *owner, struct consensus_snapshot *out)
{
    struct state_log_link *link = owner;
    if (link->has_failed) {
        return -EIO;
    }
    struct state_snapshot *snapshot = state_snapshot_new(link->state);
    out->pieces = state_snapshot_pieces(snapshot, &out->count);
    out->release = on_release;
    out->release_owner = snapshot;
    return 0;
}

static int on_restore(void *owner, struct bytes snapshot, GError **error)
{
    struct state_log_link *link = owner;
    return state_restore(link->state, snapshot, error);
}

static void on_state(void *owner, enum consensus_state state)
{
    struct state_log_link *link = owner;
    if (link->events.on_state) {
        link->events.on_state(link->events.owner, state);
    }
}

static void on_leader(void *owner, uint64_t leader_id, uint64_t term)
{
    struct state_log_link *link = owner;
    if (link->events.on_leader) {
        link->events.on_leader(link->events.owner, leader_id, term);
    }
}

static void on_members(void *owner)
{
    struct state_log_link *link = owner;
    if (link->events.on_members) {
        link->events.on_members(link->events.owner);
    }
}

static void on_fatal(void *owner, const char *message)
{
    struct state_log_link *link = owner;
    link->has_failed = true;
    link->events.on_fatal(link->events.owner, message);
}

static const struct consensus_events consensus_events = {
    .on_apply = on_apply,
    .on_group_begin = on_group_begin,
    .on_group_failed = on_group_failed,
    .on_snapshot = on_snapshot,
    .on_restore = on_restore,
    .on_state = on_state,
    .on_leader = on_leader,
    .on_members = on_members,
    .on_fatal = on_fatal,
};

struct state_log_link *state_log_link_new(const struct state_log_options *options, GError **error)
{
    struct state_log_link *link = g_new0(struct state_log_link, 1);
    struct state_log log = {on_append, link, on_append_error};
    struct consensus_options consensus = options->consensus;
    consensus.events = &consensus_events;
    consensus.owner = link;
    link->events = options->events;
    link->state = state_new(&options->state, &log);
    link->consensus = consensus_new(&consensus, error);
    if (!link->consensus) {
        state_log_link_free(link);
        return NULL;
    }
    return link;
}

void state_log_link_free(struct state_log_link *link)
{
    if (link) {
        consensus_free(link->consensus);
        state_free(link->state);
        g_free(link);
    }
}

struct state *state_log_link_state(const struct state_log_link *link)
{
    return link->state;
}

struct consensus *state_log_link_consensus(const struct state_log_link *link)
{
    return link->consensus;
}

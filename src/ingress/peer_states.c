/* See peer_states.h. */
#include "ingress/peer_states.h"
#include "ingress/ingress.h"
#include "state/cluster_tables.h"
#include <arpa/inet.h>
#include <string.h>

#define KEY_BYTES     17 /* family, address */
#define ROW_BYTES     (KEY_BYTES + 2)
#define PROBLEM_BYTES 200

struct row {
    uint8_t key[KEY_BYTES];
    bool is_held;
    char *problem; /* owned; NULL = none */
};

struct peer {
    uint64_t node_id;
    bool is_able;
    GArray *rows; /* of struct row */
};

struct peer_states {
    GPtrArray *peers; /* of struct peer, owned; in the order in which they were first heard of */
};

static void row_clear(void *memory)
{
    g_free(((struct row *)memory)->problem);
}

static void peer_free(void *memory)
{
    struct peer *peer = memory;

    g_array_unref(peer->rows);
    g_free(peer);
}

static struct peer *peer_at(const struct peer_states *states, guint at)
{
    return g_ptr_array_index(states->peers, at);
}

static struct peer *find(const struct peer_states *states, uint64_t node_id)
{
    for (guint i = 0; i < states->peers->len; i++) {
        if (peer_at(states, i)->node_id == node_id) {
            return peer_at(states, i);
        }
    }
    return NULL;
}

static struct row *find_row(const struct peer *peer, const uint8_t key[KEY_BYTES])
{
    for (guint i = 0; i < peer->rows->len; i++) {
        struct row *row = &g_array_index(peer->rows, struct row, i);
        if (memcmp(row->key, key, KEY_BYTES) == 0) {
            return row;
        }
    }
    return NULL;
}

static const struct row *find_vip(const struct peer *peer, const struct virtual_address *vip)
{
    uint8_t key[KEY_BYTES] = {vip->is_ipv6 ? 6 : 4};

    inet_pton(vip->is_ipv6 ? AF_INET6 : AF_INET, vip->address, key + 1);
    return find_row(peer, key);
}

/* ---- telling ---- */

static void describe_one(void *owner, const struct ingress_status *status)
{
    GByteArray *bytes = owner;
    size_t length = status->problem ? MIN(strlen(status->problem), PROBLEM_BYTES) : 0;
    uint8_t row[ROW_BYTES] = {status->is_ipv6 ? 6 : 4};

    memcpy(row + 1, status->address, status->is_ipv6 ? 16 : 4);
    row[KEY_BYTES] = status->is_held;
    row[KEY_BYTES + 1] = (uint8_t)length;
    g_byte_array_append(bytes, row, sizeof row);
    if (length > 0) {
        g_byte_array_append(bytes, (const uint8_t *)status->problem, (guint)length);
    }
}

void peer_states_describe(GByteArray *bytes, const struct ingress *ingress)
{
    uint8_t is_able = ingress_is_able(ingress);

    g_byte_array_append(bytes, &is_able, 1);
    ingress_for_each(ingress, describe_one, bytes);
}

/* ---- being told ---- */

static void note_holder(struct peer_states *states, const struct peer *holder,
                        const uint8_t key[KEY_BYTES])
{
    for (guint i = 0; i < states->peers->len; i++) {
        struct row *row = peer_at(states, i) == holder ? NULL : find_row(peer_at(states, i), key);
        if (row) {
            row->is_held = false;
        }
    }
}

void peer_states_told(struct peer_states *states, uint64_t node_id, struct bytes state)
{
    struct peer *peer = find(states, node_id);

    if (state.length < 1) {
        return;
    }
    if (!peer) {
        peer = g_new0(struct peer, 1);
        *peer = (struct peer){node_id, false, g_array_new(FALSE, FALSE, sizeof(struct row))};
        g_array_set_clear_func(peer->rows, row_clear);
        g_ptr_array_add(states->peers, peer);
    }
    peer->is_able = state.at[0] != 0;
    g_array_set_size(peer->rows, 0);
    for (size_t at = 1; at + ROW_BYTES <= state.length;) {
        const uint8_t *bytes = state.at + at;
        size_t length = bytes[KEY_BYTES + 1];
        if (length > state.length - at - ROW_BYTES) {
            return;
        }
        struct row row = {.is_held = bytes[KEY_BYTES] != 0};
        memcpy(row.key, bytes, KEY_BYTES);
        row.problem =
            length ? g_utf8_make_valid((const char *)bytes + ROW_BYTES, (gssize)length) : NULL;
        g_array_append_val(peer->rows, row);
        if (row.is_held) {
            note_holder(states, peer, row.key);
        }
        at += ROW_BYTES + length;
    }
}

void peer_states_forget(struct peer_states *states, uint64_t node_id)
{
    struct peer *peer = find(states, node_id);

    if (peer) {
        g_ptr_array_remove(states->peers, peer);
    }
}

/* ---- looking ---- */

bool peer_states_is_able(const struct peer_states *states, uint64_t node_id)
{
    const struct peer *peer = find(states, node_id);

    return peer && peer->is_able;
}

bool peer_states_is_unable(const struct peer_states *states, uint64_t node_id)
{
    const struct peer *peer = find(states, node_id);

    return peer && !peer->is_able;
}

bool peer_states_is_any_able(const struct peer_states *states)
{
    for (guint i = 0; i < states->peers->len; i++) {
        if (peer_at(states, i)->is_able) {
            return true;
        }
    }
    return false;
}

bool peer_states_is_holder(const struct peer_states *states, uint64_t node_id)
{
    const struct peer *peer = find(states, node_id);

    for (guint i = 0; peer && i < peer->rows->len; i++) {
        if (g_array_index(peer->rows, struct row, i).is_held) {
            return true;
        }
    }
    return false;
}

uint64_t peer_states_holder(const struct peer_states *states, const struct virtual_address *vip)
{
    for (guint i = 0; i < states->peers->len; i++) {
        const struct row *row = find_vip(peer_at(states, i), vip);
        if (row && row->is_held) {
            return peer_at(states, i)->node_id;
        }
    }
    return 0;
}

const char *peer_states_problem(const struct peer_states *states, const struct virtual_address *vip)
{
    for (guint i = 0; i < states->peers->len; i++) {
        const struct row *row = find_vip(peer_at(states, i), vip);
        if (row && row->problem) {
            return row->problem;
        }
    }
    return NULL;
}

/* ---- life ---- */

struct peer_states *peer_states_new(void)
{
    struct peer_states *states = g_new0(struct peer_states, 1);

    states->peers = g_ptr_array_new_with_free_func(peer_free);
    return states;
}

void peer_states_free(struct peer_states *states)
{
    if (states) {
        g_ptr_array_unref(states->peers);
        g_free(states);
    }
}

/* See call.h. */
#include "node/call.h"
#include <string.h>

#define NODES_HEAD_BYTES 9 /* of CALL_NODES */
#define NODE_HEAD_BYTES  9 /* of each of them */

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

bool call_is(struct bytes call, enum call_kind kind)
{
    return call.length > 0 && call.at[0] == kind;
}

/* ---- ended ---- */

void call_put_ended(uint8_t call[CALL_ENDED_BYTES], const struct call_ended *ended)
{
    const uint64_t words[] = {GUINT64_TO_LE(ended->leader_id), GUINT64_TO_LE(ended->term),
                              GUINT64_TO_LE(ended->last_index), GUINT64_TO_LE(ended->last_term)};

    call[0] = CALL_ENDED;
    memcpy(call + 1, words, sizeof words);
}

bool call_get_ended(struct bytes call, struct call_ended *ended)
{
    if (!call_is(call, CALL_ENDED) || call.length != CALL_ENDED_BYTES) {
        return false;
    }
    *ended = (struct call_ended){
        GUINT64_FROM_LE(get_u64(call.at + 1)), GUINT64_FROM_LE(get_u64(call.at + 9)),
        GUINT64_FROM_LE(get_u64(call.at + 17)), GUINT64_FROM_LE(get_u64(call.at + 25))};
    return true;
}

/* ---- nodes ---- */

void call_put_nodes(GByteArray *call, uint64_t index)
{
    uint8_t kind = CALL_NODES;

    index = GUINT64_TO_BE(index);
    g_byte_array_append(call, &kind, 1);
    g_byte_array_append(call, (const uint8_t *)&index, sizeof index);
}

void call_put_node(GByteArray *call, uint64_t id, const char *address)
{
    uint8_t length = (uint8_t)MIN(strlen(address), UINT8_MAX);

    id = GUINT64_TO_BE(id);
    g_byte_array_append(call, (const uint8_t *)&id, sizeof id);
    g_byte_array_append(call, &length, 1);
    g_byte_array_append(call, (const uint8_t *)address, length);
}

bool call_get_nodes(struct bytes call, uint64_t *index, size_t *at)
{
    if (!call_is(call, CALL_NODES) || call.length < NODES_HEAD_BYTES) {
        return false;
    }
    *index = GUINT64_FROM_BE(get_u64(call.at + 1));
    *at = NODES_HEAD_BYTES;
    return true;
}

bool call_next_node(struct bytes call, size_t *at, struct call_node *node)
{
    size_t left = call.length - *at;
    const uint8_t *head = call.at + *at;

    if (left < NODE_HEAD_BYTES || left - NODE_HEAD_BYTES < head[8]) {
        return false;
    }
    node->id = GUINT64_FROM_BE(get_u64(head));
    node->address = (struct bytes){head + NODE_HEAD_BYTES, head[8]};
    *at += NODE_HEAD_BYTES + head[8];
    return true;
}

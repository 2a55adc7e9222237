/* What nodes call to each other on LINKS_CALL, as bytes. Pure.
 *
 * A call: kind (1), then
 *   CALL_ENDED  the leader that has ended, its term, index and term of the last entry here (8 each,
 *               little endian)
 *   CALL_NODES  index of the table (8, big endian), then for each node id (8, big endian), length
 *               of its address (1), address
 * What is of another kind is a newer version's. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call_kind { CALL_ENDED = 1, CALL_NODES = 2 };

#define CALL_ENDED_BYTES 33

struct call_ended {
    uint64_t leader_id, term, last_index, last_term;
};

struct call_node {
    uint64_t id;
    struct bytes address; /* borrowed from the call */
};

bool call_is(struct bytes call, enum call_kind kind);

void call_put_ended(uint8_t call[CALL_ENDED_BYTES], const struct call_ended *ended);
bool call_get_ended(struct bytes call, struct call_ended *ended);

/* Begins a call; the nodes are appended to it. */
void call_put_nodes(GByteArray *call, uint64_t index);
void call_put_node(GByteArray *call, uint64_t id, const char *address);
/* `at` is where the first node begins. */
bool call_get_nodes(struct bytes call, uint64_t *index, size_t *at);
/* False at the end, which may be one that was cut off. */
bool call_next_node(struct bytes call, size_t *at, struct call_node *node);

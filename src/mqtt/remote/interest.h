/* What the other nodes' live subscribers want: for each filter the peers that have some, for each
 * share group how many members each peer has. Peers are known by their slot (0..63). Pure. */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define REMOTE_PEERS_MAX     64
#define INTEREST_CACHE_SLOTS 256
#define INTEREST_BIT(slot)   (UINT64_C(1) << (slot))

/* One share group. */
struct interest_share {
    uint32_t counts[REMOTE_PEERS_MAX]; /* members, by slot */
    uint64_t mask;                     /* of those that are not 0 */
    char filter[];                     /* `$share/NAME/FILTER` */
};

/* Where one topic is wanted. */
struct interest_route {
    uint64_t mask;     /* peers with plain subscribers */
    GPtrArray *shares; /* of interest_share, borrowed; NULL = none */
    uint64_t generation;
    struct bytes topic; /* own copy */
};

struct interest {
    struct topic_tree *filters; /* of interest_entry, owned */
    struct interest_route *cache;
    uint64_t generation;  /* changes with every filter */
    uint64_t mask;        /* peers that may have any */
    uint32_t share_count; /* share groups, of all filters */
};

void interest_init(struct interest *interest);
void interest_deinit(struct interest *interest);
/* `filter` is valid; `count` 0 = nobody any more. */
void interest_set(struct interest *interest, unsigned slot, struct bytes filter, uint32_t count);
/* Forgets everything of one peer. */
void interest_clear(struct interest *interest, unsigned slot);
/* Never NULL; valid until the next change or call. */
const struct interest_route *interest_find(struct interest *interest, struct bytes topic);

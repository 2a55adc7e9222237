/* What the API must ask of what lies beside it: cluster/ and ingress/, by way of node/wire. A node
 * that is alone has none of it (NULL): then the state's tables answer. All on the loop. */
#pragma once

#include "state/cluster_tables.h"
#include <stdbool.h>
#include <stdint.h>

struct stream;

/* `error` 0, or a negative errno with `text` saying why, for people. Exactly once, never from
 * inside the call that asked for it. */
typedef void api_cluster_done(void *owner, int error, const char *text);

/* What is true now and stands in no table. */
struct api_node_facts {
    bool is_online, is_holder; /* holder: has at least one virtual IP */
    bool is_unable;            /* it says that it could hold no virtual IP */
    int64_t round_trip_us;     /* smoothed; -1 = not measured */
    int64_t round_trip_us_max; /* of the last minute; -1 = not measured */
    int64_t clock_off_ms;      /* its calendar clock before that of the cluster; 0 = or not known */
    uint64_t seen_unix_ms;     /* when it was last heard of; 0 = not known */
};

struct api_vip_facts {
    uint64_t holder_id; /* 0 = nobody, or not known here */
    const char
        *problem; /* why not, for people ("another host answers for it"); NULL = all is well */
};

struct api_cluster {
    void *owner;
    /* Fills what it knows; `facts` starts as offline. */
    void (*node_facts)(void *owner, uint64_t node_id, struct api_node_facts *facts);
    void (*vip_facts)(void *owner, const struct virtual_address *vip, struct api_vip_facts *facts);
    /* One sentence: what is safe and what is not (roles_safety). Valid until the next turn. */
    const char *(*safety)(void *owner);
    /* Those that vote can go on without this one, now (roles_can_spare). */
    bool (*can_spare)(void *owner, uint64_t node_id);
    /* Makes a join token and puts it into the state; `text` of `done` is the token. `role` as in
     * the state, `ttl_ms` > 0. */
    void (*token)(void *owner, enum node_role role, uint64_t ttl_ms, api_cluster_done *done,
                  void *done_owner);
    /* The majority is gone for good: this node goes on alone (`node promote --force`). */
    void (*force)(void *owner, api_cluster_done *done, void *done_owner);
    /* A new certificate authority. */
    void (*rotate)(void *owner, api_cluster_done *done, void *done_owner);
    /* Why this node cannot hold a virtual IP (no rights); NULL = it can. May be NULL. */
    const char *(*vip_problem)(void *owner);
    /* Why an address (ADDRESS/PREFIX, interface or "") cannot be a virtual IP; NULL = it can. The
     * caller frees. May be NULL. */
    char *(*vip_refusal)(void *owner, const char *address, const char *interface);
    /* A connection has come in. May be NULL. */
    void (*accepted)(void *owner, const struct stream *stream);
};

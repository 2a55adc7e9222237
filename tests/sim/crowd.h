/* The clients of a simulation of several nodes: ten of them come to any node, do what random tells
 * them, and when all is calm it is judged what came of it. The nodes are the owner's. */
#pragma once

#include "client.h"

#define CROWD_CLIENTS 10
#define CROWD_READER  (CROWD_CLIENTS - 1) /* reads what is retained when all is calm */

struct crowd_ops {
    unsigned places; /* nodes */
    /* Somebody would try this one. NULL: any. */
    bool (*is_known)(void *owner, unsigned place);
    /* The broker of a node, and its loop; NULL: nobody answers there. */
    struct broker *(*visit)(void *owner, unsigned place, struct loop **loop);
    /* Everybody answers until nothing moves any more. */
    void (*settle)(void *owner);
    /* So much time goes by, and what is due is done. */
    void (*pass)(void *owner, uint64_t ms);
};

struct crowd {
    struct world world; /* first */
    struct client clients[CROWD_CLIENTS];
    GHashTable *where; /* stream (borrowed) -> place, from 1 */
    const struct crowd_ops *ops;
    void *owner;
    uint64_t connects, takeovers;
    bool is_fleeting; /* few sessions outlive their connection: the log has little to carry, the
                         links have much; wills are not judged */
};

/* `loop` is that of the clients. Random and ledger are owned from now on. */
void crowd_init(struct crowd *crowd, struct loop *loop, guint32 seed);
void crowd_deinit(struct crowd *crowd);
int crowd_below(struct crowd *crowd, int end);
/* The first client comes and subscribes to everything. */
void crowd_begin(struct crowd *crowd);

/* ---- steps ---- */
/* One client does something. */
void crowd_act(struct crowd *crowd, struct client *client);
/* Some bytes of some wires arrive; of those whose place `is_awake` (NULL: all are). */
void crowd_deliver_some(struct crowd *crowd, const bool *is_awake);
void crowd_deliver_all(struct crowd *crowd, const bool *is_awake);
/* Whoever is connected reads everything and answers everything. */
void crowd_answer_all(struct crowd *crowd);
/* Place of a stream. */
unsigned crowd_place(const struct crowd *crowd, const struct stream *stream);
/* The node dies: its wires are cut. Before its broker is freed; afterwards crowd_forget. */
void crowd_lose(struct crowd *crowd, unsigned place);
/* Clients learn that the node has died. */
void crowd_mourn(struct crowd *crowd, unsigned place);
/* The node was removed: whoever is there counts as gone, also when neither of them knows it. */
void crowd_count_gone(struct crowd *crowd, unsigned place);
/* Streams that both sides have let go of. */
void crowd_forget(struct crowd *crowd);

/* ---- judging, when nothing fails any more ---- */
/* Whoever has a session comes back. */
void crowd_come_back(struct crowd *crowd);
void crowd_judge(struct crowd *crowd);
void crowd_close_period(struct crowd *crowd);
/* What went over their wires, on stdout. */
void crowd_tell(const struct crowd *crowd);
G_GNUC_NORETURN void crowd_broken(const char *format, ...) G_GNUC_PRINTF(1, 2);

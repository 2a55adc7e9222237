/* What a box has of the log on disk, and libraft's way to it in memory: stands in for raft_uv and
 * for the look at the directory, so that src/consensus runs as it is. Writes take time, one after
 * another; when the process dies some of those under way are on disk and the rest is lost, what is
 * on disk is there for its next life. (libraft's own fixture.h has no life after death: its servers
 * keep their memory, and its disk loads no log behind a snapshot.) */
#pragma once

#include <glib.h>
#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#define DISK_BOXES_MAX 5
/* Of the snapshot that all begin with. One of entry 1 libraft takes for the entry itself, which it
 * then has not got for who joins; a log of the product's never begins so. */
#define DISK_FOUNDED 2

struct net;

struct saved_entry {
    uint64_t term;
    unsigned short type;
    GBytes *content; /* owned */
};

/* Who votes from this entry on. */
struct saved_voters {
    uint64_t index;
    uint32_t boxes; /* a bit for each */
};

struct saved_snapshot {
    uint64_t index, term, configuration_index;
    struct raft_configuration configuration; /* owned */
    GBytes *content;                         /* owned; NULL = there is none */
};

struct disk {
    struct net *net; /* borrowed; takes libraft's messages */
    unsigned box;
    GRand *random;         /* borrowed */
    uint32_t write_ms_max; /* how long a write takes */
    uint64_t term, vote;
    uint64_t first_index; /* of entries */
    GPtrArray *entries;   /* struct saved_entry, owned */
    GArray *voters;       /* struct saved_voters, of all configurations that it has had */
    struct saved_snapshot snapshot;
    uint64_t installed; /* snapshots of a leader's */

    /* Of the life that is. */
    struct raft_io *io; /* borrowed; NULL = nobody has it open */
    raft_io_recv_cb receive;
    GQueue writes; /* of struct disk_write, owned, oldest first */
    GQueue sent;   /* of struct raft_io_send, borrowed: to be told so */
    bool is_lost;  /* the process is dying: nothing reaches the disk any more */
};

/* Known by its box from now on (disk_directory). */
void disk_init(struct disk *disk, struct net *net, unsigned box, GRand *random);
void disk_deinit(struct disk *disk);
/* For consensus_options.directory; caller frees. */
char *disk_directory(unsigned box);
/* The log begins with this snapshot: so many voters, with ids from 1. */
void disk_found(struct disk *disk, unsigned voters, GBytes *snapshot);
/* Writes that are through are told; sends too. */
void disk_turn(struct disk *disk, uint64_t now_ms);
/* UINT64_MAX = nothing is under way. */
uint64_t disk_next_ms(const struct disk *disk);
/* Hands libraft a message, which is its own from now on. */
void disk_receive(struct disk *disk, struct raft_message *message);
/* The process dies now: some of what is under way is written, nothing after that. */
void disk_crash(struct disk *disk);
uint64_t disk_last_index(const struct disk *disk);
/* 0 when it has no such entry, or only in its snapshot. */
uint64_t disk_term_of(const struct disk *disk, uint64_t index);
/* Of this term, or in its snapshot. */
bool disk_has(const struct disk *disk, uint64_t index, uint64_t term);

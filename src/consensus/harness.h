/* For the tests of this folder: a log whose state is a count. Record number n carries n and a
 * filler that depends on n, so that a record that is missing, doubled, out of order or changed is
 * noticed at once. */
#pragma once

#include "consensus/consensus.h"
#include <glib.h>

struct harness {
    struct loop *loop;
    struct timer *look;
    struct consensus *consensus;
    char *directory; /* borrowed */
    struct consensus_events events;
    uint64_t snapshot_log_bytes;
    bool found, is_small;
    uint64_t node_id;

    uint64_t count;    /* records applied, the snapshot's included */
    uint64_t appended; /* the last number given */
    uint64_t restored; /* count of the snapshot */
    uint64_t last_index;
    uint32_t groups_begun, groups_applied, snapshots, releases, refusals;
    uint64_t first_refused; /* number of the first record of the first refused group */
    int refused_error;
    bool refuse_snapshots, refuse_restore;
    size_t ballast_bytes; /* of a snapshot */
    enum consensus_state state;
    bool is_stopped;
    char *fatal; /* owned */
    uint64_t snapshot_content[2];
    struct consensus_piece pieces[2];
    uint64_t *shared_count; /* written at each apply, for a process that watches, or NULL */
};

/* A new directory under $TMPDIR or /tmp; removed by harness_remove_directory, which frees the name.
 */
char *harness_make_directory(void);
void harness_remove_directory(char *directory);
/* Copies the files, holes stay holes. */
void harness_copy_directory(const char *from, const char *to);

void harness_init(struct harness *harness, const char *directory);
void harness_deinit(struct harness *harness);
/* new and start; false with `error`. */
bool harness_open(struct harness *harness, GError **error);
/* stop and free; asserts that it stops. */
void harness_close(struct harness *harness);
/* Appends record number `appended + 1` with that many bytes of filler; 0 or a negative errno. */
int harness_append(struct harness *harness, size_t filler_bytes);
/* Runs the loop until it is so; asserts that this takes less than 30 seconds. */
void harness_run(struct harness *harness, bool (*is_done)(struct harness *harness));
bool harness_is_settled(struct harness *harness); /* all that was appended is applied */
bool harness_is_leading(struct harness *harness);
bool harness_is_settled_or_full(struct harness *harness);
bool harness_has_released(struct harness *harness); /* every snapshot that it was asked for */
/* Opens, appends `records` of `filler_bytes`, waits until they are applied. */
void harness_fill(struct harness *harness, uint32_t records, size_t filler_bytes);

/* Forks a process that opens the log, appends records of up to `filler_bytes_max` for ever and
 * writes its count to `shared`; kills it once `records` are acknowledged, at any instant. Returns
 * the count that was acknowledged. */
uint64_t harness_run_and_kill(const char *directory, uint64_t records, uint32_t filler_bytes_max,
                              uint64_t snapshot_log_bytes);

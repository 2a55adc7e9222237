/* Fuzzes the log's heartbeats as another node sends them (consensus/beats.c), on what libraft says
 * of itself, which is made up: the input is the state of this node and frames. What is passed on
 * never is what libraft would believe to its harm (rule 12). */
#include "consensus/engine.h"
#include "consensus/members.h"
#include "loop/loop.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define OTHER 2

static struct {
    enum raft_state state;
    uint64_t term, last;
} engine;

enum raft_state raft_state(struct raft *raft)
{
    return engine.state;
}

raft_term raft_current_term(const struct raft *raft)
{
    return engine.term;
}

raft_index raft_last_index(struct raft *raft)
{
    return engine.last;
}

int raft_match_index(const struct raft *raft, raft_id id, raft_index *index)
{
    return -1;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return 0;
}

void leadership_let_tick(struct consensus *self)
{
}

uint64_t leadership_silent_ms(const struct consensus *self, uint64_t node_id)
{
    return 0;
}

const struct raft_message *votes_to_send(const struct consensus *self,
                                         const struct raft_message *message,
                                         struct raft_message *room)
{
    return message;
}

void leadership_on_receive(struct raft_io *io, struct raft_message *message)
{
    bool is_leader = engine.state == RAFT_LEADER;

    assert(message->server_id == OTHER);
    if (message->type == RAFT_APPEND_ENTRIES) {
        assert(message->append_entries.n_entries == 0);
        assert(!is_leader || message->append_entries.term != engine.term);
    } else {
        assert(message->type == RAFT_APPEND_ENTRIES_RESULT);
        assert(!is_leader || message->append_entries_result.last_log_index <= engine.last);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct consensus self = {.is_engine_open = true};

    if (size < 4) {
        return 0;
    }
    engine.state = (enum raft_state)(RAFT_FOLLOWER + input[0] % 3);
    engine.term = input[1];
    engine.last = input[2];
    self.state = (enum consensus_state)(input[3] % (CONSENSUS_FAILED + 1));
    for (size_t at = 4; at < size;) {
        size_t length = MIN(input[at], size - at - 1);
        g_autofree uint8_t *frame = g_malloc(length + 1);
        memcpy(frame, input + at + 1, length);
        consensus_beat(&self, OTHER, (struct bytes){frame, length});
        assert(self.beats.answering_id == 0 && !self.beats.told);
        at += 1 + length;
    }
    return 0;
}

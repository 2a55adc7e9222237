/* Fuzzes what a stranger says who wants to join, and what the one says that it asked
 * (cluster/join_message.h): the input is a message. What is read is written again, and must be read
 * the same. */
#include "cluster/join_message.h"
#include "base/cleanup.h"
#include "text/value.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check_request(const struct text_value *value)
{
    struct join_request request, again;
    g_autoptr(GError) error = NULL;

    if (join_request_from_value(&request, value, &error) < 0) {
        assert(error);
        return;
    }
    _cleanup_(text_freep) struct text_value *written = join_request_to_value(&request);
    assert(join_request_from_value(&again, written, NULL) == 0);
    assert(again.protocol == request.protocol && again.token_id == request.token_id);
    assert(again.port == request.port && again.level == request.level);
    assert(again.unix_ms == request.unix_ms);
    assert(g_strcmp0(again.name, request.name) == 0);
    assert(g_strcmp0(again.address, request.address) == 0);
    assert(g_strcmp0(again.request_pem, request.request_pem) == 0);
    assert(memcmp(again.secret, request.secret, sizeof again.secret) == 0);
    assert(memcmp(again.fingerprint, request.fingerprint, sizeof again.fingerprint) == 0);
}

static void check_answer(const struct text_value *value)
{
    struct join_answer answer, again;
    g_autoptr(GError) error = NULL;

    if (join_answer_from_value(&answer, value, &error) < 0) {
        assert(error && (error->domain == JOIN_ERROR) && join_error_code(error->code));
        return;
    }
    _cleanup_(text_freep) struct text_value *written = join_answer_to_value(&answer);
    assert(join_answer_from_value(&again, written, NULL) == 0);
    assert(again.node_id == answer.node_id && again.node_count == answer.node_count);
    assert(g_strcmp0(again.address, answer.address) == 0);
    assert(memcmp(again.cluster_key, answer.cluster_key, sizeof again.cluster_key) == 0);
    for (size_t i = 0; i < answer.node_count; i++) {
        assert(again.nodes[i].id == answer.nodes[i].id && again.nodes[i].id != 0);
        assert(strcmp(again.nodes[i].address, answer.nodes[i].address) == 0);
    }
    g_free((void *)answer.nodes);
    g_free((void *)again.nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    size_t whole = 0;

    if (join_message_size(input, size, &whole) == 0 && whole != 0) {
        assert(whole > JOIN_HEAD_BYTES && whole <= size);
    }
    if (size <= JOIN_HEAD_BYTES) {
        return 0;
    }
    /* Whatever its length is said to be, so that the rest is reached. */
    _cleanup_(text_freep) struct text_value *value =
        text_parse_json((const char *)input + JOIN_HEAD_BYTES, size - JOIN_HEAD_BYTES, NULL);
    if (value) {
        check_request(value);
        check_answer(value);
    }
    return 0;
}

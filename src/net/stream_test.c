/* Streams on socket pairs: pieces, leftovers, pausing, output, every way to end. */
#include "net/fixture.h"
#include <poll.h>

static struct loop *loop;

static int set_up(void **state)
{
    loop = loop_new();
    return 0;
}

static int tear_down(void **state)
{
    loop_free(loop);
    return 0;
}

/* ---- input ---- */

static void what_is_not_consumed_comes_again_in_front_of_the_next(void **state)
{
    struct owner owner = {.whole = 6};
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    peer_send(peer, "ab");
    wait_for(loop, owner.calls == 1);
    peer_send(peer, "cd");
    peer_send(peer, "ef12");
    wait_for(loop, owner.received->len == 6);
    assert_true(owner_has(&owner, "abcdef"));
    peer_send(peer, "3456");
    wait_for(loop, owner.received->len == 12);
    assert_true(owner_has(&owner, "abcdef123456"));
    owner_finish(&owner);
    close(peer);
}

static void a_large_packet_in_small_pieces_is_presented_once(void **state)
{
    enum { WHOLE = 1024 * 1024, PIECE = 1000 };
    struct owner owner = {.whole = WHOLE};
    g_autofree uint8_t *packet = g_malloc(WHOLE);
    size_t sent = 0;
    int peer;

    for (size_t i = 0; i < WHOLE; i++) {
        packet[i] = (uint8_t)(i * 7 + i / 251);
    }
    owner_start(&owner, stream_with_peer(loop, &peer));
    while (sent < WHOLE) {
        ssize_t n = send(peer, packet + sent, MIN(PIECE, WHOLE - sent), MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        if (n < 0 || sent == PIECE) { /* the first piece alone, then as fast as it goes */
            run_once(loop);
        }
    }
    wait_for(loop, owner.received->len == WHOLE);
    assert_memory_equal(owner.received->data, packet, WHOLE);
    assert_true(owner.calls <= 3);
    owner_finish(&owner);
    close(peer);
}

static void a_paused_owner_gets_the_rest_when_it_resumes_and_no_sooner(void **state)
{
    struct owner owner = {.most = 1, .pauses = true};
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    peer_send(peer, "abc");
    wait_for(loop, owner.calls == 1);
    peer_send(peer, "de");
    run_once(loop);
    run_once(loop);
    assert_int_equal(owner.calls, 1);
    for (unsigned i = 2; i <= 5; i++) {
        stream_resume(owner.stream);
        assert_int_equal(owner.calls, i - 1); /* never from inside the call */
        wait_for(loop, owner.calls == i);
    }
    assert_true(owner_has(&owner, "abcde"));
    owner_finish(&owner);
    close(peer);
}

static void one_packet_at_a_time_of_a_large_leftover_is_not_copied_each_time(void **state)
{
    enum { TOTAL = 100000 };
    struct owner owner = {.most = 1, .pauses = true};
    g_autofree char *text = g_strnfill(TOTAL, 'x');
    int peer, size = 4 * TOTAL;

    struct stream *stream = stream_with_peer(loop, &peer);
    setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    owner_start(&owner, stream);
    peer_send(peer, text);
    wait_for(loop, owner.calls == 1);
    struct timer *alive = timer_new(loop, on_wake, &alive); /* libuv does not turn for nothing */
    timer_start(alive, 10);
    while (owner.received->len < TOTAL / 2) {
        stream_resume(owner.stream);
        uv_run(loop_native(loop), UV_RUN_NOWAIT);
    }
    timer_free(alive);
    owner.pauses = false;
    owner.most = 0;
    stream_resume(owner.stream);
    wait_for(loop, owner.received->len == TOTAL);
    owner_finish(&owner);
    close(peer);
}

static void a_new_owner_gets_what_the_old_one_left(void **state)
{
    struct owner first = {.most = 2, .pauses = true}, second = {.most = 0};
    int peer;

    owner_start(&first, stream_with_peer(loop, &peer));
    peer_send(peer, "abcd");
    wait_for(loop, first.calls == 1);
    second.received = g_byte_array_new();
    second.stream = first.stream;
    first.stream = NULL;
    stream_set_owner(second.stream, &owner_events, &second);
    stream_resume(second.stream);
    wait_for(loop, second.received->len == 2);
    assert_true(owner_has(&second, "cd"));
    owner_finish(&first);
    owner_finish(&second);
    close(peer);
}

/* ---- output ---- */

static void what_is_written_in_a_turn_goes_out_at_its_end_in_order(void **state)
{
    struct owner owner = {.most = 0};
    g_autoptr(GByteArray) got = g_byte_array_new();
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write(owner.stream, "one ", 4);
    memcpy(stream_reserve(owner.stream, 4), "two ", 4);
    stream_write(owner.stream, "three", 5);
    assert_int_equal(stream_pending_bytes(owner.stream), 13);
    assert_false(peer_receive(peer, got));
    assert_int_equal(got->len, 0);
    wait_for(loop, !peer_receive(peer, got) && got->len == 13);
    assert_memory_equal(got->data, "one two three", 13);
    assert_int_equal(stream_pending_bytes(owner.stream), 0);
    owner_finish(&owner);
    close(peer);
}

static void on_release(void *holder)
{
    ++*(unsigned *)holder;
}

static void shared_bytes_keep_their_place_and_are_released_once(void **state)
{
    struct owner owner = {.most = 0};
    g_autoptr(GByteArray) got = g_byte_array_new();
    g_autoptr(GByteArray) expected = g_byte_array_new();
    g_autofree char *payload = g_strnfill(50000, 'p');
    unsigned released = 0;
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    for (unsigned i = 0; i < 40; i++) {
        g_autofree char *head = g_strnfill(i * 37 + 1, (char)('a' + i % 26));
        stream_write(owner.stream, head, strlen(head));
        stream_write_shared(owner.stream, payload, 50000, on_release, &released);
        g_byte_array_append(expected, (const uint8_t *)head, (guint)strlen(head));
        g_byte_array_append(expected, (const uint8_t *)payload, 50000);
    }
    assert_true(stream_pending_bytes(owner.stream) > STREAM_HIGH_WATER_BYTES);
    wait_for(loop, !peer_receive(peer, got) && got->len == expected->len);
    assert_memory_equal(got->data, expected->data, expected->len);
    wait_for(loop, released == 40);
    wait_for(loop, owner.drained == 1);
    owner_finish(&owner);
    close(peer);
}

static void drained_is_told_once_when_it_falls_below_the_low_water(void **state)
{
    struct owner owner = {.most = 0};
    g_autoptr(GByteArray) got = g_byte_array_new();
    g_autofree char *much = g_strnfill(4 * STREAM_HIGH_WATER_BYTES, 'm');
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write(owner.stream, "little", 6);
    wait_for(loop, stream_pending_bytes(owner.stream) == 0);
    assert_int_equal(owner.drained, 0);
    stream_write(owner.stream, much, 4 * STREAM_HIGH_WATER_BYTES);
    run_once(loop);
    run_once(loop);
    assert_int_equal(owner.drained, 0); /* nobody reads */
    wait_for(loop, !peer_receive(peer, got) && owner.drained == 1);
    assert_true(stream_pending_bytes(owner.stream) < STREAM_LOW_WATER_BYTES);
    wait_for(loop, !peer_receive(peer, got) && got->len == 6 + 4 * STREAM_HIGH_WATER_BYTES);
    assert_int_equal(owner.drained, 1);
    owner_finish(&owner);
    close(peer);
}

static void what_is_shared_is_released_when_the_stream_goes(void **state)
{
    struct owner owner = {.most = 0};
    g_autofree char *payload = g_strnfill(2000000, 'p');
    unsigned released = 0;
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write_shared(owner.stream, payload, 2000000, on_release, &released);
    run_once(loop);
    assert_int_equal(released, 0);
    owner_finish(&owner);
    assert_int_equal(released, 1);
    close(peer);
}

/* ---- ending ---- */

static void the_peer_s_end_is_told_once_after_its_bytes(void **state)
{
    struct owner owner = {.most = 0};
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    peer_send(peer, "last words");
    close(peer);
    wait_for(loop, owner.ends == 1);
    assert_int_equal(owner.error, 0);
    assert_true(owner_has(&owner, "last words"));
    owner_finish(&owner);
}

static void a_paused_owner_gets_the_last_bytes_before_the_end(void **state)
{
    struct owner owner = {.most = 4, .pauses = true};
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    peer_send(peer, "lastword");
    wait_for(loop, owner.calls == 1);
    close(peer);
    run_once(loop);
    assert_int_equal(owner.ends, 0);
    owner.pauses = false;
    stream_resume(owner.stream);
    wait_for(loop, owner.ends == 1);
    assert_true(owner_has(&owner, "lastword"));
    owner_finish(&owner);
}

static void what_the_peer_sent_before_it_left_counts_even_if_writing_fails_first(void **state)
{
    struct owner owner = {.most = 0};
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    wait_for(loop, owner.calls == 0); /* started */
    peer_send(peer, "DISCONNECT");
    close(peer);
    stream_write(owner.stream, "too late", 8); /* goes out before the next poll */
    wait_for(loop, owner.ends == 1);
    assert_true(owner_has(&owner, "DISCONNECT"));
    owner_finish(&owner);
}

static void close_sends_what_is_pending_and_calls_nobody_any_more(void **state)
{
    struct owner owner = {.most = 0};
    g_autoptr(GByteArray) got = g_byte_array_new();
    g_autofree char *much = g_strnfill(3000000, 'm');
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write(owner.stream, much, 3000000);
    peer_send(peer, "not for anybody");
    stream_close(owner.stream, 4000);
    owner.stream = NULL;
    wait_for(loop, peer_receive(peer, got));
    assert_int_equal(got->len, 3000000);
    assert_int_equal(owner.calls + owner.ends + owner.drained, 0);
    owner_finish(&owner);
    close(peer);
}

static bool has_hung_up(int peer)
{
    struct pollfd polled = {.fd = peer};

    return poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP);
}

static void close_waits_no_longer_than_told(void **state)
{
    struct owner owner = {.most = 0};
    g_autoptr(GByteArray) got = g_byte_array_new();
    g_autofree char *much = g_strnfill(3000000, 'm');
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write(owner.stream, much, 3000000);
    uv_update_time(loop_native(loop)); /* no turn has begun */
    uint64_t begin_ms = clock_now_ms();
    stream_close(owner.stream, 50);
    owner.stream = NULL;
    wait_for(loop, has_hung_up(peer));
    assert_true(clock_now_ms() - begin_ms >= 48);
    assert_true(peer_receive(peer, got));
    assert_true(got->len < 3000000);
    owner_finish(&owner);
    close(peer);
}

static void a_half_closed_peer_still_gets_its_answer(void **state)
{
    struct owner owner = {.closes = true};
    g_autoptr(GByteArray) got = g_byte_array_new();
    g_autofree char *answer = g_strnfill(2000000, 'a');
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write(owner.stream, answer, 2000000);
    peer_send(peer, "question");
    shutdown(peer, SHUT_WR);
    wait_for(loop, peer_receive(peer, got));
    assert_int_equal(got->len, 2000000);
    assert_true(owner_has(&owner, "question"));
    owner_finish(&owner);
    close(peer);
}

static void a_stream_may_be_closed_in_its_own_callback_and_before_its_start(void **state)
{
    struct owner owner = {.closes = true};
    g_autoptr(GByteArray) got = g_byte_array_new();
    int peer, other;

    owner_start(&owner, stream_with_peer(loop, &peer));
    peer_send(peer, "go");
    wait_for(loop, peer_receive(peer, got));
    assert_int_equal(owner.ends, 0);
    owner_finish(&owner);
    close(peer);

    struct stream *unwanted = stream_with_peer(loop, &other);
    stream_write(unwanted, "no", 2);
    stream_close(unwanted, 1000);
    wait_for(loop, peer_receive(other, got));
    assert_memory_equal(got->data, "no", 2);
    close(other);
}

static void reset_drops_everything_at_once(void **state)
{
    struct owner owner = {.most = 0};
    g_autoptr(GByteArray) got = g_byte_array_new();
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    stream_write(owner.stream, "never seen", 10);
    stream_reset(owner.stream);
    owner.stream = NULL;
    wait_for(loop, peer_receive(peer, got));
    assert_int_equal(got->len, 0);
    assert_int_equal(owner.ends, 0);
    owner_finish(&owner);
    close(peer);
}

static void an_idle_stream_is_small(void **state)
{
    struct owner owner = {.most = 0};
    int peer;

    owner_start(&owner, stream_with_peer(loop, &peer));
    assert_true(socket_stream_bytes() <= 360);
    owner_finish(&owner);
    close(peer);
}

#define STREAM_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(what_is_not_consumed_comes_again_in_front_of_the_next),
        STREAM_TEST(a_large_packet_in_small_pieces_is_presented_once),
        STREAM_TEST(a_paused_owner_gets_the_rest_when_it_resumes_and_no_sooner),
        STREAM_TEST(one_packet_at_a_time_of_a_large_leftover_is_not_copied_each_time),
        STREAM_TEST(a_new_owner_gets_what_the_old_one_left),
        STREAM_TEST(what_is_written_in_a_turn_goes_out_at_its_end_in_order),
        STREAM_TEST(shared_bytes_keep_their_place_and_are_released_once),
        STREAM_TEST(drained_is_told_once_when_it_falls_below_the_low_water),
        STREAM_TEST(what_is_shared_is_released_when_the_stream_goes),
        STREAM_TEST(the_peer_s_end_is_told_once_after_its_bytes),
        STREAM_TEST(a_paused_owner_gets_the_last_bytes_before_the_end),
        STREAM_TEST(what_the_peer_sent_before_it_left_counts_even_if_writing_fails_first),
        STREAM_TEST(close_sends_what_is_pending_and_calls_nobody_any_more),
        STREAM_TEST(close_waits_no_longer_than_told),
        STREAM_TEST(a_half_closed_peer_still_gets_its_answer),
        STREAM_TEST(a_stream_may_be_closed_in_its_own_callback_and_before_its_start),
        STREAM_TEST(reset_drops_everything_at_once),
        STREAM_TEST(an_idle_stream_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

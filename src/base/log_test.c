/* Log lines: levels, escaping, length, the journal's priorities. */
#include "base/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char line[8192];

/* What is written to stderr meanwhile stands in `line`. */
static int begin(int pipe_ends[2])
{
    int saved = dup(STDERR_FILENO);

    assert_int_equal(pipe(pipe_ends), 0);
    dup2(pipe_ends[1], STDERR_FILENO);
    close(pipe_ends[1]);
    return saved;
}

static void end(int pipe_ends[2], int saved)
{
    dup2(saved, STDERR_FILENO); /* closes the last writing end */
    close(saved);
    ssize_t n = read(pipe_ends[0], line, sizeof line - 1);
    line[n > 0 ? n : 0] = '\0';
    close(pipe_ends[0]);
}

static void log_one(enum log_level level, const char *client)
{
    int ends[2];
    int saved = begin(ends);

    log_write(level, "client refused", "client=\"%s\" address=%s", client, "192.0.2.1");
    end(ends, saved);
}

static void a_line_has_time_level_message_and_fields(void **state)
{
    unsetenv("JOURNAL_STREAM");
    log_one(LOG_LEVEL_WARNING, "lamp");
    assert_int_equal(line[strlen("2026-01-01T00:00:00.000Z")], ' ');
    assert_string_equal(line + strlen("2026-01-01T00:00:00.000Z "),
                        "warning client refused client=\"lamp\" address=192.0.2.1\n");
}

static void under_the_journal_the_priority_stands_in_front(void **state)
{
    setenv("JOURNAL_STREAM", "8:1", 1);
    log_one(LOG_LEVEL_ERROR, "lamp");
    assert_string_equal(line, "<3>client refused client=\"lamp\" address=192.0.2.1\n");
    unsetenv("JOURNAL_STREAM");
}

static void a_value_cannot_forge_a_line(void **state)
{
    setenv("JOURNAL_STREAM", "8:1", 1);
    log_one(LOG_LEVEL_INFO, "x\n<0>forged\x1b[2J\x7f");
    assert_string_equal(line, "<6>client refused client=\"x\\x0a<0>forged\\x1b[2J\\x7f\" "
                              "address=192.0.2.1\n");
    unsetenv("JOURNAL_STREAM");
}

static void a_line_has_a_limit_and_still_its_end(void **state)
{
    char much[6000];

    for (int c = 'x'; c >= 1;
         c = c == 'x' ? 1 : 0) { /* plain, and escaped to four times the length */
        memset(much, c, sizeof much - 1);
        much[sizeof much - 1] = '\0';
        log_one(LOG_LEVEL_ERROR, much);
        assert_true(strlen(line) <= 2048);
        assert_int_equal(line[strlen(line) - 1], '\n');
    }
}

static void what_is_above_the_level_is_not_written(void **state)
{
    log_set_level(LOG_LEVEL_WARNING);
    log_one(LOG_LEVEL_INFO, "lamp");
    assert_string_equal(line, "");
    assert_int_equal(log_level(), LOG_LEVEL_WARNING);
    log_set_level(LOG_LEVEL_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_message_and_fields),
        cmocka_unit_test(under_the_journal_the_priority_stands_in_front),
        cmocka_unit_test(a_value_cannot_forge_a_line),
        cmocka_unit_test(a_line_has_a_limit_and_still_its_end),
        cmocka_unit_test(what_is_above_the_level_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

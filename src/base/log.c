/* One line a call, written with one system call so that lines of several processes do not mix.
 * Control characters and line ends in values are escaped: a client id cannot forge a line. */
#include "base/log.h"
#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

/* The one mutable global of the project: who logs does not know the node. */
static enum log_level current_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    current_level = level;
}

enum log_level log_level(void)
{
    return current_level;
}

static int write_prefix(char *line, size_t size, enum log_level level)
{
    static const int priorities[] = {3, 4, 6, 7};
    static const char *const names[] = {"error", "warning", "info", "debug"};

    if (getenv("JOURNAL_STREAM")) {
        return snprintf(line, size, "<%d>", priorities[level]);
    }
    struct timespec now;
    struct tm calendar;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &calendar);
    size_t length = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &calendar);
    return (int)length + snprintf(line + length, size - length, ".%03ldZ %s ",
                                  now.tv_nsec / 1000000, names[level]);
}

static size_t append_escaped(char *line, size_t at, size_t size, const char *text)
{
    for (; *text && at + 4 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            at += (size_t)snprintf(line + at, size - at, "\\x%02x", c);
        } else {
            line[at++] = (char)c;
        }
    }
    return at;
}

void log_write(enum log_level level, const char *message, const char *fields, ...)
{
    char values[LINE_BYTES_MAX / 2], line[LINE_BYTES_MAX];
    va_list arguments;

    if (level > current_level) {
        return;
    }
    va_start(arguments, fields);
    vsnprintf(values, sizeof values, fields, arguments);
    va_end(arguments);

    size_t at = (size_t)write_prefix(line, sizeof line, level);
    at = append_escaped(line, at, sizeof line - 2, message);
    if (values[0] != '\0') {
        line[at++] = ' ';
        at = append_escaped(line, at, sizeof line - 2, values);
    }
    line[at++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, at);
    (void)written; /* nobody is left to tell */
}

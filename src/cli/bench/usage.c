/* Reads /proc and the CPU clocks of other processes. The clock of a process (clock_getcpuclockid)
 * counts its dead threads too and has no ticks, so it is exact where /proc/PID/stat is good for 10
 * ms only. A process that ended meanwhile counts nothing. */
#include "cli/bench/usage.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USAGE_PROCESSES_MAX 64

/* Collects `pid` and its descendants, breadth first. */
static unsigned usage_processes(pid_t pid, pid_t *list)
{
    unsigned count = 0;
    list[count++] = pid;
    for (unsigned at = 0; at < count; at++) {
        g_autofree char *path =
            g_strdup_printf("/proc/%d/task/%d/children", (int)list[at], (int)list[at]);
        g_autofree char *text = NULL;
        if (!g_file_get_contents(path, &text, NULL, NULL)) {
            continue;
        }
        char *next = text;
        for (;;) {
            char *end;
            long child = strtol(next, &end, 10);
            if (end == next || count == USAGE_PROCESSES_MAX) {
                break;
            }
            list[count++] = (pid_t)child;
            next = end;
        }
    }
    return count;
}

static uint64_t usage_clock_ns(pid_t pid)
{
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
        return 0;
    }
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t usage_cpu_ns(pid_t pid)
{
    pid_t list[USAGE_PROCESSES_MAX];
    unsigned count = usage_processes(pid, list);
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        sum += usage_clock_ns(list[i]);
    }
    return sum;
}

/* The sum of all lines "KEY: NUMBER" of a file below /proc/PID. */
static uint64_t usage_field(pid_t pid, const char *file, const char *key)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, file);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    uint64_t sum = 0;
    size_t length = strlen(key);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (strncmp(*line, key, length) == 0 && (*line)[length] == ':') {
            sum += strtoull(*line + length + 1, NULL, 10);
        }
    }
    return sum;
}

void usage_read(pid_t pid, struct usage *usage)
{
    pid_t list[USAGE_PROCESSES_MAX];
    unsigned count = usage_processes(pid, list);
    *usage = (struct usage){0};
    for (unsigned i = 0; i < count; i++) {
        usage->cpu_ns += usage_clock_ns(list[i]);
        usage->rss_bytes += usage_field(list[i], "status", "VmRSS") * 1024;
        usage->pss_bytes += usage_field(list[i], "smaps_rollup", "Pss") * 1024;
        usage->context_switches += usage_field(list[i], "status", "voluntary_ctxt_switches") +
                                   usage_field(list[i], "status", "nonvoluntary_ctxt_switches");
        usage->written_bytes += usage_field(list[i], "io", "write_bytes");
    }
}

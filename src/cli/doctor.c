/* `microcloud doctor`: what could keep a node from working well, and what to do about it. A running
 * node is asked for what it sees from inside; when none answers, what it would need is looked at
 * from here: directory, disk, ports, descriptors. Who keeps the clock is looked at from here
 * in either case (the node's sandbox keeps it from asking). Status 1 when something is wrong. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/output.h"
#include "text/units.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#define FREE_BYTES_MIN        (256u * 1024 * 1024)
#define DESCRIPTORS_OF_OTHERS 704 /* HTTP, the log, bridges; node/wire.c */
#define CONNECTIONS_USUAL     1000
#define SYSTEM_DATA           "/var/lib/microcloud"

static void doctor_add(struct text_value *list, const char *check, bool is_well, const char *found,
                       const char *advice)
{
    struct text_value *value = text_new_object();
    text_set_string(value, "check", check);
    text_set_boolean(value, "ok", is_well);
    text_set_string(value, "found", found);
    text_set_string(value, "advice", is_well ? NULL : advice);
    text_append(list, value);
}

/* No fault, since a machine without Internet or a virtual one may keep good time by other means. */
static void doctor_time_service(struct text_value *list)
{
    struct timex clock = {0};
    bool is_kept = adjtimex(&clock) != TIME_ERROR && !(clock.status & STA_UNSYNC);
    struct text_value *value = text_new_object();

    text_set_string(value, "check", "clock here");
    text_set_boolean(value, "ok", true);
    text_set_string(value, "found",
                    is_kept ? "NTP keeps the clock" : "NTP does not keep the clock");
    text_set_string(value, "advice",
                    is_kept ? NULL
                            : "chrony or systemd-timesyncd would: certificates and expiry need "
                              "the right time");
    text_append(list, value);
}

/* The directory itself, or the nearest one above it that is there. */
static char *doctor_existing(const char *directory)
{
    char *path = g_canonicalize_filename(directory, NULL);
    while (access(path, F_OK) != 0 && strcmp(path, "/") != 0) {
        char *above = g_path_get_dirname(path);
        g_free(path);
        path = above;
    }
    return path;
}

static void doctor_directory(struct text_value *list, const char *directory)
{
    g_autofree char *path = doctor_existing(directory);
    bool may_write = access(path, W_OK | X_OK) == 0;
    g_autofree char *found =
        g_strdup_printf("%s: %s", path, may_write ? "may be written" : g_strerror(errno));
    doctor_add(
        list, "data directory", may_write, found,
        "give the user that runs the node the right to write there, or choose another --data");
    struct statvfs disk;
    if (statvfs(path, &disk) == 0) {
        uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
        g_autofree char *text = text_format_size_bytes(free_bytes);
        doctor_add(list, "disk space", free_bytes >= FREE_BYTES_MIN, text,
                   "free at least 256 MiB on the disk of the data directory");
    }
}

static void doctor_port(struct text_value *list, uint16_t port, const char *what)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_free = false;
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        is_free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
    }
    g_autofree char *check = g_strdup_printf("port %u (%s)", port, what);
    g_autofree char *advice = g_strdup_printf(
        "see who has it (ss -ltnp 'sport = :%u') and stop that, or choose another port", port);
    doctor_add(list, check, is_free, is_free ? "free" : g_strerror(errno), advice);
    if (fd >= 0) {
        close(fd);
    }
}

static void doctor_machine(struct text_value *list)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t room =
        limit.rlim_max > DESCRIPTORS_OF_OTHERS ? limit.rlim_max - DESCRIPTORS_OF_OTHERS : 0;
    g_autofree char *descriptors =
        g_strdup_printf("%" G_GUINT64_FORMAT ": room for %" G_GUINT64_FORMAT " MQTT connections",
                        (uint64_t)limit.rlim_max, room);
    doctor_add(list, "descriptors", room >= CONNECTIONS_USUAL, descriptors,
               "raise LimitNOFILE= of the service (ulimit -n): each connection needs one");
}

static struct text_value *doctor_from_here(const struct node_values *values)
{
    struct text_value *list = text_new_list();
    doctor_add(
        list, "node", false, "does not answer",
        "start it: microcloud run (or tell where it is: --host, --data); if it runs, its log says "
        "what it waits for");
    doctor_directory(list, values->data ? values->data : SYSTEM_DATA);
    doctor_port(list, 1883, "MQTT");
    doctor_port(list, 8883, "MQTT over TLS");
    doctor_port(list, 8080, "HTTP");
    doctor_port(list, 8443, "HTTPS");
    doctor_machine(list);
    return list;
}

static void doctor_print(const struct text_value *list)
{
    int width = 0;
    for (size_t i = 0; i < text_count(list); i++) {
        const char *check = text_string(text_get(text_at(list, i), "check"), "?");
        width = MAX(width, (int)strlen(check));
    }
    for (size_t i = 0; i < text_count(list); i++) {
        const struct text_value *row = text_at(list, i);
        bool is_well = text_boolean(text_get(row, "ok"), false);
        const char *advice =
            text_string(text_get(row, "advice"), is_well ? NULL : "see the log of the node");
        const char *well = advice ? "hint" : "ok";
        printf("%-4s %-*s  %s\n", is_well ? well : "BAD", width,
               text_string(text_get(row, "check"), "?"), text_string(text_get(row, "found"), ""));
        if (advice) {
            printf("     -> %s\n", advice);
        }
    }
}

static int doctor_run(const struct cli_call *call, GError **error)
{
    const struct node_values *values = call->values;
    g_autoptr(GError) failure = NULL;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(values, "GET", "/v1/doctor", NULL, &failure);
    if (failure && failure->code == CLI_ERROR_USAGE) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return CLI_EXIT_USAGE;
    }
    if (!list) {
        list = doctor_from_here(values);
    }
    doctor_time_service(list);
    if (values->json) {
        output_json(list);
    } else {
        doctor_print(list);
    }
    for (size_t i = 0; i < text_count(list); i++) {
        if (!text_boolean(text_get(text_at(list, i), "ok"), false)) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

const struct cli_command cli_doctor = {
    .name = "doctor",
    .words = "",
    .summary = "look for what is wrong, and say what to do",
    .details = "Asks the node when it runs; else looks at what it would need. Exits with 1 when "
               "something is wrong.",
    .example = "microcloud doctor\nmicrocloud doctor --data ./data",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = doctor_run,
};

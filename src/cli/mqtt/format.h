/* How `sub` prints a message: payload only, -v, or a format of -F with mosquitto_sub's sequences.
 * Pure: time is handed in. */
#pragma once

#include "packet/packet.h"
#include <glib.h>
#include <stdbool.h>
#include <time.h>

struct sub_format {
    const char *format; /* NULL: payload, or topic and payload when verbose */
    bool is_verbose, no_newline, is_pretty;
};

/* What is wrong with a format, before any message comes. 0 or -1. */
int sub_format_check(const char *format, GError **error);
/* Appends the message as it is printed, with its end of line. */
void sub_format_message(const struct sub_format *how, const struct packet_publish *publish,
                        const struct timespec *now, GString *to);

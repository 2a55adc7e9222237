/* What scripts/embed made of console/ and docs/openapi.yaml. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct console_file {
    const char *name, *content_type;
    const uint8_t *bytes;
    size_t length;
};

extern const struct console_file console_files[];
extern const unsigned console_file_count;

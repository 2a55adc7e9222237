/* Durations and sizes as people write them. */
#pragma once

#include <glib.h>
#include <stdint.h>

/* "90s", "1m30s", "1.5h", "250ms", "2d"; units ns us ms s m h d, joined from large to small; "0"
 * alone needs none. */
int text_parse_duration_ms(const char *text, uint64_t *duration_ms, GError **error);
/* "50M", "1.5 GiB", "64k", "100": binary multiples (1024), with or without b and ib, any case. */
int text_parse_size_bytes(const char *text, uint64_t *size_bytes, GError **error);
/* The largest two units: "1h30m", "250ms". Caller frees. */
char *text_format_duration_ms(uint64_t duration_ms);
/* "1.5 MiB". Caller frees. */
char *text_format_size_bytes(uint64_t size_bytes);

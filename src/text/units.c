/* See units.h. */
#include "text/units.h"
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static const struct duration_unit {
    const char *name;
    double ms;
} duration_units[] = {{"ns", 1e-6}, {"us", 1e-3},   {"ms", 1},      {"s", 1000},
                      {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

static int fail(GError **error, const char *what, const char *text, const char *allowed)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s '%s': %s", what, text, allowed);
    return -EINVAL;
}

static const struct duration_unit *find_unit(const char *at, size_t length)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(duration_units); i++) {
        if (strlen(duration_units[i].name) == length &&
            strncmp(duration_units[i].name, at, length) == 0) {
            return &duration_units[i];
        }
    }
    return NULL;
}

/* A decimal number at the front of `text`; negative when there is none. Exponents and hexadecimals,
 * which strtod would take, are none. */
static double take_number(const char *text, const char **end)
{
    g_autofree char *number = g_strndup(text, strspn(text, "0123456789."));
    char *number_end;

    *end = text;
    if (!strpbrk(number, "0123456789")) {
        return -1;
    }
    double value = g_ascii_strtod(number, &number_end);
    *end = text + strlen(number);
    return *number_end ? -1 : value;
}

int text_parse_duration_ms(const char *text, uint64_t *duration_ms, GError **error)
{
    static const char allowed[] = "must be like 30s, 1m30s, 1.5h or 2d";
    double sum_ms = 0, last_ms = INFINITY;
    const char *at = text;

    if (strcmp(text, "0") == 0) {
        *duration_ms = 0;
        return 0;
    }
    while (*at) {
        const char *end;
        double number = take_number(at, &end);
        size_t length = number < 0 ? 0 : strcspn(end, "0123456789.");
        const struct duration_unit *unit = number < 0 ? NULL : find_unit(end, length);
        if (!unit || unit->ms >= last_ms) {
            return fail(error, "duration", text, allowed);
        }
        sum_ms += number * unit->ms;
        last_ms = unit->ms;
        at = end + length;
    }
    if (at == text || !(sum_ms < 1e15)) {
        return fail(error, "duration", text, allowed);
    }
    *duration_ms = (uint64_t)llround(sum_ms);
    return 0;
}

int text_parse_size_bytes(const char *text, uint64_t *size_bytes, GError **error)
{
    static const char allowed[] = "must be like 512, 64k, 50M or 1.5GiB";
    static const char prefixes[] = "kmgtp";
    const char *end;
    double number = take_number(text, &end);

    if (number < 0) {
        return fail(error, "size", text, allowed);
    }
    end += *end == ' ';
    const char *prefix = *end ? strchr(prefixes, g_ascii_tolower(*end)) : NULL;
    if (prefix) {
        number *= pow(1024, (double)(prefix - prefixes + 1));
        end++;
        end += g_ascii_tolower(end[0]) == 'i' && g_ascii_tolower(end[1]) == 'b';
    }
    end += g_ascii_tolower(*end) == 'b';
    if (*end || !(number < 9e18)) {
        return fail(error, "size", text, allowed);
    }
    *size_bytes = (uint64_t)number;
    return 0;
}

char *text_format_duration_ms(uint64_t duration_ms)
{
    GString *text = g_string_new(NULL);
    unsigned parts = 0;

    for (unsigned i = G_N_ELEMENTS(duration_units); i-- > 2 && parts < 2;) {
        uint64_t unit_ms = (uint64_t)duration_units[i].ms;
        if (duration_ms >= unit_ms) {
            g_string_append_printf(text, "%" G_GUINT64_FORMAT "%s", duration_ms / unit_ms,
                                   duration_units[i].name);
            duration_ms %= unit_ms;
            parts++;
        }
    }
    if (text->len == 0) {
        g_string_append(text, "0s");
    }
    return g_string_free(text, false);
}

char *text_format_size_bytes(uint64_t size_bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = (double)size_bytes;
    unsigned i = 0;

    for (; size >= 1024 && i + 1 < G_N_ELEMENTS(names); i++) {
        size /= 1024;
    }
    return g_strdup_printf(i == 0 ? "%.0f %s" : "%.1f %s", size, names[i]);
}

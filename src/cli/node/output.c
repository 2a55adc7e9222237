/* Tables whose columns are as wide as their widest cell. What a client chose (ids, topics) may hold
 * control characters: they are shown as \xNN, so that nobody's terminal obeys them. */
#include "cli/node/output.h"

#include "text/units.h"
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 16

static char *output_clean(const char *text)
{
    GString *clean = g_string_new(NULL);
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        gunichar character = g_utf8_get_char(at);
        if (g_unichar_iscntrl(character)) {
            g_string_append_printf(clean, "\\x%02x", character);
        } else {
            g_string_append_unichar(clean, character);
        }
    }
    return g_string_free(clean, FALSE);
}

static char *output_time(int64_t unix_ms)
{
    char text[32];
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm parts;
    localtime_r(&seconds, &parts);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
    return g_strdup(unix_ms > 0 ? text : "-");
}

/* As on the page of the console. */
static char *output_duration(int64_t seconds)
{
    int64_t days = seconds / 86400;
    int hours = (int)(seconds / 3600 % 24);
    int minutes = (int)(seconds / 60 % 60);

    if (days > 0) {
        return g_strdup_printf("%" G_GINT64_FORMAT " d %d h", (gint64)days, hours);
    }
    if (hours > 0) {
        return g_strdup_printf("%d h %d min", hours, minutes);
    }
    return minutes > 0 ? g_strdup_printf("%d min", minutes)
                       : g_strdup_printf("%" G_GINT64_FORMAT " s", (gint64)seconds);
}

/* A witness votes as others do, and does nothing else. */
static char *output_role(const struct text_value *object, const char *role)
{
    bool is_witness = strcmp(text_string(text_get(object, "wanted_role"), ""), "witness") == 0;
    return is_witness ? g_strconcat(role, " (witness)", NULL) : g_strdup(role);
}

char *output_cell(const struct text_value *object, const struct output_column *column)
{
    const struct text_value *value = text_get(object, column->key);
    switch (text_kind(value)) {
    case TEXT_NULL:
        return g_strdup("-");
    case TEXT_BOOLEAN:
        return g_strdup(text_boolean(value, false) ? "yes" : "no");
    case TEXT_INTEGER:
        if (column->kind == OUTPUT_TIME) {
            return output_time(text_integer(value, 0));
        }
        if (column->kind == OUTPUT_DURATION) {
            return output_duration(text_integer(value, 0));
        }
        if (column->kind == OUTPUT_BYTES) {
            return text_format_size_bytes((uint64_t)text_integer(value, 0));
        }
        return g_strdup_printf("%" G_GINT64_FORMAT, (gint64)text_integer(value, 0));
    case TEXT_STRING:
        if (column->kind == OUTPUT_ROLE) {
            return output_role(object, text_string(value, ""));
        }
        return *text_string(value, "") ? output_clean(text_string(value, "")) : g_strdup("-");
    default:
        return text_to_json(value, false);
    }
}

void output_json(const struct text_value *value)
{
    g_autofree char *json = text_to_json(value, true);
    printf("%s\n", json);
}

static void output_row(char *const *cells, const glong *widths, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bool is_last = i + 1 == count;
        printf("%s%*s", cells[i], is_last ? 0 : (int)(widths[i] - g_utf8_strlen(cells[i], -1) + 2),
               is_last ? "\n" : "");
    }
}

static bool is_shown(const struct text_value *list, const struct output_column *column)
{
    bool is_shown = column->kind != OUTPUT_IF_ANY;

    for (size_t row = 0; row < text_count(list) && !is_shown; row++) {
        is_shown = text_kind(text_get(text_at(list, row), column->key)) != TEXT_NULL;
    }
    return is_shown;
}

void output_list(const struct text_value *list, const struct output_column *columns, bool as_json)
{
    if (as_json) {
        output_json(list);
        return;
    }
    unsigned count = 0;
    glong widths[COLUMNS_MAX] = {0};
    char *headings[COLUMNS_MAX];
    const struct output_column *shown[COLUMNS_MAX];
    for (; columns->key; columns++) {
        if (count < COLUMNS_MAX && is_shown(list, columns)) {
            shown[count] = columns;
            headings[count] = g_ascii_strup(columns->heading, -1);
            widths[count] = g_utf8_strlen(headings[count], -1);
            count++;
        }
    }
    g_autoptr(GPtrArray) cells = g_ptr_array_new_with_free_func(g_free);
    for (size_t row = 0; row < text_count(list); row++) {
        for (unsigned i = 0; i < count; i++) {
            char *cell = output_cell(text_at(list, row), shown[i]);
            widths[i] = MAX(widths[i], g_utf8_strlen(cell, -1));
            g_ptr_array_add(cells, cell);
        }
    }
    output_row(headings, widths, count);
    for (guint i = 0; i < cells->len; i += count) {
        output_row((char *const *)cells->pdata + i, widths, count);
    }
    for (unsigned i = 0; i < count; i++) {
        g_free(headings[i]);
    }
}

void output_object(const struct text_value *object, const struct output_column *columns,
                   bool as_json)
{
    if (as_json) {
        output_json(object);
        return;
    }
    for (; columns->key; columns++) {
        g_autofree char *cell = output_cell(object, columns);
        printf("%-16s %s\n", columns->heading, cell);
    }
}

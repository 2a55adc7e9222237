/* Listings: as a table for people or as JSON for programs. */
#pragma once

#include "text/value.h"
#include <stdbool.h>

struct output_column {
    const char *key; /* of each object; NULL ends the columns */
    const char *heading;
    enum output_kind {
        OUTPUT_PLAIN,
        OUTPUT_IF_ANY,
        OUTPUT_BYTES,
        OUTPUT_TIME,
        OUTPUT_DURATION,
        OUTPUT_ROLE
    } kind; /* only if any row has it; sizes as "1.5 MiB"; calendar time from ms; seconds as "3 h 5
               min"; a node's role, and whether it is a witness */
};

/* Prints a list of objects. JSON as the node sent it when `as_json`. */
void output_list(const struct text_value *list, const struct output_column *columns, bool as_json);
/* One object: a line a column. */
void output_object(const struct text_value *object, const struct output_column *columns,
                   bool as_json);
void output_json(const struct text_value *value);
/* A member as people read it; "-" for none. Caller frees. */
char *output_cell(const struct text_value *object, const struct output_column *column);

/* JSON of whatever bytes: refused with an error that names the place, or a tree that prints to a
 * text which gives the same tree. */
#include "base/cleanup.h"
#include "text/value.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    g_autoptr(GError) error = NULL;
    _cleanup_(text_freep) struct text_value *value =
        text_parse_json((const char *)input, length, &error);

    if (!value) {
        if (!error || !strstr(error->message, "line")) {
            abort();
        }
        return 0;
    }
    g_autofree char *printed = text_to_json(value, length % 2 == 0);
    _cleanup_(text_freep) struct text_value *again =
        text_parse_json(printed, strlen(printed), NULL);
    g_autofree char *same = again ? text_to_json(again, length % 2 == 0) : NULL;
    if (g_strcmp0(printed, same) != 0) {
        abort();
    }
    return 0;
}

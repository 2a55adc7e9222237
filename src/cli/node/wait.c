/* See wait.h. */
#include "cli/node/wait.h"

#include "base/cleanup.h"
#include "cli/error.h"

#define TRY_AGAIN_US 50000

struct text_value *node_wait(const struct node_values *values, const char *target, double wait_s,
                             bool (*is_there)(const struct text_value *answer),
                             const char *not_there, GError **error)
{
    gint64 end_us = g_get_monotonic_time() + (gint64)(wait_s * 1e6);
    for (;;) {
        g_autoptr(GError) failure = NULL;
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(values, "GET", target, NULL, &failure);
        if (answer && (!is_there || is_there(answer))) {
            return TAKE(answer);
        }
        bool is_wrong_usage = failure && failure->code == CLI_ERROR_USAGE;
        if (is_wrong_usage || g_get_monotonic_time() > end_us) {
            if (failure) {
                g_propagate_error(error, g_steal_pointer(&failure));
            } else {
                cli_fail(error, "%s", not_there);
            }
            return NULL;
        }
        g_usleep(TRY_AGAIN_US);
    }
}

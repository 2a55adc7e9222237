/* The command of the next version (README.md). */
#include "state/apply.h"
#include "state/next.h"
#include "state/propose_private.h"
#include "state/tables.h"

int apply_setting_reset(struct apply *apply, const State__Command *command, GError **error)
{
    const char *key = command->setting_reset->key;
    if (!g_tree_remove(apply->tables->setting_values, key)) {
        return apply_refuse(apply, REASON_UNSPECIFIED_ERROR, "setting: it has its default");
    }
    state_load_settings(apply->state);
    state_notify_settings(apply->state);
    return 0;
}

int state_propose_setting_reset(struct state *state, const char *key,
                                const struct state_completion *completion)
{
    State__SettingReset message = STATE__SETTING_RESET__INIT;
    message.key = (char *)key;
    return propose_command(state, COMMAND(SETTING_RESET, setting_reset, &message), completion);
}

/* Settings, users and access rules. What is wrong with a value is told to whoever proposed it; the
 * state stays as it was. */
#include "state/access_tables.h"
#include "state/apply.h"
#include <errno.h>

#define REFUSE_FULL "the state is full (state.bytes_max)"

int apply_setting_set(struct apply *apply, const State__Command *command, GError **error)
{
    const State__SettingSet *set = command->setting_set;
    g_autoptr(GError) problem = NULL;
    if (settings_set(&apply->state->settings, set->key, set->value, &problem) < 0) {
        return apply_refuse(apply, REASON_UNSPECIFIED_ERROR, problem->message);
    }
    g_tree_replace(apply->tables->setting_values, g_strdup(set->key), g_strdup(set->value));
    state_apply_limits(apply->state);
    state_notify_settings(apply->state);
    return 0;
}

static int access_changed(struct apply *apply)
{
    apply->state->access_generation++;
    state_notify_access(apply->state);
    return 0;
}

int apply_user_put(struct apply *apply, const State__Command *command, GError **error)
{
    const State__UserPut *put = command->user_put;
    g_autofree char *problem = access_user_problem(put->name, put->role, put->password);
    if (problem) {
        return apply_refuse(apply, REASON_UNSPECIFIED_ERROR, problem);
    }
    if (!state_find_user(apply->state, put->name)) {
        if (apply->tables->users->len >= USERS_MAX) {
            return apply_refuse(apply, REASON_QUOTA_EXCEEDED,
                                "user: there are as many as allowed (20000)");
        }
        if (apply_is_full(apply, ACCESS_ENTRY_BYTES + strlen(put->name) + strlen(put->password))) {
            return apply_refuse(apply, REASON_QUOTA_EXCEEDED, "user: " REFUSE_FULL);
        }
    }
    access_put_user(apply->tables, put->name, put->role, put->password);
    return access_changed(apply);
}

int apply_user_remove(struct apply *apply, const State__Command *command, GError **error)
{
    const char *name = command->user_remove->name;
    if (!access_remove_user(apply->tables, name)) {
        g_autofree char *problem =
            g_strdup_printf("user '%.64s': there is none of this name", name);
        return apply_refuse(apply, REASON_UNSPECIFIED_ERROR, problem);
    }
    return access_changed(apply);
}

int apply_acl_add(struct apply *apply, const State__Command *command, GError **error)
{
    const State__AclAdd *add = command->acl_add;
    g_autofree char *problem = access_rule_problem(add->subject, add->action, add->filter);
    if (problem) {
        return apply_refuse(apply, REASON_UNSPECIFIED_ERROR, problem);
    }
    if (apply->tables->rules->len >= ACCESS_RULES_MAX) {
        return apply_refuse(apply, REASON_QUOTA_EXCEEDED,
                            "access rule: there are as many as allowed (20000)");
    }
    if (apply_is_full(apply, ACCESS_ENTRY_BYTES + strlen(add->filter))) {
        return apply_refuse(apply, REASON_QUOTA_EXCEEDED, "access rule: " REFUSE_FULL);
    }
    access_add_rule(apply->tables, apply->tables->next_rule_id, add->subject, add->action,
                    add->filter, add->allow);
    return access_changed(apply);
}

int apply_acl_remove(struct apply *apply, const State__Command *command, GError **error)
{
    uint64_t id = command->acl_remove->rule_id;
    if (!access_remove_rule(apply->tables, id)) {
        g_autofree char *problem =
            g_strdup_printf("access rule %" G_GUINT64_FORMAT ": there is none of this id", id);
        return apply_refuse(apply, REASON_UNSPECIFIED_ERROR, problem);
    }
    return access_changed(apply);
}

/* The settings of the cluster. */
#include "state/settings.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "bridge/bridge.h"
#include "state/state.h"

static const char *kind_to_string(enum setting_kind kind)
{
    static const char *const names[] = {[SETTING_INTEGER] = "integer",
                                        [SETTING_BOOLEAN] = "boolean",
                                        [SETTING_CHOICE] = "choice",
                                        [SETTING_TEXT] = "text"};

    return names[kind];
}

static struct text_value *describe(const struct api *api, const struct setting *setting)
{
    struct text_value *value = text_new_object();
    g_autofree char *now = settings_get(state_settings(api->options.state), setting);

    text_set_string(value, "key", setting->key);
    text_set_string(value, "value", now);
    text_set_string(value, "default", setting->default_value);
    text_set_string(value, "kind", kind_to_string(setting->kind));
    if (setting->kind == SETTING_INTEGER) {
        text_set_integer(value, "least", (int64_t)setting->least);
        text_set_integer(value, "most", (int64_t)setting->most);
    }
    text_set_string(value, "choices", setting->choices);
    text_set_string(value, "unit", setting->unit);
    text_set_string(value, "meaning", setting->meaning);
    text_set_string(value, "at_limit", setting->at_limit);
    return value;
}

void settings_list(struct api_request *request)
{
    struct text_value *list = text_new_list();
    uint32_t count;
    const struct setting *table = settings_table(&count);

    for (uint32_t i = 0; i < count; i++) {
        text_append(list, describe(request->api, &table[i]));
    }
    api_answer(request, 200, list);
}

static const struct setting *find(struct api_request *request)
{
    const struct setting *setting = settings_find(request->parameters[0]);

    if (!setting) {
        api_answer_error(request, 404, "setting_unknown",
                         "setting '%s': there is none of this name; see setting get",
                         request->parameters[0]);
    }
    return setting;
}

void setting_get(struct api_request *request)
{
    const struct setting *setting = find(request);

    if (setting) {
        api_answer(request, 200, describe(request->api, setting));
    }
}

/* The value as text: numbers and booleans of JSON are welcome too. */
static char *value_of(const struct text_value *body)
{
    const struct text_value *value = text_get(body, "value");

    switch (text_kind(value)) {
    case TEXT_STRING:
        return g_strdup(text_string(value, NULL));
    case TEXT_INTEGER:
    case TEXT_BOOLEAN:
        return text_to_json(value, false);
    default:
        return NULL;
    }
}

void setting_put(struct api_request *request)
{
    const struct setting *setting = find(request);
    _cleanup_(text_freep) struct text_value *body = setting ? api_body(request) : NULL;
    g_autoptr(GError) error = NULL;

    if (!body) {
        return;
    }
    g_autofree char *value = value_of(body);
    if (!value) {
        api_answer_error(request, 400, "body_invalid",
                         "'value' must be a string, a number or a boolean");
        return;
    }
    struct settings scratch;
    settings_init(&scratch);
    bool is_right =
        settings_set(&scratch, setting->key, value, &error) == 0 &&
        (strcmp(setting->key, "mqtt.bridges") != 0 || bridges_check(value, &error) == 0);
    settings_deinit(&scratch);
    if (!is_right) {
        api_answer_error(request, 400, "setting_invalid", "%s", error->message);
        return;
    }
    api_audit(request, "set", setting->key);
    struct state_completion completion = {api_committed, request, 0};
    api_is_proposed(request, state_propose_setting(request->api->options.state, setting->key, value,
                                                   &completion));
}

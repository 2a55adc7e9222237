/* `microcloud user add|passwd|rm|ls|import`: who may log in, and as what. */
#include "base/cleanup.h"
#include "cli/commands.h"
#include "cli/error.h"
#include "cli/node/ask.h"
#include "cli/node/file.h"
#include "cli/node/output.h"
#include "cli/node/password.h"
#include <stdio.h>
#include <string.h>

struct user_values {
    struct node_values node;
    const char *role, *password;
};

#define AT(member) offsetof(struct user_values, member)

static const struct cli_option add_options[] = {
    {"role", 0, CLI_TEXT, AT(role), "ROLE", "admin, operator, viewer or device (device)", 0, 0,
     NULL},
    {"password", 0, CLI_TEXT, AT(password), "TEXT",
     "the password; better asked for, or read from standard input", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static const struct cli_option password_options[] = {
    {"password", 0, CLI_TEXT, AT(password), "TEXT",
     "the password; better asked for, or read from standard input", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

static const struct cli_option import_options[] = {
    {"role", 0, CLI_TEXT, AT(role), "ROLE", "of all of them (device)", 0, 0, NULL},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0, NULL},
};

/* `user add` and `user passwd` are the same request; a role that is not given stays. */
static int user_put_run(const struct cli_call *call, GError **error)
{
    const struct user_values *values = call->values;
    g_autofree char *password =
        values->password ? g_strdup(values->password) : password_ask(call->words[0], error);
    if (!password) {
        return CLI_EXIT_ERROR;
    }
    g_autofree char *path = node_path("/v1/users/", call->words[0], "");
    _cleanup_(text_freep) struct text_value *body = text_new_object();
    text_set_string(body, "password", password);
    if (values->role) {
        text_set_string(body, "role", values->role);
    }
    _cleanup_(text_freep) struct text_value *answer =
        node_ask(&values->node, "PUT", path, body, error);
    return answer ? 0 : CLI_EXIT_ERROR;
}

/* Setting a password must not make a user whose name was mistyped. */
static int user_passwd_run(const struct cli_call *call, GError **error)
{
    const struct user_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(&values->node, "GET", "/v1/users", NULL, error);
    if (!list) {
        return CLI_EXIT_ERROR;
    }
    for (size_t i = 0; i < text_count(list); i++) {
        if (strcmp(text_string(text_get(text_at(list, i), "name"), ""), call->words[0]) == 0) {
            return user_put_run(call, error);
        }
    }
    cli_fail(error, "user '%s': there is none of this name", call->words[0]);
    return CLI_EXIT_ERROR;
}

static int user_rm_run(const struct cli_call *call, GError **error)
{
    for (unsigned i = 0; i < call->word_count; i++) {
        g_autofree char *path = node_path("/v1/users/", call->words[i], "");
        _cleanup_(text_freep) struct text_value *answer =
            node_ask(call->values, "DELETE", path, NULL, error);
        if (!answer) {
            return CLI_EXIT_ERROR;
        }
    }
    return 0;
}

static int user_ls_run(const struct cli_call *call, GError **error)
{
    static const struct output_column columns[] = {
        {"name", "name", OUTPUT_PLAIN}, {"role", "role", OUTPUT_PLAIN}, {NULL, NULL, OUTPUT_PLAIN}};
    const struct node_values *values = call->values;
    _cleanup_(text_freep) struct text_value *list =
        node_ask(values, "GET", "/v1/users", NULL, error);
    if (!list) {
        return CLI_EXIT_ERROR;
    }
    output_list(list, columns, values->json);
    return 0;
}

static int user_import_run(const struct cli_call *call, GError **error)
{
    const struct user_values *values = call->values;
    g_autofree char *path = values->role ? node_path("/v1/users/import?role=", values->role, "")
                                         : g_strdup("/v1/users/import");
    return file_import(&values->node, path, call->words[0], error);
}

const struct cli_command cli_user_add = {
    .name = "user",
    .verb = "add",
    .words = "NAME",
    .summary = "add a user, or change its password and role",
    .details =
        "The password is asked for; without a terminal it is the first line of standard input.",
    .example = "microcloud user add garage-sensor\nprintf 'secret\\n' | microcloud user add ann "
               "--role admin",
    .options = add_options,
    .values_bytes = sizeof(struct user_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = user_put_run,
};

const struct cli_command cli_user_passwd = {
    .name = "user",
    .verb = "passwd",
    .words = "NAME",
    .summary = "change a user's password",
    .example = "microcloud user passwd ann",
    .options = password_options,
    .values_bytes = sizeof(struct user_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = user_passwd_run,
};

const struct cli_command cli_user_rm = {
    .name = "user",
    .verb = "rm",
    .words = "NAME...",
    .summary = "remove users",
    .example = "microcloud user rm garage-sensor",
    .values_bytes = sizeof(struct node_values),
    .words_min = 1,
    .words_max = 1000,
    .speaks_http = true,
    .run = user_rm_run,
};

const struct cli_command cli_user_ls = {
    .name = "user",
    .verb = "ls",
    .words = "",
    .summary = "list users",
    .example = "microcloud user ls --json",
    .values_bytes = sizeof(struct node_values),
    .speaks_http = true,
    .run = user_ls_run,
};

const struct cli_command cli_user_import = {
    .name = "user",
    .verb = "import",
    .words = "FILE",
    .summary = "import a password file of mosquitto_passwd",
    .example = "microcloud user import /etc/mosquitto/passwd",
    .options = import_options,
    .values_bytes = sizeof(struct user_values),
    .words_min = 1,
    .words_max = 1,
    .speaks_http = true,
    .run = user_import_run,
};

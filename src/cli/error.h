/* Errors of commands: what went wrong, or wrong usage (exit status 2). */
#pragma once

#include <glib.h>

enum cli_error { CLI_ERROR_FAILED, CLI_ERROR_USAGE };

#define CLI_ERROR (g_quark_from_static_string("microcloud-cli"))

#define cli_fail(error, ...)       g_set_error((error), CLI_ERROR, CLI_ERROR_FAILED, __VA_ARGS__)
#define cli_fail_usage(error, ...) g_set_error((error), CLI_ERROR, CLI_ERROR_USAGE, __VA_ARGS__)

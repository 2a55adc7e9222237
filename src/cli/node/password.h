/* A password from the terminal, without echo and twice, or the first line of standard input. */
#pragma once

#include <glib.h>

/* Caller frees; NULL with an error. */
char *password_ask(const char *name, GError **error);

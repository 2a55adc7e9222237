/* Asks on the terminal itself, so that standard input and output stay free. */
#include "cli/node/password.h"

#include "cli/error.h"
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_BYTES_MAX 1024

static char *password_line(FILE *from, GError **error)
{
    char line[PASSWORD_BYTES_MAX + 2];
    if (!fgets(line, sizeof(line), from)) {
        cli_fail(error,
                 "a password is needed: on the terminal or as the first line of standard input");
        return NULL;
    }
    line[strcspn(line, "\r\n")] = 0;
    if (!line[0] || strlen(line) > PASSWORD_BYTES_MAX) {
        cli_fail(error, "the password must have 1 to %d bytes", PASSWORD_BYTES_MAX);
        return NULL;
    }
    return g_strdup(line);
}

static char *password_prompt(FILE *terminal, const char *text, const char *name, GError **error)
{
    struct termios before;
    fprintf(terminal, "%s %s: ", text, name);
    fflush(terminal);
    tcgetattr(fileno(terminal), &before);
    struct termios quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(fileno(terminal), TCSAFLUSH, &quiet);
    char *line = password_line(terminal, error);
    tcsetattr(fileno(terminal), TCSAFLUSH, &before);
    fprintf(terminal, "\n");
    return line;
}

char *password_ask(const char *name, GError **error)
{
    if (!isatty(STDIN_FILENO)) {
        return password_line(stdin, error);
    }
    FILE *terminal = fopen("/dev/tty", "r+e");
    if (!terminal) {
        return password_line(stdin, error);
    }
    g_autofree char *first = password_prompt(terminal, "Password for", name, error);
    g_autofree char *second =
        first ? password_prompt(terminal, "Once more for", name, error) : NULL;
    fclose(terminal);
    if (!second) {
        return NULL;
    }
    if (strcmp(first, second) != 0) {
        cli_fail(error, "the two passwords differ");
        return NULL;
    }
    return g_steal_pointer(&first);
}

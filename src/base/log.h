/* Structured log on stderr: a constant message plus key=value fields, one line each. Under systemd
 * the priority goes in front as <N>. Keys are the same everywhere: node client service stack task
 * term index address error. Never payloads, never secrets. */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_level(void);

/* `fields` is a printf format of "key=value key=value", or "" for none. Values that hold spaces,
 * quotes or control characters are quoted by the caller; the writer escapes control characters. */
void log_write(enum log_level level, const char *message, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(message, ...)   log_write(LOG_LEVEL_ERROR, message, __VA_ARGS__)
#define log_warning(message, ...) log_write(LOG_LEVEL_WARNING, message, __VA_ARGS__)
#define log_info(message, ...)    log_write(LOG_LEVEL_INFO, message, __VA_ARGS__)
#define log_debug(message, ...)                                                                    \
    do {                                                                                           \
        if (log_level() >= LOG_LEVEL_DEBUG) {                                                      \
            log_write(LOG_LEVEL_DEBUG, message, __VA_ARGS__);                                      \
        }                                                                                          \
    } while (0)

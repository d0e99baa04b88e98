/* Diagnostics on stderr: one line each, `PROGRAM: LEVEL: text`, errors without the level word.
 * If stderr is the journal, `<N>text` instead: it knows program and level itself.
 * Only programs print; libraries under common/ return errors instead. */
#pragma once

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* `program` must outlive the process (a literal or argv[0]'s basename). */
void log_setup(const char *program, enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

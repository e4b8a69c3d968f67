/*
 * Logging to stderr: one line an event, `time level program[pid]: text`, text in the form `what: key=value …`.
 *
 * Secrets never go in: callers log key ids, never keys; setting names, never their values when they are secret.
 * Control bytes in the text are escaped, so that what a client sent cannot forge a line.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_DEBUG = 0, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Sets the program's name (kept by pointer) and the least level that is printed. */
void log_init(const char *program, enum log_level level);
bool log_on(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "debug", "info", "warn" or "error" to a level; ERR_INVALID for other words. */
MUST_CHECK enum err log_level_parse(const char *word, enum log_level *out);

#define log_debug(...)                                     \
	do {                                               \
		if (log_on(LOG_DEBUG))                     \
			log_write(LOG_DEBUG, __VA_ARGS__); \
	} while (0)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/*
 * A gate for lines that may come thousands of times a second: log_gate() is true at most once in interval_ns, and
 * *skipped then says how often it was false since.
 */
struct log_gate {
	uint64_t next_ns;
	uint64_t skipped;
};
bool log_gate(struct log_gate *gate, uint64_t now_ns, uint64_t interval_ns, uint64_t *skipped);

/*
 * Logging to stderr: one line an event, in one of two formats.
 *
 *     time=2026-11-28T09:26:21.881Z level=warn program=gateway-agent/keeper pid=6537 msg="usage: …" skipped=0
 *     {"time":"2026-11-28T09:26:21.881Z","level":"warn","program":"…","pid":6537,"msg":"usage: …","skipped":0}
 *
 * Callers write `what: text: key=value key="some words"`: the keys and values at the end become fields of their own,
 * all before them (without a colon at its end) is msg. A line that concerns a request has its id as request_id.
 *
 * Secrets never go in: callers log key ids, never keys; setting names, never their values when they are secret.
 * Control bytes and quotes in the text are escaped, so that what a client sent cannot forge a line or a field.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_DEBUG = 0, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT = 0, LOG_JSON };

/*
 * Sets the program's name (kept by pointer), the least level that is printed, and the format. May be called again, by
 * the same thread with the same name, while others write lines.
 */
void log_init(const char *program, enum log_level level, enum log_format format);
bool log_on(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "debug", "info", "warn" or "error" to a level, "text" or "json" to a format; ERR_INVALID for other words. */
MUST_CHECK enum err log_level_parse(const char *word, enum log_level *out);
MUST_CHECK enum err log_format_parse(const char *word, enum log_format *out);

/*
 * Copies `text`, cut to size - 1 bytes, for key="…" of a line: each quote becomes an apostrophe, so that what others
 * wrote ends no value and begins no field. Returns buf.
 */
const char *log_value(char *buf, size_t size, const char *text);

/* Of a text; what is longer is cut. */
#define LOG_TEXT_MAX 1023
/* A byte may become six. */
#define LOG_LINE_MAX 8192

/*
 * The line of a text, with its line feed, without NUL: for log_write(), and for tests. `time` is as it is printed.
 * Returns its length.
 */
size_t log_line(char out[LOG_LINE_MAX], enum log_format format, const char *time, enum log_level level,
                const char *program, int pid, const char *text);

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

#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *_Atomic program_name = "gateway";
static _Atomic(enum log_level) least = LOG_INFO;
static _Atomic(enum log_format) line_format = LOG_TEXT;

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_init(const char *program, enum log_level level, enum log_format format)
{
	line_format = format;
	program_name = program;
	least = level;
}

bool log_on(enum log_level level)
{
	return level >= atomic_load_explicit(&least, memory_order_relaxed);
}

enum err log_level_parse(const char *word, enum log_level *out)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(word, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return ERR_OK;
		}
	}
	return ERR_INVALID;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char text[LOG_TEXT_MAX + 1];
	char moment[40];
	char line[LOG_LINE_MAX];
	struct timespec ts;
	struct tm tm;
	va_list ap;

	if (!log_on(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(moment, sizeof(moment), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(moment + n, sizeof(moment) - n, ".%03ldZ", ts.tv_nsec / 1000000);
	n = log_line(line, line_format, moment, level, program_name, (int)getpid(), text);
	/* One write, so that lines of several processes do not mix. A log that cannot be written has nowhere to say so.
	 */
	ssize_t written = write(STDERR_FILENO, line, n);
	(void)written;
}

enum err log_format_parse(const char *word, enum log_format *out)
{
	if (strcmp(word, "text") != 0 && strcmp(word, "json") != 0)
		return ERR_INVALID;
	*out = word[0] == 'j' ? LOG_JSON : LOG_TEXT;
	return ERR_OK;
}

bool log_gate(struct log_gate *gate, uint64_t now_ns, uint64_t interval_ns, uint64_t *skipped)
{
	if (now_ns < gate->next_ns) {
		gate->skipped++;
		return false;
	}
	gate->next_ns = now_ns + interval_ns;
	*skipped = gate->skipped;
	gate->skipped = 0;
	return true;
}

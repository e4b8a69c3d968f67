#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "gateway";
static enum log_level least = LOG_INFO;

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_init(const char *program, enum log_level level)
{
	program_name = program;
	least = level;
}

bool log_on(enum log_level level)
{
	return level >= least;
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

/* Escapes control bytes in place of printing them; returns the length of what dst holds. */
static size_t escape(const char *src, char *dst, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (; *src != '\0' && n + 5 < size; src++) {
		unsigned char c = (unsigned char)*src;
		if (c >= 0x20 && c != 0x7f) {
			dst[n++] = (char)c;
			continue;
		}
		dst[n++] = '\\';
		dst[n++] = 'x';
		dst[n++] = hex[c >> 4];
		dst[n++] = hex[c & 15];
	}
	return n;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char text[1024];
	char line[1400];
	struct timespec ts;
	struct tm tm;
	va_list ap;

	if (level < least)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %s %s[%d]: ", ts.tv_nsec / 1000000,
	                      level_names[level], program_name, (int)getpid());
	n += escape(text, line + n, sizeof(line) - n - 1);
	line[n++] = '\n';
	/* One write, so that lines of several processes do not mix. A log that cannot be written has nowhere to say so.
	 */
	ssize_t written = write(STDERR_FILENO, line, n);
	(void)written;
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

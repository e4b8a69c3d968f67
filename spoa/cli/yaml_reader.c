#include "cli/yaml_reader.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/nearest.h"

#define KEYS_MAX 64

void yaml_reader_open(struct yaml_reader *r, const char *text, size_t size, struct admin_policy_errors *errors)
{
	memset(r, 0, sizeof(*r));
	r->errors = errors;
	CHECK(yaml_parser_initialize(&r->parser) != 0);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, size);
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
}

void yaml_reader_close(struct yaml_reader *r)
{
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
}

unsigned long yaml_reader_line(const struct yaml_reader *r)
{
	return (unsigned long)r->event.start_mark.line + 1;
}

void yaml_reader_error(struct yaml_reader *r, unsigned long line, const char *fmt, ...)
{
	char path[256] = "", message[ADMIN_POLICY_ERROR_MAX];
	size_t n = 0;
	va_list ap;

	for (size_t i = 0; i < r->path_count && n < sizeof(path); i++)
		n += (size_t)snprintf(path + n, sizeof(path) - n, "%s%s", i > 0 && r->path[i][0] != '[' ? "." : "",
		                      r->path[i]);
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	admin_policy_error(r->errors, line, "%s%s%s", path, path[0] != '\0' ? ": " : "", message);
}

static yaml_event_type_t stop(struct yaml_reader *r)
{
	r->broken = true;
	yaml_event_delete(&r->event);
	memset(&r->event, 0, sizeof(r->event));
	return YAML_NO_EVENT;
}

yaml_event_type_t yaml_reader_next(struct yaml_reader *r)
{
	if (r->broken)
		return YAML_NO_EVENT;
	yaml_event_delete(&r->event);
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		/* A problem of the encoding has no mark. */
		size_t line = r->parser.error == YAML_READER_ERROR ? r->parser.mark.line : r->parser.problem_mark.line;
		admin_policy_error(r->errors, (unsigned long)line + 1, "not YAML: %s",
		                   r->parser.problem != NULL ? r->parser.problem : "unreadable");
		return stop(r);
	}
	if (r->event.type == YAML_ALIAS_EVENT)
		yaml_reader_error(r, yaml_reader_line(r), "aliases (*name) are not taken: write it out");
	if (r->event.type == YAML_MAPPING_START_EVENT || r->event.type == YAML_SEQUENCE_START_EVENT)
		r->depth++;
	if (r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT)
		r->depth--;
	if (r->depth > YAML_DEPTH_MAX) {
		yaml_reader_error(r, yaml_reader_line(r), "too deep");
		return stop(r);
	}
	return r->event.type;
}

/* Leaves a node out. */
static void skip(struct yaml_reader *r)
{
	size_t open = 0;

	for (;;) {
		yaml_event_type_t type = r->event.type;
		if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT)
			open++;
		else if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT)
			open--;
		if (open == 0 || type == YAML_NO_EVENT)
			return;
		(void)yaml_reader_next(r);
	}
}

void yaml_reader_refuse(struct yaml_reader *r, const char *what)
{
	if (r->event.type != YAML_ALIAS_EVENT && r->event.type != YAML_NO_EVENT)
		yaml_reader_error(r, yaml_reader_line(r), "must be %s", what);
	skip(r);
}

bool yaml_reader_is_scalar(const struct yaml_reader *r)
{
	return r->event.type == YAML_SCALAR_EVENT;
}

const char *yaml_reader_scalar(struct yaml_reader *r)
{
	const char *text = (const char *)r->event.data.scalar.value;

	if (yaml_reader_is_scalar(r) && strlen(text) == r->event.data.scalar.length)
		return text;
	yaml_reader_refuse(r, "a plain value");
	return NULL;
}

static void unknown_key(struct yaml_reader *r, const char *key, const char *const *names, size_t count)
{
	struct nearest nearest;

	nearest_begin(&nearest, key);
	for (size_t i = 0; i < count; i++)
		(void)nearest_try(&nearest, names[i], strlen(names[i]));
	if (nearest.name != NULL)
		yaml_reader_error(r, yaml_reader_line(r), "%.64s: unknown key; is %s meant?", key, nearest.name);
	else
		yaml_reader_error(r, yaml_reader_line(r), "%.64s: unknown key", key);
}

/* The key at the current event: its place in `names`, or `count` when it is none or was there before. */
static size_t take_key(struct yaml_reader *r, const char *const *names, size_t count, uint64_t *seen)
{
	size_t i = 0;

	if (!yaml_reader_is_scalar(r)) {
		yaml_reader_refuse(r, "a mapping whose keys are plain words");
		return count;
	}
	const char *key = (const char *)r->event.data.scalar.value;
	while (i < count && !sv_eq(sv_str(names[i]), sv_from(key, r->event.data.scalar.length)))
		i++;
	if (i == count) {
		unknown_key(r, key, names, count);
		return count;
	}
	if ((*seen & UINT64_C(1) << i) != 0) {
		yaml_reader_error(r, yaml_reader_line(r), "%s: given twice", key);
		return count;
	}
	*seen |= UINT64_C(1) << i;
	return i;
}

bool yaml_reader_mapping(struct yaml_reader *r, const char *const *names, size_t count,
                         void (*member)(void *arg, size_t i), void *arg)
{
	uint64_t seen = 0;

	CHECK(count <= KEYS_MAX);
	if (r->event.type != YAML_MAPPING_START_EVENT) {
		yaml_reader_refuse(r, "a mapping (key: value)");
		return false;
	}
	for (;;) {
		yaml_event_type_t type = yaml_reader_next(r);
		if (type == YAML_MAPPING_END_EVENT || type == YAML_NO_EVENT)
			return true;
		size_t i = take_key(r, names, count, &seen);
		if (yaml_reader_next(r) == YAML_NO_EVENT)
			return true;
		if (i == count) {
			skip(r);
			continue;
		}
		CHECK(r->path_count < YAML_DEPTH_MAX);
		r->path[r->path_count++] = names[i];
		member(arg, i);
		r->path_count--;
	}
}

void yaml_reader_list(struct yaml_reader *r, void (*item)(void *arg, size_t i), void *arg)
{
	if (r->event.type != YAML_SEQUENCE_START_EVENT) {
		yaml_reader_refuse(r, "a list");
		return;
	}
	for (size_t i = 0;; i++) {
		yaml_event_type_t type = yaml_reader_next(r);
		if (type == YAML_SEQUENCE_END_EVENT || type == YAML_NO_EVENT)
			return;
		item(arg, i);
	}
}

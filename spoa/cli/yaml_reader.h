/*
 * A walk through one YAML document, event by event (libyaml), for files with a fixed shape. Errors do not end the walk:
 * what is wrong is told with its line and the path of its key, and left out. Aliases are refused, so that a file is
 * never more than its own size.
 *
 * A function that reads a node begins at the node's first event and ends at its last.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <yaml.h>

#include "store/admin_policy.h"

#define YAML_DEPTH_MAX 16

struct yaml_reader {
	yaml_parser_t parser;
	yaml_event_t event;
	bool broken; /* no event comes any more */
	size_t depth;
	const char *path[YAML_DEPTH_MAX]; /* names of the keys that lead here */
	size_t path_count;
	struct admin_policy_errors *errors;
};

/* The text must stay until yaml_reader_close(). */
void yaml_reader_open(struct yaml_reader *r, const char *text, size_t size, struct admin_policy_errors *errors);
void yaml_reader_close(struct yaml_reader *r);

/* The next event; YAML_NO_EVENT when there is none, after what is no YAML was told. */
yaml_event_type_t yaml_reader_next(struct yaml_reader *r);
unsigned long yaml_reader_line(const struct yaml_reader *r);
/* Adds "FILE:LINE: PATH: …". */
void yaml_reader_error(struct yaml_reader *r, unsigned long line, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* Tells that the node is not what it must be, unless it is an alias, which was told; and leaves it out. */
void yaml_reader_refuse(struct yaml_reader *r, const char *what);

/* The text of a plain value, until the next event; NULL: it is none, which was told. */
const char *yaml_reader_scalar(struct yaml_reader *r);
bool yaml_reader_is_scalar(const struct yaml_reader *r);

/*
 * A mapping whose keys are among `names` (at most 64), each at most once: member() reads the value of names[i]. False:
 * it is none, which was told.
 */
bool yaml_reader_mapping(struct yaml_reader *r, const char *const *names, size_t count,
                         void (*member)(void *arg, size_t i), void *arg);
/* A list: item() reads the i-th. */
void yaml_reader_list(struct yaml_reader *r, void (*item)(void *arg, size_t i), void *arg);

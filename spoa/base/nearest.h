/* The name that somebody meant who has written another one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Names that are longer are never near. */
#define NEAREST_NAME_MAX 63

struct nearest {
	const char *written;
	const char *name; /* the best one so far; NULL: none is near */
	size_t distance;
};

void nearest_begin(struct nearest *n, const char *written);

/*
 * Looks at one candidate, of `size` bytes: the one with the fewest edits wins (a byte more, less or another, or two
 * neighbours exchanged: optimal string alignment), the first of equals, and only when those are at most a third of the
 * written name and at most three. True when it is the best one so far.
 */
bool nearest_try(struct nearest *n, const char *name, size_t size);

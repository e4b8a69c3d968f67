/*
 * CHECK(x): an assertion that stays on in production. It guards against mistakes of the program, never against input:
 * input gets an error. A failed check prints what and where, and aborts; the parent process then starts a new one.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                               \
	do {                                                                                   \
		if (__builtin_expect(!(x), 0)) {                                               \
			fprintf(stderr, "check failed: %s (%s:%d)\n", #x, __FILE__, __LINE__); \
			abort();                                                               \
		}                                                                              \
	} while (0)

/* Allocation at start-up and outside of the verdict path: returns zeroed memory, or ends the program with a message. */
static inline void *check_calloc(size_t n, size_t size)
{
	void *p = calloc(n, size);
	CHECK(p != NULL);
	return p;
}

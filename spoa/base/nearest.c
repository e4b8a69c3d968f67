#include "base/nearest.h"

#include <string.h>

#define MOST 3

void nearest_begin(struct nearest *n, const char *written)
{
	const size_t third = strlen(written) / 3;

	n->written = written;
	n->name = NULL;
	n->distance = (third < MOST ? third : MOST) + 1;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Damerau, "A technique for computer detection and correction of spelling errors", 1964, without edits within edits. */
static size_t edits(const char *a, size_t a_n, const char *b, size_t b_n)
{
	size_t rows[3][NEAREST_NAME_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b_n; j++)
		last[j] = j;
	for (size_t i = 1; i <= a_n; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_n; j++) {
			row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		size_t *free_row = before;
		before = last;
		last = row;
		row = free_row;
	}
	return last[b_n];
}

bool nearest_try(struct nearest *n, const char *name, size_t size)
{
	const size_t written = strlen(n->written);

	if (written > NEAREST_NAME_MAX || size > NEAREST_NAME_MAX)
		return false;
	const size_t distance = edits(n->written, written, name, size);
	if (distance >= n->distance)
		return false;
	n->distance = distance;
	n->name = name;
	return true;
}

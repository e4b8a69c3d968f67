#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += !is_continuation(*text);
	return n;
}

static void print_cell(FILE *f, const char *text, size_t pad_to)
{
	size_t n = width(text);

	for (const char *p = text; *p != '\0'; p++)
		fputc((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p, f);
	for (; n < pad_to; n++)
		fputc(' ', f);
}

static void print_row(FILE *f, size_t columns, const size_t *widths, const char *const *cells)
{
	for (size_t c = 0; c < columns; c++) {
		bool last = c + 1 == columns;
		print_cell(f, cells[c] != NULL ? cells[c] : "-", last ? 0 : widths[c]);
		fputs(last ? "\n" : "  ", f);
	}
}

void output_table(FILE *f, size_t columns, const char *const *heads, const char *const *cells, size_t rows)
{
	size_t *widths = check_calloc(columns, sizeof(*widths));

	for (size_t c = 0; c < columns; c++) {
		widths[c] = width(heads[c]);
		for (size_t r = 0; r < rows; r++) {
			const char *cell = cells[r * columns + c];
			size_t n = cell != NULL ? width(cell) : 1;
			widths[c] = n > widths[c] ? n : widths[c];
		}
	}
	print_row(f, columns, widths, heads);
	for (size_t r = 0; r < rows; r++)
		print_row(f, columns, widths, cells + r * columns);
	free(widths);
}

void output_json(FILE *f, json_t *v)
{
	CHECK(v != NULL);
	/* So many digits that 1.1 stays 1.1. */
	json_dumpf(v, f, JSON_REAL_PRECISION(15));
	fputc('\n', f);
	json_decref(v);
}

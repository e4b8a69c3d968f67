/* What commands print: tables for people, JSON for programs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

/*
 * A table: `columns` heads, then the cells row by row; NULL prints as "-". Columns are as wide as their widest cell,
 * counted in characters of UTF-8; control characters print as "?".
 */
void output_table(FILE *f, size_t columns, const char *const *heads, const char *const *cells, size_t rows);

/* Writes one line and releases v. */
void output_json(FILE *f, json_t *v);
